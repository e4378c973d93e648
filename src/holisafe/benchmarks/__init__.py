"""Benchmarks: files as their authors release them -> Samples. One file each; `open_benchmark` finds them by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..registry import benchmarks
from .base import Benchmark


def open_benchmark(name: str, root: Path | None = None, split: str | None = None) -> Benchmark:
    """Read a benchmark by name. `root` is the folder of its release; embedded benchmarks need none.

    Raises InputError for an unknown name, a missing or faulty file, or a split it does not have.
    """
    benchmark: Benchmark = benchmarks.get(name).load(root)
    return replace(benchmark, reader=name, root=root).only(split)
