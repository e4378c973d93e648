"""Rates from the results file of lmms-eval, `DATE_results.json`: one number a task and metric, with its standard error.

    {"results": {TASK: {"METRIC,FILTER": value, "METRIC_stderr,FILTER": value or "N/A"}},
     "n-samples": {TASK: {"original": n, "effective": n}}}

Source: lmms-eval, `evaluator.py` and `loggers/evaluation_tracker.py`; lm-evaluation-harness writes the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..journal import read_json

QUANTILE = 1.959963984540054


def read_result(path: Path, task: str, metric: str) -> dict[str, Any]:
    """One rate as a cell: rate, n, n_invalid 0, and the interval of its standard error where it has one.

    `metric` is named with its filter (`exact_match,none`) or without, where there is one filter. A metric in percent or
    on another scale is no rate. Raises InputError naming file and field for what is missing or no share.
    """
    body = read_json(path)
    results = body.get("results") if isinstance(body, dict) else None
    found = results.get(task) if isinstance(results, dict) else None
    if not isinstance(results, dict) or not isinstance(found, dict):
        known = ", ".join(results) if isinstance(results, dict) else "none"
        raise InputError(f"no results of task {task!r}; it has: {known}", where=path, field="results")
    value, error = _value(found, metric, path, f"results.{task}")
    if value is None or not 0 <= value <= 1:
        raise InputError("not a share between 0 and 1", where=path, field=f"results.{task}.{metric}")
    sizes = body.get("n-samples")
    size = sizes.get(task) if isinstance(sizes, dict) else None
    n = size.get("effective", size.get("original")) if isinstance(size, dict) else None
    if not isinstance(n, int) or n < 1:
        raise InputError("tells no number of samples", where=path, field=f"n-samples.{task}")
    low, high = (None, None)
    if error is not None:
        low, high = max(0.0, value - QUANTILE * error), min(1.0, value + QUANTILE * error)
    bounds = {"bound_low": value, "bound_high": value}
    return {"rate": value, "n": n, "n_invalid": 0, "low": low, "high": high, **bounds}


def _value(found: Mapping[str, Any], metric: str, path: Path, place: str) -> tuple[float | None, float | None]:
    """The metric's value and its standard error, None where they are no numbers."""
    values = {name: value for name, value in found.items() if "_stderr" not in name and name != "alias"}
    names = [name for name in values if metric in (name, name.partition(",")[0])]
    if len(names) != 1:
        many = "several filters have it, name one" if names else "no such metric"
        raise InputError(f"{many}; it has: {', '.join(values)}", where=path, field=f"{place}.{metric}")
    name, comma, kind = names[0].partition(",")
    return _number(values[names[0]]), _number(found.get(f"{name}_stderr{comma}{kind}"))


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None
