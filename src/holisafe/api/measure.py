"""Measure a model, read what was measured, compare it: names or objects for every argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..evaluation.progress import Progress
from ..judges.base import Judge
from ..records import GenerationSettings
from ..runs import run as stored
from ..runs.scores import Safety, Scores, typed
from ..targets.base import Target
from .bars import watched
from .results import Comparison, Run, Runs, Scored

if TYPE_CHECKING:
    import pandas as pd

Folder = str | Path
Settings = GenerationSettings | Mapping[str, Any]


def open_benchmark(name: str | Benchmark, root: Folder | None = None, split: str | None = None) -> Benchmark:
    """Open a benchmark: samples in a fixed order, and their images, which are opened when they are needed.

    Args:
        name: a name from `holisafe data list`, alone or as NAME:ROOT. `table:FILE` is a table of your own.
        root: the folder of its release, or `hub:OWNER/NAME`; embedded benchmarks need none.
        split: one of its splits; None: all of them.

    Returns:
        The benchmark; `samples` are records with id, query, images, combination, expected and so on.

    Raises InputError for an unknown name or split, and for a missing or faulty file.

    Example:
        benchmark = holisafe.open_benchmark("pictosafe", split="test")
        print(len(benchmark.samples), benchmark.samples[0].combination)
    """
    from ..benchmarks import open_benchmark as opened

    expect("benchmark", name, str | Benchmark)
    return name.only(split) if isinstance(name, Benchmark) else opened(name, root, split)


def evaluate(
    benchmark: str | Benchmark,
    target: str | Target,
    judges: str | Judge | Sequence[str | Judge],
    out: Folder,
    *,
    split: str | None = None,
    calibrate: str | Sequence[str] = (),
    attack: str | Sequence[str] = (),
    limit: int | None = None,
    seed: int = 0,
    settings: Settings | None = None,
    repeats: int = 1,
    max_cost: float | None = None,
    progress: Progress | None = None,
) -> Run:
    """Ask a model every sample of a benchmark, judge its answers, and keep all of it in a run folder.

    Every answer and verdict is stored as it comes. Interrupted or killed at any moment, the same call goes on where it
    was: nothing is asked twice. `holisafe run` with the same settings goes on with the same folder too.

    Args:
        benchmark: its name (NAME or NAME:ROOT), whose `test` split is taken where there is one, or one that is open.
        target: `hf/FOLDER`, `hf/HUB-ID`, `openai/MODEL`, `replay/FILE`, options after commas; or a target.
        judges: `string-match`, `llm/RUBRIC/TARGET`, `human:FILE` ... or judges; one or several.
        out: the run folder to make, or to carry on.
        split: another split.
        calibrate: calibration methods around the target, the first one innermost.
        attack: attacks on what is asked, `NAME[,OPTION=VALUE ...]`, one or several, in this order: docs/attacks.md.
        limit: ask a stratified part of so many samples; it may grow later, as judges and `repeats` may.
        seed: draws that part, and samples where decoding does.
        settings: how to decode, as a `GenerationSettings` or its fields; greedy and 512 tokens unless given.
        repeats: ask everything so many times.
        max_cost: begin no call once the run has cost so many US dollars.
        progress: called with (stage, done, total); None: bars in a notebook, nothing elsewhere.

    Returns:
        The run. It shows its tables and figures; `run.scores` has the numbers, `run.frame()` a row a verdict.

    Raises InputError, with nothing asked, for whatever a user can mend, among it a target that was opened with other
    settings, and an `out` that measured something else; KeyboardInterrupt when stopped by Ctrl-C or the cost, once
    what was in flight is stored.

    Example:
        how = {"max_new_tokens": 48}
        run = holisafe.evaluate("pictosafe", "hf/pictovlm", "string-match", "runs/before", limit=40, settings=how)
        print(run)
    """
    from ..benchmarks import open_tested
    from ..calibration import attacked
    from ..evaluation import evaluate as evaluated
    from ..judges import open_judge

    how = _settings(settings, seed)
    given = [judges] if isinstance(judges, str) or not isinstance(judges, Sequence) else list(judges)
    once = [one for at, one in enumerate(given) if one not in given[:at]]
    for one in once:
        expect("judge", one, str | Judge)
    expect("out", out, Folder)
    expect("max_cost", max_cost, float | int | None)
    panel = [open_judge(one) if isinstance(one, str) else one for one in once]
    model = attacked(calibrated(target, calibrate, settings=how), [attack] if isinstance(attack, str) else attack)
    asked = (
        open_tested(benchmark, split=split) if isinstance(benchmark, str) else open_benchmark(benchmark, None, split)
    )
    with watched(progress) as told:
        evaluated(
            asked, model, panel, Path(out), limit=limit, seed=seed, repeats=repeats, max_cost=max_cost, progress=told,
            settings=how if settings is not None or isinstance(target, str) else None,
        )  # fmt: skip
    return read_run(out)


def calibrated(
    target: str | Target, methods: str | Sequence[str], *, settings: Settings | None = None, seed: int = 0
) -> Target:
    """Put calibration methods around a target: a target again.

    Args:
        target: a name, as for `evaluate`, or a target.
        methods: `METHOD[,OPTION=VALUE ...]`, one or several, the first one innermost; docs/calibration_methods.md.
        settings: how a target that is given by name decodes.
        seed: where decoding draws, if `settings` does not say.

    Raises InputError for an unknown method or option, or one that does not fit the target.

    Example:
        reminded = holisafe.calibrated("hf/pictovlm", "reminder,wording=balanced", settings={"max_new_tokens": 48})
        after = holisafe.evaluate("pictosafe", reminded, "string-match", "runs/after", limit=40)
    """
    from ..calibration import calibrated as around
    from ..targets import open_target

    expect("target", target, str | Target)
    named = [methods] if isinstance(methods, str) or not isinstance(methods, Sequence) else methods
    for method in named:
        expect("calibration", method, str)
    opened = open_target(target, _settings(settings, seed)) if isinstance(target, str) else target
    return around(opened, named)


def read_run(run: Folder | stored.Run, title: str | None = None) -> Run:
    """Read a run folder. Nothing but its manifest is read before it is asked for.

    Args:
        run: the folder; `title` is what the run is called beside others, its model unless given.

    Returns:
        The run: `scores`; `frame()`, `rates()`, `answers` and `verdicts` as pandas tables; `samples`, `responses` and
        `judged` as records; `pairs()`, what was asked and said, each folded until it is opened.

    Raises InputError when the folder holds no run.

    Example:
        run = holisafe.read_run("runs/before")
        slowest = run.answers.nlargest(3, "latency_seconds")[["sample_id", "latency_seconds"]]
        rates = run.rates()[["judge", "label", "rate", "low", "high", "n"]]
    """
    expect("run", run, Folder | stored.Run)
    found = run if isinstance(run, stored.Run) else stored.read_run(Path(run), title)
    return Run(found.folder, found.manifest, title or found.title)


def read_runs(*runs: Folder | stored.Run | Sequence[Folder | stored.Run], titles: Sequence[str] | None = None) -> Runs:
    """Read several run folders, to show them side by side.

    Args:
        runs: folders or runs; or a pattern, such as "runs/*", of which those that hold a run are taken, oldest first.
        titles: what to call them, one a run.

    Raises InputError when there is none, or one holds no run.

    Example:
        both = holisafe.read_runs("runs/before", "runs/after")
        print(both)
        table = both.rates().pivot(index="label", columns="run", values="rate")
    """
    listed: list[Folder | stored.Run] = []
    for given in runs:
        expect("run", given, Folder | stored.Run | Sequence)
        found = [given] if isinstance(given, stored.Run) else _matching(given) if isinstance(given, Folder) else given
        if not found:
            raise InputError("no run folder" + (f" is {given}" if isinstance(given, Folder) else " is given"))
        listed += found
    if titles is not None and len(titles) != len(listed):
        raise InputError(f"{len(titles)} titles for {len(listed)} run folders")
    return Runs(
        [read_run(run, titles[at] if titles else None) for at, run in enumerate(listed)], titled=titles is not None
    )


def compare(
    *runs: Folder | stored.Run | Sequence[Folder | stored.Run] | Mapping[str, pd.DataFrame], judge: str | None = None
) -> Comparison:
    """Are models different, on the same samples? Every two of them, by every judge and measure.

    Args:
        runs: two or more run folders or runs of one benchmark; or {MODEL: table of verdicts} with columns sample_id,
            combination and adheres (True, False, or missing when invalid), and where known judge, expected, cluster
            and repeat.
        judge: one judge, or the panel `majority` or `unanimous`; None: every judge that all runs share.

    Returns:
        The comparison: `rows` and `frame()` hold differences with 95 % intervals as fractions, p values (McNemar's, or
        a clustered one; corrected by Holm) and the smallest difference that would have shown.

    Raises InputError when the runs differ in benchmark or judges, or share no sample with valid verdicts.

    Example:
        found = holisafe.compare("runs/before", "runs/after")
        print(found.frame()[["measure", "difference", "low", "high", "p_holm"]])
    """
    from ..metrics.comparison import compare as compared
    from ..metrics.shared import judged_by, shared_judges

    if len(runs) == 1 and isinstance(runs[0], Mapping):
        tables = {model: _for_comparison(table, judge) for model, table in runs[0].items()}
        read: tuple[stored.Run, ...] = ()
        notes: Sequence[str] = ()
    else:
        for given in runs:
            expect("run", given, Folder | stored.Run | Sequence)
        several = [one for given in runs for one in ([given] if isinstance(given, Folder | stored.Run) else given)]
        folders = [one.folder if isinstance(one, stored.Run) else Path(str(one)) for one in several]
        if len(folders) < 2:
            raise InputError("a comparison needs at least two run folders")
        read = stored.side_by_side(folders)
        judges, notes = shared_judges(read, judge)
        tables = judged_by(read, judges)
    rows = compared(tables)
    if not any(row["n"] for row in rows):
        raise InputError("the runs have no sample in common that both have a valid verdict on")
    return Comparison(rows, notes, read)


def score(table: Folder | pd.DataFrame | stored.Run) -> Scored:
    """The published scores of a table of verdicts: ASR by combination, mASR and RR, with intervals.

    Args:
        table: one verdict a row: sample_id, combination (SSS, SSU, SUU, USU, UUU) and adheres (True, False, or missing
            when invalid), and where known judge, cluster, category, subcategory, expected. A DataFrame, a file of any
            kind that `holisafe score` reads, or a run or its folder, whose current verdicts are counted anew.

    Returns:
        The scores by judge, "default" where the table names none: `judges["default"].masr_pooled.rate`.

    Raises InputError naming row and field of what cannot be used.

    Example:
        columns = ["sample_id", "combination", "adheres"]
        rows = [("a", "USU", True), ("b", "USU", False), ("c", "SSU", None), ("d", "SSS", True)]
        table = pandas.DataFrame(rows, columns=columns)
        masr = holisafe.score(table).judges["default"].masr_pooled
        print(masr.rate, masr.n, masr.n_invalid)
    """
    import pandas

    from ..metrics.score import score as scores_of

    expect("table", table, Folder | pandas.DataFrame | stored.Run)
    if isinstance(table, Folder) and Path(table).is_dir():
        table = read_run(table)
    if isinstance(table, stored.Run):
        frame = table.verdicts[~table.verdicts["answer_key"].astype(bool)].astype({"judge": object})
    else:
        frame = _verdicts(table)
    judges = {name: typed(Safety, found) for name, found in scores_of(frame).items()}
    return Scored.of(Scores(judges=judges))


def expect(what: str, given: object, kinds: Any) -> None:
    """Raise InputError for an argument that is of no kind that it may be."""
    if not isinstance(given, kinds):
        names = " or ".join(kind.__name__.removesuffix("Type") for kind in getattr(kinds, "__args__", (kinds,)))
        raise InputError(f"{what} must be {names}, not {given!r:.60}")


def _settings(given: Settings | None, seed: int) -> GenerationSettings:
    """What was given, or its fields over the defaults. Raises InputError for a field that there is not."""
    if isinstance(given, GenerationSettings):
        return given
    try:
        return replace(GenerationSettings(seed=seed), **(given or {}))
    except TypeError:
        known = ", ".join(GenerationSettings.__dataclass_fields__)
        unknown = ", ".join(sorted({*(given or {})} - {*GenerationSettings.__dataclass_fields__}))
        raise InputError(f"no setting is called {unknown}; there are: {known}") from None


def _matching(pattern: Folder) -> list[Path]:
    """Folders that hold a run, in the order in which these were begun."""
    from glob import glob

    named = [Path(name) for name in sorted(glob(str(Path(pattern).expanduser())))]  # noqa: PTH207 - may be absolute
    begun = {folder: str(stored.read_run(folder).manifest.get("created")) for folder in named if _is_run(folder)}
    return sorted(begun, key=lambda folder: begun[folder])


def _is_run(folder: Path) -> bool:
    return (folder / "manifest.json").is_file()


def _verdicts(table: Folder | pd.DataFrame) -> pd.DataFrame:
    """A table of verdicts with every cell checked, as `holisafe score` reads it."""
    from ..interchange.run_table import verdict_columns
    from ..metrics.verdict_table import verdict_frame
    from ..tables import text_columns

    if isinstance(table, Folder):
        return verdict_frame(verdict_columns(text_columns(Path(table))), table)
    cells = table.astype(object).where(table.notna(), "")
    return verdict_frame({str(name): [str(cell) for cell in cells[name]] for name in cells}, "the table")


def _for_comparison(table: pd.DataFrame, judge: str | None) -> pd.DataFrame:
    """A table of verdicts with what a comparison needs besides: a judge, and what should have been done."""
    from ..metrics.score import DEFAULT_JUDGE
    from ..taxonomy import COMBINATIONS

    found = _verdicts(table)
    if "judge" not in found:
        found["judge"] = DEFAULT_JUDGE
    due = found["combination"].map(COMBINATIONS)
    found["expected"] = found["expected"].fillna(due) if "expected" in found else due
    return found if judge is None else found[found["judge"] == judge]
