"""Benchmarks: files as their authors release them -> Samples. One file each; `open_benchmark` finds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..registry import benchmarks
from .base import Benchmark
from .hub import resolve, revision_of


def open_benchmark(name: str, root: Path | str | None = None, split: str | None = None) -> Benchmark:
    """Read a benchmark by name. `root` is the folder of its release, or a hub dataset as `hub` describes, and may also
    stand behind the name, as NAME:ROOT; embedded benchmarks need none.

    Raises InputError for an unknown name, a missing or faulty file, a dataset that the hub does not give, a split it
    does not have, or two roots.
    """
    name, colon, behind = name.partition(":")
    if colon and root is not None:
        raise InputError(f"two roots of {name}: {behind} and {root}")
    root = behind if colon else root
    entry = benchmarks.get(name)
    folder = resolve(root, entry.facts.get("hub"))
    benchmark: Benchmark = entry.load(folder)
    for fault in benchmark.faults:
        raise fault
    return replace(benchmark, reader=name, root=folder, revision=revision_of(folder)).only(split)


def open_recorded(benchmark: Mapping[str, Any]) -> Benchmark:
    """The whole benchmark that a manifest's entry names, from where it was then. Raises InputError as above."""
    root = benchmark.get("root")
    return open_benchmark(benchmark.get("reader") or benchmark["name"], Path(root) if root else None)
