"""Runs gathered for showing: which stand side by side, under which titles, and what changed between two of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..metrics.changes import Change, changes
from ..metrics.comparison import compare
from ..metrics.measured import breakdown, everything
from ..metrics.measures import Measure
from ..metrics.reasoning_tax import Tax, reasoning_taxes, thinks
from ..metrics.shared import judged_by, shared_judges
from ..records import Response, ResponseKey, Sample, Verdict
from ..runs.run import Run, apart, made_safer, read_runs
from ..runs.scores import Scores

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Joined(Run):
    """A run together with the one that asked the same model plain questions, where they are a benchmark of their own:
    samples, answers, verdicts and usefulness of both."""

    safety: Run
    useful: Run

    @cached_property
    def answers(self) -> pd.DataFrame:
        import pandas as pd

        return pd.concat([self.safety.answers, self.useful.answers], ignore_index=True)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        import pandas as pd

        later = self.useful.verdicts.assign(answer=self.useful.verdicts["answer"] + len(self.safety.answers))
        both = pd.concat([self.safety.verdicts, later], ignore_index=True)
        return both.assign(judge=both["judge"].astype("category"))

    @cached_property
    def versions(self) -> Mapping[str, str]:
        return {**self.useful.versions, **self.safety.versions}

    @cached_property
    def judges(self) -> tuple[str, ...]:
        return self.safety.judges

    @cached_property
    def samples(self) -> dict[str, Sample]:
        return {**self.safety.samples, **self.useful.samples}

    @cached_property
    def responses(self) -> dict[ResponseKey, Response]:
        return {**self.safety.responses, **self.useful.responses}

    @cached_property
    def judged(self) -> dict[str, dict[ResponseKey, Verdict]]:
        judges = dict.fromkeys([*self.safety.judged, *self.useful.judged])
        return {name: {**self.safety.judged.get(name, {}), **self.useful.judged.get(name, {})} for name in judges}

    @cached_property
    def scores(self) -> Scores:
        first, more = self.safety.scores, self.useful.scores
        return replace(first, utility={**first.utility, **more.utility}, responses=first.responses + more.responses)


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

    @cached_property
    def changes(self) -> Mapping[Measure, Change | None]:
        """What changed between two runs, by `metrics.changes`; nothing for one run, or for more."""
        if len(self.runs) != 2:
            return {}
        first, second = self.runs
        rows = [rows for run in self.runs for rows in (*everything(run.scores), *_parts(run.scores))]
        return changes(first, second, dict.fromkeys(measure for one in rows for measure in one))

    @cached_property
    def comparisons(self) -> list[dict[str, Any]]:
        """What `holisafe compare` finds of these runs; nothing where they share no judge."""
        try:
            judges, _ = shared_judges(self.runs)
        except InputError:
            return []
        return compare(judged_by(self.runs, judges))

    @cached_property
    def reasoning_taxes(self) -> list[Tax]:
        """What thinking costs, where one of two runs thinks and the other does not."""
        if len(self.runs) != 2 or len({*map(thinks, self.runs)}) == 1:
            return []
        return reasoning_taxes(self.runs, self.comparisons)


def _parts(scores: Scores) -> list[dict[Measure, Any]]:
    """ASR by category and by subcategory under the first judge, which is the one that is shown."""
    return [breakdown(scores, j, level) for j in [*scores.judges][:1] for level in ("categories", "subcategories")]


def parts_of(run: Run) -> tuple[Run, ...]:
    """The run folders that a run was read from."""
    return (run.safety, run.useful) if isinstance(run, Joined) else (run,)


def folder_of(run: Run, sample_id: str) -> Path:
    """The run folder that holds a sample."""
    first, *others = parts_of(run)
    return next((part for part in others if sample_id in part.samples), first).folder


def read_groups(folders: Sequence[Path], titles: Sequence[str] | None = None) -> tuple[Group, ...]:
    """Every run folder, gathered by benchmark. Runs are called by their models, and two of one model that was made
    safer Before and After.

    Raises InputError when there is no folder, one holds no scored run, or titles and folders differ in number.
    """
    return gather(read_runs(folders, titles), titled=titles is not None)


def gather(runs: Sequence[Run], *, titled: bool) -> tuple[Group, ...]:
    """Runs that were read, as `read_groups`; `titled` ones keep their titles. Raises InputError for one unscored."""
    gathered: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        assert run.scores is not None  # read now: what is no scored run is told before anything is drawn
        gathered.setdefault(run.same, []).append(run)
    sets = _with_usefulness(list(gathered.values()))
    groups = []
    for name, members in zip(_numbered([benchmark_name(runs[0].benchmark) for runs in sets]), sets, strict=True):
        pair = not titled and len(members) == 2 and made_safer(*members)
        called = ("Before", "After") if pair else [run.title for run in apart(members)]
        groups.append(Group(name, tuple(map(_titled, members, called))))
    return tuple(groups)


def _titled(run: Run, title: str) -> Run:
    return replace(run, title=title)


def _with_usefulness(sets: Sequence[list[Run]]) -> list[list[Run]]:
    """Plain questions that are a benchmark of their own join the safety runs of the same models just before them."""
    joined: list[list[Run]] = []
    for members in sets:
        by_model = {_model(run): run for run in members}
        safety = joined[-1] if joined else []
        same_models = len(by_model) == len(members) and sorted(by_model) == sorted(_model(run) for run in safety)
        if same_models and all(_can_join(run, by_model[_model(run)]) for run in safety):
            pairs = [(run, by_model[_model(run)]) for run in safety]
            joined[-1] = [Joined(run.folder, run.manifest, run.title, run, useful) for run, useful in pairs]
        else:
            joined.append(members)
    return joined


def _model(run: Run) -> str:
    return repr(run.manifest.get("target"))


def _can_join(safety: Run, useful: Run) -> bool:
    measured = safety.scores.judges and useful.scores.utility and not useful.scores.judges
    return bool(measured) and not isinstance(safety, Joined) and not safety.samples.keys() & useful.samples.keys()


def benchmark_name(benchmark: Mapping[str, Any]) -> str:
    """How the page calls a benchmark: its name and split."""
    name = str(benchmark.get("name", "benchmark"))
    return f"{name}, {benchmark['split']} split" if benchmark.get("split") else name


def _numbered(names: Sequence[str]) -> list[str]:
    """Names that occur twice get their number behind them."""
    often, seen, result = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        result.append(f"{name} ({seen[name]})" if often[name] > 1 else name)
    return result
