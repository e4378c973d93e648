"""Run folders read for showing: what was measured, what came out, and which runs may stand side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import InputError
from ..journal import read_json
from ..records import Response, ResponseKey, Sample, Verdict
from ..runs.folder import read_records
from ..taxonomy import adheres


@dataclass(frozen=True)
class Run:
    """One run folder. `verdicts` holds, for each sample, what its judges' present rules say of its present response.

    `usefulness` is the run that asked the same model plain questions, where they are a benchmark of their own: its
    samples, answers and scores are then in here too.
    """

    folder: Path
    title: str
    manifest: Mapping[str, Any]
    scores: Mapping[str, Any]
    samples: Mapping[str, Sample]
    responses: Mapping[ResponseKey, Response]
    verdicts: Mapping[ResponseKey, tuple[Verdict, ...]]
    usefulness: Run | None = None

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges of safety, in the order of the scores: the first is the one that figures show."""
        return tuple(self.scores.get("judges") or {})

    @property
    def benchmark(self) -> Any:
        return self.manifest.get("benchmark")

    @property
    def parts(self) -> tuple[Run, ...]:
        """The run folders this one was read from."""
        return (self,) if self.usefulness is None else (self, self.usefulness)

    def folder_of(self, sample_id: str) -> Path:
        """The run folder that holds a sample."""
        apart = self.usefulness is not None and sample_id in self.usefulness.samples
        return self.usefulness.folder if self.usefulness is not None and apart else self.folder

    @property
    def target(self) -> str:
        target = self.manifest.get("target")
        name = target.get("spec", target.get("name")) if isinstance(target, Mapping) else target
        return str(name if name is not None else "unknown target")


@dataclass(frozen=True)
class Group:
    """Runs on one and the same benchmark, in the order given: the first is what the others are compared with."""

    name: str
    runs: tuple[Run, ...]

    @property
    def tones(self) -> tuple[int, ...]:
        """A lone run takes the accent; of several the first is neutral."""
        return (1,) if len(self.runs) == 1 else tuple(range(len(self.runs)))

    @property
    def same_pairs(self) -> bool:
        """Whether every run answered the very same samples."""
        asked = [set(run.samples) for run in self.runs]
        return all(one == asked[0] for one in asked)


def read_run(folder: Path, title: str | None = None) -> Run:
    """A run folder with its scores. Raises InputError when it is no run folder or was never scored."""
    if not (folder / "manifest.json").is_file():
        raise InputError("not a run folder (it has no manifest.json)", where=folder)
    if not (folder / "scores.json").is_file():
        raise InputError("the run has no scores.json yet: let `holisafe run` finish it first", where=folder)
    manifest, scores = read_json(folder / "manifest.json"), read_json(folder / "scores.json")
    for name, value in (("manifest.json", manifest), ("scores.json", scores)):
        if not isinstance(value, dict):
            raise InputError("not a JSON object", where=folder / name)
    responses = read_records(folder, Response)
    present: dict[ResponseKey, list[Verdict]] = {}
    for verdict in read_records(folder, Verdict).values():
        present_rules = (manifest.get("judges") or {}).get(verdict.judge, verdict.judge_version)
        if verdict.counts(responses.get(verdict.response_key), present_rules):
            present.setdefault(verdict.response_key, []).append(verdict)
    order = {judge: index for index, judge in enumerate(scores.get("judges") or {})}
    verdicts = {
        sample: tuple(sorted(found, key=lambda one: (order.get(one.judge, len(order)), one.judge)))
        for sample, found in present.items()
    }
    run = Run(folder, title or "", manifest, scores, read_records(folder, Sample), responses, verdicts)
    return run if title else replace(run, title=short_target(run.target))


def read_groups(folders: Sequence[Path], titles: Sequence[str] | None = None) -> tuple[Group, ...]:
    """Every run folder, gathered by benchmark. Two runs of one benchmark are called Before and After, in this order.

    Raises InputError when there is no folder, a folder cannot be read, or titles and folders differ in number.
    """
    if not folders:
        raise InputError("a report needs at least one run folder")
    if titles is not None and len(titles) != len(folders):
        raise InputError(f"{len(titles)} titles for {len(folders)} run folders")
    runs = [read_run(folder, titles[index] if titles else None) for index, folder in enumerate(folders)]
    gathered: dict[str, list[Run]] = {}
    for run in runs:
        gathered.setdefault(repr(run.benchmark), []).append(run)
    sets = _with_usefulness(list(gathered.values()))
    names = _unique([benchmark_name(members[0].benchmark) for members in sets])
    groups = []
    for name, members in zip(names, sets, strict=True):
        if titles is None and len(members) == 2:
            called = ["Before", "After"]
        else:
            called = _unique([run.title for run in members])
        titled = (replace(run, title=title) for run, title in zip(members, called, strict=True))
        groups.append(Group(name, tuple(titled)))
    return tuple(groups)


def _with_usefulness(sets: Sequence[list[Run]]) -> list[list[Run]]:
    """Plain questions that are a benchmark of their own join the safety runs of the same models just before them."""
    joined: list[list[Run]] = []
    for members in sets:
        by_model = {_model(run): run for run in members}
        safety = joined[-1] if joined else []
        same_models = len(by_model) == len(members) and sorted(by_model) == sorted(_model(run) for run in safety)
        if same_models and all(_can_join(run, by_model[_model(run)]) for run in safety):
            joined[-1] = [_joined(run, by_model[_model(run)]) for run in safety]
        else:
            joined.append(members)
    return joined


def _model(run: Run) -> str:
    return repr(run.manifest.get("target"))


def _can_join(safety: Run, useful: Run) -> bool:
    apart = not safety.samples.keys() & useful.samples.keys()
    return (
        apart
        and safety.usefulness is None
        and bool(safety.judges and useful.scores.get("utility"))
        and not useful.judges
    )


def _joined(run: Run, useful: Run) -> Run:
    counts, more = run.scores.get("responses") or {}, useful.scores.get("responses") or {}
    return replace(
        run,
        usefulness=useful,
        samples={**run.samples, **useful.samples},
        responses={**run.responses, **useful.responses},
        verdicts={**run.verdicts, **useful.verdicts},
        scores={
            **run.scores,
            "utility": {**(run.scores.get("utility") or {}), **useful.scores["utility"]},
            "responses": {name: counts.get(name, 0) + more.get(name, 0) for name in {*counts, *more}},
        },
    )


def short_target(spec: str) -> str:
    """The last part of a target's path: `hf//models/tuned,dtype=float32` -> `tuned`."""
    return PurePosixPath(spec.partition(",")[0]).name or spec


def benchmark_name(benchmark: Any) -> str:
    """How the page calls a benchmark: its name and split."""
    if not isinstance(benchmark, Mapping):
        return str(benchmark)
    name = str(benchmark.get("name", "benchmark"))
    return f"{name}, {benchmark['split']} split" if benchmark.get("split") else name


def _unique(names: Sequence[str]) -> list[str]:
    """Names that occur twice get their number behind them."""
    often, seen, result = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({seen[name]})" if often[name] > 1 else name)
    return result


def did_adhere(verdict: Verdict, sample: Sample) -> bool | None:
    """Whether the response did what was expected of it; None for an invalid verdict."""
    return None if verdict.label is None or verdict.invalid else adheres(verdict.label, sample.expected)
