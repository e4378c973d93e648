"""Find every fault of a benchmark's files at once, rather than the first, and compare its counts with the published.

A reader gathers its faults in `Benchmark.faults`, or has a function `check_folder(root)` beside its loader. Its fact
`published` says how many samples of which kind its authors report, as

    combination: SSS 900, USU 900; split/subset: test/unsafes 442, test/safe_safes 558

Before the colon stand fields of a Sample, or keys of its `meta`; then the number of samples for each of their values.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import InputError
from ..records import Sample
from . import located
from .base import Benchmark


def check(name: str, root: Path | str | None) -> tuple[list[InputError], list[str]]:
    """All faults of the benchmark that `name` or NAME:ROOT names, each picture decoded once, and remarks.

    Raises InputError for no such name, or a hub dataset that is not given.
    """
    entry, folder = located(name, root)
    own = getattr(sys.modules[entry.load.__module__], "check_folder", None)
    if own is not None:
        faults, remarks = own(folder)
        return list(faults), list(remarks)
    try:
        benchmark: Benchmark = entry.load(folder)
    except InputError as fault:
        return [fault], []
    faults = list(benchmark.faults)
    names = dict.fromkeys(name for sample in benchmark.samples for name in sample.every_image)
    with ThreadPoolExecutor(max_workers=4) as pool:
        faults += filter(None, pool.map(lambda name: _picture_fault(benchmark, name), names))
    faults.sort(key=lambda fault: (str(fault.where), int(fault.row or 0)))
    return faults, [*benchmark.remarks, *differences(entry.facts.get("published", ""), benchmark.samples)]


def differences(published: str, samples: Sequence[Sample]) -> Iterator[str]:
    """A remark for every kind of sample of which there are more or fewer than published; none without any sample."""
    for part in filter(None, published.split(";") if samples else []):
        fields, _, counts = part.strip().partition(": ")
        expected = {kind: int(n) for kind, _, n in (count.strip().rpartition(" ") for count in counts.split(","))}
        found = Counter("/".join(_value(sample, field) for field in fields.split("/")) for sample in samples)
        for kind in dict.fromkeys([*expected, *found]):
            if found[kind] != expected.get(kind, 0):
                yield f"{fields} {kind}: {found[kind]:,} samples, published {expected.get(kind, 0):,}"


def _value(sample: Sample, field: str) -> str:
    return str(getattr(sample, field) if hasattr(sample, field) else sample.meta.get(field))


def _picture_fault(benchmark: Benchmark, name: str) -> InputError | None:
    try:
        benchmark.open_image(name)
    except InputError as fault:
        return fault
    return None
