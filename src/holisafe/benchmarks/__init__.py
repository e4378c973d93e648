"""Benchmarks: files as their authors release them -> Samples. One file each; `open_benchmark` finds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ChangedError, InputError
from ..registry import benchmarks
from ..specs import recorded_place
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


def open_recorded(benchmark: Any, where: Path, root: Path | str | None = None) -> Benchmark:
    """The benchmark that the manifest `where` names by its entry, from the folder it was in then, or from `root`.

    Raises InputError as above; also when the entry names no folder of this machine (`specs.recorded_place`), or when
    what is there has another content than the run asked about.
    """
    named = benchmark if isinstance(benchmark, Mapping) else {}
    reader, split = named.get("reader") or named.get("name"), named.get("split")
    if not isinstance(reader, str) or not isinstance(split, str | None):
        raise InputError("names no benchmark", where=where, field="benchmark")
    place = root if root is not None else recorded_place(named.get("root"), where)
    opened = open_benchmark(reader, place, split)
    if opened.content_hash() != named.get("content_hash"):
        raise ChangedError(f"the content of {opened.name} is not what this run asked about", where=where)
    return opened
