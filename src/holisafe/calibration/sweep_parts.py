"""What a sweep asks: benchmarks, split into what is chosen on and what is reported, and pairs to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

from ..benchmarks import open_benchmark
from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..image_hashes import KeptHashes
from ..judges import open_judge
from ..judges.base import Judge, applies
from ..records import Sample, digest
from .base import FitData, fit_data
from .sweep_config import Fit, Part, Source, SweepConfig


class Hashed(Benchmark):
    """A benchmark whose content is hashed once, however many settings are asked about it."""

    @cached_property
    def _hash(self) -> str:
        return super().content_hash()

    def content_hash(self, progress: Callable[[int, int], None] | None = None) -> str:
        return self._hash


@dataclass(frozen=True)
class Remembering(Benchmark):
    """A benchmark whose every image is hashed once, whichever of its samples are taken."""

    hashes: dict[str, str] = field(default_factory=dict)

    def image_hash(self, name: str, kept: KeptHashes) -> str:
        if name not in self.hashes:
            self.hashes[name] = super().image_hash(name, kept)
        return self.hashes[name]


@dataclass(frozen=True)
class Asked:
    """One benchmark in one phase: `phase` is choose or report, `name` safety, safe or utility."""

    phase: str
    name: str
    benchmark: Benchmark
    judge: Judge

    @property
    def folder(self) -> str:
        return f"{self.phase}-{self.name}"

    def size(self, limit: int | None) -> int:
        """How many samples a setting is asked."""
        return len(self.benchmark.samples[:limit])


def asked_parts(config: SweepConfig) -> Iterator[Asked]:
    """Every part of a sweep, opened. Raises InputError for what cannot be opened or judged, and for shared samples."""
    judge = open_judge(config.judge)
    parts: list[tuple[str, Part | None, Judge]] = [("safety", config.safety, judge), ("safe", config.safe, judge)]
    if config.utility and config.utility.part:
        parts.append(("utility", config.utility.part, open_judge(config.utility.judge)))
    for name, part, judge in parts:
        if part is None:
            continue
        reported = _opened(part.reporting, judge)
        if isinstance(part.choose, float):
            chosen, reported = _shared_out(reported, part.choose, config.seed)
        else:
            chosen = _opened(part.choosing, judge)
        _apart(chosen, reported, f"what {name} is chosen on", f"{name}'s report")
        yield Asked("choose", name, chosen, judge)
        yield Asked("report", name, reported, judge)


def pairs_to_fit(
    fit: Fit, asked: Iterable[Asked], opened: dict[tuple[str, str | None], Benchmark]
) -> Iterator[tuple[int, FitData | None]]:
    """Each seed's pairs to learn from; `opened` keeps what several methods learn from. Raises InputError where one of
    the pairs is reported later."""
    if fit.data is None:
        yield from ((seed, None) for seed in fit.seeds)
        return
    if (fit.data, fit.root) not in opened:
        found = open_benchmark(fit.data, fit.root)
        opened[fit.data, fit.root] = Remembering(**{f.name: getattr(found, f.name) for f in fields(found)})
    benchmark = opened[fit.data, fit.root]
    for seed in fit.seeds:
        data = fit_data(benchmark, limit=fit.limit, seed=seed)
        used = replace(benchmark, samples=(*data.train, *data.validation))
        for part in asked:
            if part.phase == "report":
                _apart(used, part.benchmark, "what is learnt from", f"{part.name}'s report")
        yield seed, data


def _opened(source: Source, judge: Judge) -> Benchmark:
    """The source's samples that the judge has something to say about."""
    found = open_benchmark(source.benchmark, source.root, source.split)
    samples = tuple(sample for sample in found.samples if applies(judge, sample))
    if not samples:
        raise InputError(f"{judge.name}: nothing in {found.name} to judge (exact-match judges questions)")
    return _hashed(found, samples)


def _hashed(benchmark: Benchmark, samples: tuple[Sample, ...]) -> Hashed:
    return Hashed(**{**{f.name: getattr(benchmark, f.name) for f in fields(benchmark)}, "samples": samples})


def _shared_out(benchmark: Benchmark, share: float, seed: int) -> tuple[Benchmark, Benchmark]:
    """The clusters in an order drawn by `seed`, cut after `share` of them: to choose on, and to report."""
    clusters = {sample.cluster or sample.id for sample in benchmark.samples}
    order = sorted(clusters, key=lambda cluster: digest([seed, cluster]))
    first = set(order[: max(1, min(len(order) - 1, round(share * len(order))))])
    chosen = tuple(s for s in benchmark.samples if (s.cluster or s.id) in first)
    rest = tuple(s for s in benchmark.samples if (s.cluster or s.id) not in first)
    if not chosen or not rest:
        raise InputError(f"{benchmark.name} is a single cluster and cannot be shared out")
    return _hashed(benchmark, chosen), _hashed(benchmark, rest)


def _apart(first: Benchmark, second: Benchmark, one: str, other: str) -> None:
    """Raise InputError where two parts share samples of one benchmark."""
    same_files = (first.reader, first.root) == (second.reader, second.root)
    shared = {sample.id for sample in first.samples} & {sample.id for sample in second.samples}
    if same_files and shared:
        raise InputError(f"{one} and {other} share {len(shared):,} samples of {first.name}")
