"""Benchmarks: files as their authors release them -> Samples. One file each; `open_benchmark` finds them by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ChangedError, InputError
from ..registry import Entry, benchmarks
from ..specs import recorded_place
from .base import Benchmark
from .hub import resolve, revision_of


def located(name: str, root: Path | str | None = None) -> tuple[Entry[Any], Path | None]:
    """The reader and the folder that NAME or NAME:ROOT names. Raises InputError as `open_benchmark`."""
    name, colon, behind = name.partition(":")
    if colon and root is not None:
        raise InputError(f"two roots of {name}: {behind} and {root}")
    entry = benchmarks.get(name)
    return entry, resolve((behind or None) if colon else root, entry.facts.get("hub"))


def open_benchmark(name: str, root: Path | str | None = None, split: str | None = None) -> Benchmark:
    """Read a benchmark by name. `root` is the folder of its release, or a hub dataset as `hub` describes, and may also
    stand behind the name, as NAME:ROOT; embedded benchmarks need none.

    Raises InputError for an unknown name, a missing or faulty file, a dataset that the hub does not give, a split it
    does not have, or two roots.
    """
    return _read(name, root).only(split)


def open_tested(name: str, root: Path | str | None = None, split: str | None = None) -> Benchmark:
    """As `open_benchmark`, but without a split named it is `test`, or everything where there is no such split."""
    benchmark = _read(name, root)
    has_test = any(sample.split == "test" for sample in benchmark.samples)
    return benchmark.only("test" if split is None and has_test else split)


def _read(name: str, root: Path | str | None) -> Benchmark:
    """All of a benchmark, its faults not looked at."""
    entry, folder = located(name, root)
    benchmark: Benchmark = entry.load(folder)
    return replace(benchmark, reader=entry.name, root=folder, revision=revision_of(folder))


def open_recorded(benchmark: Any, where: Path, root: Path | str | None = None) -> Benchmark:
    """The benchmark that the manifest `where` names by its entry, from the folder it was in then, or from `root`.

    Raises InputError as above; also when the entry names no folder of this machine (`specs.recorded_place`), or when
    what is there has another content than the run asked about.
    """
    named = benchmark if isinstance(benchmark, Mapping) else {}
    reader, split = named.get("reader") or named.get("name"), named.get("split")
    if not isinstance(reader, str) or ":" in reader or not isinstance(split, str | None):  # a root is for the user
        raise InputError("names no benchmark", where=where, field="benchmark")
    place = root if root is not None else recorded_place(named.get("root"), where)
    opened = open_benchmark(reader, place, split)
    if opened.content_hash() != named.get("content_hash"):
        raise ChangedError(f"the content of {opened.name} is not what this run asked about", where=where)
    return opened
