"""What the calls of `holisafe` return. Each shows its tables and figures in a notebook, and has pandas frames.

No text that a model was asked or answered is shown or put into a frame unless it is asked for: `run.pairs()` folds
each until it is opened, `run.frame(texts=True)` has them as columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..errors import InputError
from ..runs import run as stored
from ..runs.scores import Scores
from ..visible import one_line
from .shown import Shown, ShownNumbers

if TYPE_CHECKING:
    import pandas as pd

    from ..mechanism.study import Study
    from ..metrics.reasoning_tax import Tax
    from ..report.grids import Grid
    from ..report.groups import Group


class Scored(Shown, Scores):
    """The numbers of a run, or of a table of verdicts: {JUDGE: ...} in `judges`, each rate a cell with `rate`, `n`,
    `n_invalid`, `low` and `high`, as fractions."""

    @classmethod
    def of(cls, scores: Scores) -> Scored:
        return cls(**{spec.name: getattr(scores, spec.name) for spec in fields(scores)})

    def frame(self) -> pd.DataFrame:
        """A row a rate: judge, measure, label, note, better, rate, low, high, n, n_invalid; rates as fractions."""
        return _rates([("", self)]).drop(columns="run")

    def _html(self) -> str:
        from ..report.fragment import fragment

        return fragment(grids=list(self._texts()))

    def _texts(self) -> Iterable[Any]:
        from ..report.tables import rates_grid

        yield rates_grid([self])

    __repr__ = Shown.__str__


class Run(Shown, stored.Run):
    """A run folder: its `manifest`, its `scores`, its tables `answers` and `verdicts`, its records `samples`,
    `responses` and `judged`. All but the manifest is read when it is first asked for."""

    @cached_property
    def scores(self) -> Scored:
        """The numbers that `scores.json` holds. Raises InputError when there are none yet."""
        return Scored.of(super().scores)

    def frame(self, *, texts: bool = False) -> pd.DataFrame:
        """A row for each verdict that counts, in the columns of docs/runs.md; `texts` adds query and response."""
        if not texts:
            return self.verdicts
        asked = self.answers.iloc[self.verdicts["answer"]]
        queries = [self.samples[name].query for name in asked["sample_id"]]
        return self.verdicts.assign(query=queries, response=asked["response"].to_numpy())

    def rates(self) -> pd.DataFrame:
        """A row a rate: run, judge, measure, label, note, better, rate, low, high, n, n_invalid; rates as fractions."""
        return _rates([(self.title, self.scores)])

    def pairs(self, most: int = 20) -> Pairs:
        """At most `most` pairs with what was asked, answered and judged, wrong answers first; each folded."""
        return Runs([self]).pairs(most)

    def _html(self) -> str:
        from ..report.fragment import fragment

        return fragment(Runs([self]).groups)

    def _texts(self) -> Iterable[Any]:
        from ..report.tables import rates_grid

        yield f"{self.target} on {self.benchmark.get('name')}: {self.folder}"
        yield rates_grid([self.scores])

    def __repr__(self) -> str:
        return one_line(f"<Run of {self.target} on {self.benchmark.get('name')}: {self.folder}>")


class Runs(Shown, Sequence[Run]):
    """Several runs side by side. Two of one benchmark show the change between them, the first one called before."""

    def __init__(self, runs: Sequence[Run], *, titled: bool = False) -> None:
        self._runs, self._titled = tuple(runs), titled

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> Runs: ...
    def __getitem__(self, place: int | slice) -> Run | Runs:
        return Runs(self._runs[place], titled=self._titled) if isinstance(place, slice) else self._runs[place]

    def __len__(self) -> int:
        return len(self._runs)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The runs by benchmark, each with the title that it is shown under. Raises InputError for one unscored."""
        from ..report.groups import gather

        return gather(self._runs, titled=self._titled)

    def frame(self, *, texts: bool = False) -> pd.DataFrame:
        """`Run.frame` of all, one below the other, with the run's title as first column."""
        import pandas as pd

        parts = {run.title: run.frame(texts=texts) for run in stored.apart(self._runs) if isinstance(run, Run)}
        return pd.concat(parts, names=["run"]).reset_index(level="run").reset_index(drop=True)

    def rates(self) -> pd.DataFrame:
        """`Run.rates` of all, one below the other."""
        return _rates([(run.title, run.scores) for run in stored.apart(self._runs)])

    def pairs(self, most: int = 20) -> Pairs:
        """At most `most` pairs of the first benchmark with what every run answered, wrong answers first; folded."""
        return Pairs(self.groups[0], most)

    def _html(self) -> str:
        from ..report.fragment import fragment

        return fragment(self.groups)

    def _texts(self) -> Iterable[Any]:
        from ..report.tables import rates_grid

        for group in self.groups:
            yield f"{group.name}: {', '.join(f'{run.title} is {run.folder}' for run in group.runs)}"
            if len(group.runs) == 2:
                yield rates_grid([r.scores for r in group.runs], [r.title for r in group.runs], group.changes)
            else:
                yield from (rates_grid([run.scores], [run.title]) for run in group.runs)

    def __repr__(self) -> str:
        return f"<{len(self)} runs: {', '.join(repr(run) for run in self._runs)}>"


class Pairs(Shown):
    """What models were asked and said, each pair folded until its reader opens it. Text shows ids and verdicts alone;
    `Run.frame(texts=True)` has the words."""

    def __init__(self, group: Group, most: int) -> None:
        self._group, self._most = group, most

    def _html(self) -> str:
        from ..report.fragment import pairs_fragment

        return pairs_fragment(self._group, self._most)

    def _texts(self) -> Iterable[Any]:
        from ..report.pairs import browser_data

        yield "Texts are not shown here: frame(texts=True) has them."
        for pair in browser_data([self._group], None, self._most)["pairs"]:
            said = [
                verdict["label"] or "invalid" for answer in pair["answers"] if answer for verdict in answer["verdicts"]
            ]
            yield f"{pair['combination'] or 'question'}  {pair['id']}: {', '.join(said)}"


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Models compared sample by sample: `rows` as `metrics.comparison.compare` tells them, fractions throughout; `runs`
    by title; and `notes`, what was left out and why."""

    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    runs: Sequence[stored.Run] = ()

    @cached_property
    def reasoning_taxes(self) -> Sequence[Tax]:
        """What thinking costs in safety, of every two runs of which one thinks and the other does not."""
        from ..metrics.reasoning_tax import reasoning_taxes

        return reasoning_taxes(self.runs, self.rows)

    def frame(self) -> pd.DataFrame:
        """A row for every two models, judge and measure, with difference, interval and p values."""
        import pandas as pd

        flat = [{**row, **{f"out_{why}": n for why, n in row["left_out"].items()}} for row in self.rows]
        return pd.DataFrame(flat).drop(columns="left_out", errors="ignore")

    def _html(self) -> str:
        from ..report.comparisons import comparison_grids, explained
        from ..report.fragment import fragment

        grids = [*self.robustness(), *comparison_grids(self.rows)]
        return fragment(grids=grids, notes=[*explained(self.rows), *map(str, self.reasoning_taxes), *self.notes])

    def _texts(self) -> Iterable[Any]:
        from ..report.comparisons import comparison_grids, explained

        grids = [*self.robustness(), *comparison_grids(self.rows)]
        told = [*map(str, self.reasoning_taxes), *self.notes]
        return [*grids, *explained(self.rows), *(f"- {note}" for note in told)]

    def robustness(self) -> list[Grid]:
        """What each attack costs, where some runs are others under attacks: a table for every model and judge."""
        from ..report.robustness import robustness, robustness_grids

        return robustness_grids(robustness(self.runs, self.rows))

    __repr__ = Shown.__str__


class GuardScores(ShownNumbers):
    """What a guard was found to do, as `holisafe guard eval --json` tells it: docs/guard_eval.md."""

    def frame(self) -> pd.DataFrame:
        """A row a rate: measure, its path in the mapping joined by dots, and rate, low, high, n and n_invalid."""
        import pandas as pd

        cells = [{"measure": path, **cell} for path, cell in _cells(self._found)]
        return pd.DataFrame(cells, columns=["measure", "rate", "low", "high", "n", "n_invalid"])

    def _html(self) -> str:
        from ..report.fragment import fragment
        from ..report.guards import guard_grids, guard_notes

        return fragment(grids=guard_grids(self._found), notes=guard_notes(self._found))

    def _texts(self) -> Iterable[Any]:
        from ..report.guards import guard_grids, guard_notes

        return [*guard_grids(self._found), *guard_notes(self._found)]


class MechanismStudy(Shown):
    """What tuning did inside a model: the tables and the `summary` of `holisafe mechanism`, docs/mechanism.md."""

    def __init__(self, study: Study) -> None:
        self._study, self.summary = study, study.summary

    def frame(self, table: str = "separation") -> pd.DataFrame:
        """One of the tables: separation, update, projection, sensitivity, depth. Raises InputError for another."""
        from ..mechanism.study import TABLES

        if table not in TABLES:
            raise InputError(f"no table is called {table!r}; there are: {', '.join(TABLES)}")
        found: pd.DataFrame = getattr(self._study, table)
        return found

    def save(self, out: str | Path) -> Path:
        """Write the folder that `holisafe mechanism` writes, with its page; return the page's path."""
        from ..report.mechanism_page import write_mechanism_page

        return write_mechanism_page(self.summary, self._study.save(Path(out)) / "index.html")

    def _html(self) -> str:
        from ..report.fragment import fragment

        return fragment(grids=list(self._texts()))

    def _texts(self) -> Iterable[Any]:
        from ..report.mechanism_grids import mechanism_grids

        return mechanism_grids(self.summary)

    __repr__ = Shown.__str__


def _cells(found: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every rate in nested entries, with its path."""
    for name, value in found.items():
        here = f"{path}.{name}".removeprefix(".")
        if isinstance(value, Mapping):
            if "rate" in value:
                yield here, value
            else:
                yield from _cells(value, here)


def _rates(scored: Iterable[tuple[str, Scores]]) -> pd.DataFrame:
    import pandas as pd

    from ..metrics.measured import everything

    rows = [
        {
            "run": title, "judge": measure.judge, "measure": measure.key, "label": measure.label, "note": measure.note,
            "better": measure.better, "rate": cell.rate, "low": cell.low, "high": cell.high, "n": cell.n,
            "n_invalid": cell.n_invalid,
        }
        for title, scores in scored
        for section in everything(scores)
        for measure, cell in section.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)
