"""A made-up sweep as `Sweep.run` gives it: methods with a strength that trades safety for answers."""

from __future__ import annotations

import math
from typing import Any

from holisafe.metrics.intervals import wilson
from holisafe.metrics.measures import lower_is_better


def cell(rate: float | None, n: int = 200) -> dict[str, Any]:
    if rate is None:
        return {"rate": None, "n": 0, "n_invalid": n, "low": None, "high": None, "bound_low": 0.0, "bound_high": 1.0}
    low, high = wilson(rate * n, n)
    return {"rate": rate, "n": n, "n_invalid": 0, "low": low, "high": high, "bound_low": rate, "bound_high": rate}


def numbers(sra_u: float, sra_s: float, utility: float | None, failed: int = 0, base: Any = None) -> dict[str, Any]:
    rates = {
        "sra_u": cell(sra_u),
        "sra_s": cell(sra_s, 120),
        "masr_pooled": cell(1 - sra_u),
        "rr": cell(1 - sra_s, 120),
    }
    if utility is not None:
        rates["utility"] = cell(utility, 300)
    losses = {}
    for name, found in rates.items() if base else ():
        sign = -1 if not lower_is_better(name) else 1
        worse = sign * (found["rate"] - base["rates"][name]["rate"])
        losses[name] = {"loss": worse, "low": worse - 0.03, "high": worse + 0.03, "n": found["n"]}
    return {
        "rates": rates,
        "losses": losses,
        "spread": {"sra_u": [sra_u - 0.02, sra_u, sra_u + 0.02]} if failed == 0 and base else {},
        "failed": failed,
        "latency": 0.031,
        "latency_ratio": 1.0 if base is None else 1.7,
    }


def point(name: str, kind: str, choose: Any, report: Any = None, method: str | None = None) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "method": method, "target": "hf/model", "options": {}, "seeds": [],
        "folders": [], "choose": choose, "report": report,
    }  # fmt: skip


def fake_frontier(methods: int = 4, strengths: int = 10, *, name: str = "method", failed: int = 0) -> dict[str, Any]:
    """`methods` x `strengths` settings, an untouched and a compared model; calls of the first `failed` failed."""
    from holisafe.calibration.sweep_results import fronts

    base = numbers(0.25, 0.98, 0.62)
    points = [point("untouched", "untouched", base, base)]
    for method in range(methods):
        for strength in range(strengths):
            share = (strength + 1) / strengths
            sra_u = 0.25 + 0.7 * share ** (0.6 + 0.15 * method)
            sra_s = 0.98 - (0.1 + 0.08 * method) * share**3
            utility = max(0.0, 0.62 - 0.1 * math.sin(strength * (method + 1)) ** 2 - 0.1 * share * method)
            bad = 3 if len(points) <= failed else 0
            called = f"{name}{method + 1}"
            title = f"{called},strength={share:g}"
            points.append(point(title, "setting", numbers(sra_u, sra_s, utility, bad, base), None, called))
    points.append(point("tuned", "compared", numbers(0.93, 0.93, 0.6, 0, base), numbers(0.9, 0.9, 0.58, 0, base)))
    middle = points[strengths // 2]
    middle["report"] = middle["choose"]
    part = {"benchmark": "pictosafe", "split": "validation", "samples": 320}
    return {
        "schema": 1,
        "config": {"target": "hf/model"},
        "judges": {"safety": "string-match:normalised", "utility": "exact-match"},
        "parts": {"choose-safety": part, "report-safety": {**part, "split": "test"}},
        "points": points,
        "fronts": fronts(points[:-1]),
        "picks": {
            "measure": "sra_u",
            "limits": ["sra_s loss <= 0.02"],
            "all": middle["name"],
            "methods": {f"{name}1": middle["name"]},
        },
    }
