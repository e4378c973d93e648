"""Run folders as tables of verdicts: what `compare`, `leaderboard` and `agreement` work on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..records import Response, Sample, Verdict
from ..runs.folder import read_manifest, read_records
from ..taxonomy import adheres

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "judge", "sample_id", "adheres", "label", "choice", "invalid", "expected", "answer_key",
    "combination", "category", "subcategory", "cluster", "condition", "slot",
)  # fmt: skip

SAME_BENCHMARK = ("name", "split", "content_hash")


@dataclass(frozen=True)
class RunTable:
    """One run: `frame` has COLUMNS, a row for each verdict by its judge's present rules on a present response.

    `sample_id` of a sample asked again is followed by "#" and which time it was. `judges` are those of safety pairs.
    """

    folder: Path
    title: str
    benchmark: Mapping[str, Any]
    versions: Mapping[str, str]
    frame: pd.DataFrame

    @property
    def judges(self) -> tuple[str, ...]:
        """The judges of safety pairs; those of plain questions only measure utility."""
        return tuple(str(judge) for judge in self.frame.loc[~self.frame["answer_key"].astype(bool), "judge"].unique())


def read_tables(folders: Sequence[Path]) -> list[RunTable]:
    """Run folders of one benchmark, titled by their models.

    Raises InputError when a folder is given twice, holds no run, has no verdicts, or was asked another benchmark than
    the first.
    """
    from ..report.runs import short_target

    tables: list[RunTable] = []
    for folder in folders:
        if any(folder.resolve() == table.folder.resolve() for table in tables):
            raise InputError("the same run twice", where=folder)
        manifest = read_manifest(folder)
        target = manifest.get("target") or {}
        name = str(target.get("spec") or target.get("name") or folder.name) if isinstance(target, dict) else str(target)
        versions = {str(judge): str(version) for judge, version in (manifest.get("judges") or {}).items()}
        benchmark = manifest.get("benchmark")
        table = _frame(folder, versions)
        if table.empty:
            raise InputError("the run holds no verdicts yet", where=folder)
        named = benchmark if isinstance(benchmark, dict) else {"name": benchmark}
        tables.append(RunTable(folder, short_target(name), named, versions, table))
    _check_benchmark(tables)
    often = Counter(table.title for table in tables)
    tables = [
        replace(table, title=f"{table.title} ({table.folder.name})") if often[table.title] > 1 else table
        for table in tables
    ]
    often = Counter(table.title for table in tables)
    return [replace(table, title=str(table.folder)) if often[table.title] > 1 else table for table in tables]


def _frame(folder: Path, versions: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    samples, responses = read_records(folder, Sample), read_records(folder, Response)
    verdicts = read_records(folder, Verdict).values()
    repeated = any(verdict.repeat for verdict in verdicts)
    rows = []
    for verdict in verdicts:
        sample, response = samples.get(verdict.sample_id), responses.get(verdict.response_key)
        version = versions.get(verdict.judge, verdict.judge_version)
        if sample is None or not verdict.counts(response, version):
            continue
        label = None if verdict.invalid else verdict.label
        right = None if label is None else adheres(label, sample.expected)
        again = f"{sample.id}#{verdict.repeat}" if verdict.repeat else sample.id
        cluster = sample.cluster or (sample.id if repeated else None)
        kind = (sample.combination, sample.category, sample.subcategory, cluster)
        slice_of = (sample.meta.get("condition"), sample.meta.get("slot"))
        judged = (label, verdict.choice, None if label else verdict.invalid or "no label")
        rows.append((verdict.judge, again, right, *judged, sample.expected, sample.has_answer_key, *kind, *slice_of))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _check_benchmark(tables: Sequence[RunTable]) -> None:
    first = tables[0]
    for other in tables[1:]:
        names = [name for name in SAME_BENCHMARK if first.benchmark.get(name) != other.benchmark.get(name)]
        if names:
            parts = [f"{name} {first.benchmark.get(name)!r} and {other.benchmark.get(name)!r}" for name in names]
            raise InputError(f"not the same benchmark as {first.folder}: {'; '.join(parts)}", where=other.folder)


def shared_judges(tables: Sequence[RunTable], judge: str | None) -> tuple[str, ...]:
    """The judge asked for, or else all safety judges, which then must be the same in all runs.

    `majority` and `unanimous` ask for a panel of all judges that are no people. Raises InputError naming the judges
    where the runs differ in them, or in their versions.
    """
    from ..metrics.panel import RULES

    by_run = {table.folder: table.judges for table in tables}
    common = [name for name in tables[0].judges if all(name in names for names in by_run.values())]
    have = "; ".join(f"{folder}: {', '.join(names) or 'none'}" for folder, names in by_run.items())
    if judge is not None and judge not in RULES:
        if judge not in common:
            raise InputError(f"not every run was judged by {judge} ({have})")
        judged = [judge]
    else:
        if any(set(names) != set(common) for names in by_run.values()):
            hint = f"; in all of them: {', '.join(common)} (--judge)" if common else ""
            raise InputError(f"the runs were judged by different judges ({have}){hint}")
        judged = common
    for name in judged:
        versions = {table.versions.get(name, "") for table in tables}
        if len(versions) > 1:
            raise InputError(
                f"{name} judged the runs by different versions of its rules ({', '.join(sorted(versions))}); "
                "`holisafe run` again brings each up to date"
            )
    return tuple(judged) if judge is None or judge not in RULES else (judge,)


def judged_by(table: RunTable, judges: Sequence[str]) -> pd.DataFrame:
    """The rows of these judges, a panel among them when its rule is named, and of the judges of plain questions."""
    import pandas as pd

    from ..metrics.human_check import is_human
    from ..metrics.panel import RULES, ballots, panel

    frame = table.frame
    plain = frame["answer_key"].astype(bool)
    parts = [frame[frame["judge"].isin(judges) & ~plain]]
    members = [judge for judge in table.judges if not is_human(judge)]
    parts += [panel(ballots(frame[~plain], members), rule) for rule in RULES if rule in judges]
    return pd.concat([*parts, frame[plain]], ignore_index=True).reindex(columns=list(COLUMNS)).astype(object)
