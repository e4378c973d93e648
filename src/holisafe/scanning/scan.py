"""One call from a source and a guard to rows, numbers and a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..guards import is_ours, open_guard
from ..guards.base import Guard
from ..guards.policy import Policy
from ..journal import write_json
from ..metrics.prevalence import ErrorRates
from .folder import SUMMARY, ScanFolder
from .local import scan_here
from .sampling import SIZE, Sampler
from .shown import reads_text
from .sources import Source, open_source
from .summary import summary_of
from .telling import Tell, telling, unheard

ENGINES = ("local", "ray")
SCHEMA = 1
BATCH = 32
"""Pictures that a guard of ours reads at once, unless its spec says otherwise."""


def scan(
    source: str,
    guard: str | Guard,
    out: Path,
    *,
    engine: str = "local",
    image_column: str | None = None,
    text_column: str | None = None,
    policy: Policy | None = None,
    workers: int | None = None,
    sample: int = SIZE,
    rates: ErrorRates | None = None,
    progress: Tell = unheard,
) -> dict[str, Any]:
    """Read everything in the source with the guard, and go on where an earlier call with the same ones stopped.

    Returns what `summary_of` makes of all rows, which is also in summary.json. Raises InputError for a source,
    guard or engine that cannot be used, and a folder that holds another scan.
    """
    if engine not in ENGINES:
        raise InputError(f"no engine is called {engine!r}; there are: {', '.join(ENGINES)}")
    if engine == "ray" and not isinstance(guard, str):
        raise InputError("other machines open the guard by its spec: name it")
    taken = open_source(source, image_column, text_column)
    opened = guard if isinstance(guard, Guard) else open_scanner(guard, policy)
    line = line_of(opened)
    with ScanFolder(out, manifest_of(taken, opened, line)) as folder:
        with telling(taken, folder.count(), progress) as done:
            if engine == "ray":
                from .on_ray import Reading, scan_on_ray

                reading = Reading(taken, str(guard), policy, line, sample)
                scan_on_ray(reading, reads_text(opened), folder, workers, done)
            else:
                scan_here(taken, opened, folder, Sampler(line, sample), workers or _workers(), done)
        found = summary_of(out, folder.manifest, rates=rates, sample=sample)
        write_json(out / SUMMARY, found)
    return found


def open_scanner(guard: str, policy: Policy | None = None) -> Guard:
    """A guard by its spec, in larger batches than one that is asked now and then."""
    return open_guard(guard, policy, {"batch_size": str(BATCH)} if is_ours(guard) else None)


def manifest_of(source: Source, guard: Guard, line: float | None) -> dict[str, Any]:
    """What a scan is of, and by what: rows of two scans with the same one may stand together."""
    return {
        "schema": SCHEMA,
        "source": {
            "place": source.store.place,
            "names": source.names,
            "image_column": source.image_column,
            "text_column": source.text_column,
        },
        "guard": {
            "name": guard.name,
            "version": guard.version,
            "takes": sorted(guard.takes),
            "decides": guard.decides,
            "note": guard.note,
            "line": line,
        },
    }


def line_of(guard: Guard) -> float | None:
    """The score above which the guard calls a picture unsafe: its threshold, else a half; None where something else
    decides, such as which of its labels is the likeliest."""
    if getattr(guard, "policy", None) is not None:
        return None
    limit: float | None = getattr(guard, "limit", None)
    stored: Any = getattr(guard, "stored", None)
    if limit is not None or stored is not None:
        return limit if limit is not None else float(stored.unsafe) if stored.unsafe is not None else None
    return None if hasattr(guard, "labels") else 0.5


def _workers() -> int:
    from joblib import cpu_count

    return min(16, max(2, cpu_count())) if "OMP_NUM_THREADS" not in os.environ else 2
