"""Find every fault of a benchmark's files at once, rather than the first.

A reader whose format has more to check than its pictures says so with a function `check_folder(root)` beside its
loader; for every other benchmark, reading it and decoding each picture is the check.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import InputError
from ..registry import benchmarks
from .base import Benchmark


def check(name: str, root: Path | None) -> tuple[list[InputError], list[str]]:
    """All faults of the benchmark called `name`, and remarks that are no faults. Raises InputError for no such name."""
    entry = benchmarks.get(name)
    own = getattr(sys.modules[entry.load.__module__], "check_folder", None)
    if own is not None:
        faults, remarks = own(root)
        return list(faults), list(remarks)
    try:
        benchmark: Benchmark = entry.load(root)
    except InputError as fault:
        return [fault], []
    names = dict.fromkeys(name for sample in benchmark.samples for name in sample.images)
    return [fault for fault in (_picture_fault(benchmark, name) for name in names) if fault is not None], []


def _picture_fault(benchmark: Benchmark, name: str) -> InputError | None:
    try:
        benchmark.open_image(name)
    except InputError as fault:
        return fault
    return None
