"""A run folder as everyone reads it: what it measured, its records, its two tables, and its scores."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from ..errors import InputError
from ..records import Response, ResponseKey, Sample, Verdict, response_key, verdict_key
from . import frame
from .columns import read_columns
from .folder import FILES, read_manifest, read_records
from .scores import Scores, read_scores


@dataclass(frozen=True)
class Run:
    """One run folder. Everything but the manifest is read when it is first asked for, and then kept.

    `title` is what the run is called beside others.
    """

    folder: Path
    manifest: Mapping[str, Any]
    title: str

    @cached_property
    def answers(self) -> pd.DataFrame:
        """A row a response, in the order of asking: docs/runs.md."""
        return frame.answers(read_columns(self.folder, Sample), read_columns(self.folder, Response))

    @property
    def verdicts(self) -> pd.DataFrame:
        """A row a verdict that counts, judge by judge: docs/runs.md."""
        return self._counted[1]

    @cached_property
    def _counted(self) -> tuple[dict[str, str], pd.DataFrame]:
        """`versions` and `verdicts`, from one reading of their file."""
        stored = read_columns(self.folder, Verdict)
        versions = frame.present_versions(stored, self._named)
        return versions, frame.current(stored, self.answers, versions, self.folder / FILES[Verdict])

    @cached_property
    def failed(self) -> tuple[str, ...]:
        """Ids of the safety pairs whose answers do not adhere, as every judge with a verdict on them says."""
        pairs = self.verdicts[~self.verdicts["answer_key"].astype(bool) & self.verdicts["adheres"].notna()]
        adhered = pairs.groupby("sample_id", sort=False)["adheres"].max()
        return tuple(str(name) for name, good in adhered.items() if not good)

    @cached_property
    def _named(self) -> dict[str, str]:
        judges = self.manifest.get("judges") or {}
        if not isinstance(judges, dict) or not all(isinstance(version, str) for version in judges.values()):
            problem = "not a mapping of judges to their versions"
            raise InputError(problem, where=self.folder / "manifest.json", field="judges")
        return judges

    @property
    def versions(self) -> Mapping[str, str]:
        """{JUDGE: the version of its rules that counts}, also of those without any verdict."""
        return self._counted[0]

    @cached_property
    def judges(self) -> tuple[str, ...]:
        """The judges of safety pairs, in the order of the manifest; those of plain questions only measure utility."""
        pairs = self.verdicts.loc[~self.verdicts["answer_key"].astype(bool), "judge"]
        return tuple(str(name) for name in pairs.cat.categories if name in set(pairs.unique()))

    @cached_property
    def samples(self) -> dict[str, Sample]:
        """{sample id: what was asked}."""
        return read_records(self.folder, Sample)

    @cached_property
    def responses(self) -> dict[ResponseKey, Response]:
        """{response key: what came back}."""
        return read_records(self.folder, Response)

    @cached_property
    def judged(self) -> dict[str, dict[ResponseKey, Verdict]]:
        """{JUDGE: {response key: its verdict}} of those that count; the rows of `verdicts` as records."""
        stored = read_records(self.folder, Verdict)
        found: dict[str, dict[ResponseKey, Verdict]] = {judge: {} for judge in self.versions}
        for judge, sample, repeat in self.verdicts[["judge", "sample_id", "repeat"]].itertuples(index=False):
            key = response_key(sample, int(repeat))
            found[judge][key] = stored[verdict_key(judge, key)]
        return found

    @cached_property
    def scores(self) -> Scores:
        """The numbers that `scores.json` holds. Raises InputError when there are none yet."""
        return read_scores(self.folder)

    @property
    def benchmark(self) -> Mapping[str, Any]:
        """What the manifest says of the benchmark."""
        found = self.manifest.get("benchmark")
        return found if isinstance(found, Mapping) else {"name": str(found)}

    @property
    def same(self) -> tuple[str, ...]:
        """What two runs must share to stand side by side: the benchmark's name, its split and its content."""
        return tuple(str(self.benchmark.get(name)) for name in SAME_BENCHMARK)

    @property
    def target(self) -> str:
        """The model that was asked, as it was named."""
        target = self.manifest.get("target")
        name = target.get("spec", target.get("name")) if isinstance(target, Mapping) else target
        return str(name if name is not None else "unknown target")


SAME_BENCHMARK = ("name", "split", "content_hash")


def read_run(folder: Path, title: str | None = None) -> Run:
    """A run folder, called by its model unless titled. Raises InputError when it holds no run."""
    run = Run(folder, read_manifest(folder), title or "")
    return run if title else replace(run, title=short_target(run.target))


def read_runs(folders: Sequence[Path], titles: Sequence[str] | None = None) -> tuple[Run, ...]:
    """Several run folders, called by `titles` or else by their models; `apart` makes titles of their own of these.

    Raises InputError when there is none, one holds no run, or titles and folders differ in number.
    """
    if not folders:
        raise InputError("give at least one run folder")
    if titles is not None and len(titles) != len(folders):
        raise InputError(f"{len(titles)} titles for {len(folders)} run folders")
    called: Sequence[str | None] = titles or [None] * len(folders)
    return tuple(map(read_run, folders, called))


def apart(runs: Sequence[Run]) -> Iterator[Run]:
    """Runs of one title get their folder's name behind it, or, where that is the same too, the folder alone."""
    often = Counter(run.title for run in runs)
    named = [f"{run.title} ({run.folder.name})" if often[run.title] > 1 else run.title for run in runs]
    often = Counter(named)
    for run, title in zip(runs, named, strict=True):
        yield replace(run, title=str(run.folder) if often[title] > 1 else title)


def made_safer(first: Run, second: Run) -> bool:
    """Whether the second run asked the first one's model, tuned or calibrated since, as the manifests say."""
    one, other = ({**run.manifest["target"]} for run in (first, second))
    base, model = other.get("tuned_from"), one.get("model")
    if base and model and Path(base).absolute() == Path(str(model)).absolute():  # both may be a folder
        return True
    had, has = (list(target.pop("calibration", ())) for target in (one, other))
    named = [target.pop("name") for target in (one, other)]
    return one == other and len(had) < len(has) and has[: len(had)] == had and named[1].startswith(named[0])


def attacked_from(first: Run, second: Run) -> bool:
    """Whether the second run asked the very target of the first, which is under no attack, under attacks."""
    one, other = ({**run.manifest["target"]} for run in (first, second))
    had, has = (target.pop("attacks", None) for target in (one, other))
    for target in (one, other):
        target.pop("name", None)
    return not had and bool(has) and one == other


def side_by_side(folders: Sequence[Path], titles: Sequence[str] | None = None) -> tuple[Run, ...]:
    """Judged runs of one benchmark, each with a title of its own, `titles` or from its model.

    Raises InputError, also as `read_runs`, naming what differs, is missing or given twice.
    """
    for at, folder in enumerate(folders):
        if folder.resolve() in [earlier.resolve() for earlier in folders[:at]]:
            raise InputError("the same run twice", where=folder)
    runs = tuple(apart(read_runs(folders, titles)))
    for run in runs:
        if run.same != runs[0].same:
            first = runs[0].benchmark
            parts = [
                f"{name} {first.get(name)!r} and {run.benchmark.get(name)!r}"
                for name in SAME_BENCHMARK
                if first.get(name) != run.benchmark.get(name)
            ]
            raise InputError(f"not the same benchmark as {runs[0].folder}: {'; '.join(parts)}", where=run.folder)
        if run.verdicts.empty:
            raise InputError("the run holds no verdicts yet", where=run.folder)
    return runs


def short_target(spec: str) -> str:
    """The last part of a target's path, and what is around it: `hf//models/tuned,dtype=float32` -> `tuned`,
    `hf/a/b+reminder,wording=brief!blur,radius=2` -> `b+reminder!blur`."""
    short = re.sub(r",[^+!]*", "", spec)
    return PurePosixPath(short).name or spec
