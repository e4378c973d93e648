"""`holisafe agreement`: how far the judges of a run agree, with each other and with people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from ..metrics.panel import Ballots
    from ..runs.run import Run

RANKED_BY = ("masr_pooled", "under_safety", "rr", "over_safety")
"""The rates by which judges are asked whether they order models alike."""


LONGEST = 28


def agreement(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several of one benchmark.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything, with the pairs in dispute.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")] = 0,
    draws: Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")] = 2000,
) -> None:
    """holisafe agreement runs/a

    Show how far judges agree: kappas, panels, and against people's labels each judge's errors and corrected rates.

    People's labels come in as a judge, human:FILE. A random part of the responses is enough: prediction-powered
    inference then gives the rates that people would find, with intervals that hold whatever the judge's errors are.
    Several runs also show whether the judges order the models alike.
    """
    from ..runs.run import side_by_side

    read = side_by_side(runs)
    found = {
        "benchmark": dict(read[0].benchmark),
        "runs": {run.title: _of_run(run.verdicts, draws, seed) for run in read},
        "rank_correlation": _rank_correlations(read, draws, seed),
    }
    if as_json:
        import json

        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from .screen import screen

    console = screen()
    for title, one in found["runs"].items():
        _print_run(console, title, one)
    _print_ranks(console, found["rank_correlation"], len(read))


def _of_run(verdicts: pd.DataFrame, draws: int, seed: int) -> dict[str, Any]:
    """Everything about one run's judges of safety pairs."""
    import pandas as pd

    from ..metrics.agreement import confusion, fleiss_kappa, judge_pairs, krippendorff_alpha
    from ..metrics.human_check import human_check, is_human
    from ..metrics.measured import of_verdicts
    from ..metrics.panel import RULES, ballots, panel, undecided

    frame = verdicts[~verdicts["answer_key"].astype(bool)]
    votes = ballots(frame)
    members = [judge for judge in votes.judges if not is_human(judge)]
    machines = ballots(frame, members)
    panels = [panel(machines, rule) for rule in RULES[len(members) < 3 :]] if len(members) > 1 else []
    scored = pd.concat([frame, *panels]) if panels else frame
    expected = votes.pairs["expected"]
    groups = {"all": expected.notna(), "refuse": expected == "refuse", "answer": expected == "answer"}
    several = machines if len(members) > 1 else votes
    human = any(is_human(judge) for judge in votes.judges)
    return {
        "judges": {
            str(judge): {name: cell.to_json() for name, cell in of_verdicts(rows).items()}
            for judge, rows in scored.groupby("judge", sort=False)
        },
        "undecided": {str(one["judge"].iloc[0]): undecided(one) for one in panels},
        "pairs": judge_pairs(votes, draws=draws, seed=seed),
        "fleiss_kappa": fleiss_kappa(several.adheres, several.clusters, draws=draws, seed=seed).to_json(),
        "krippendorff_alpha": krippendorff_alpha(several.adheres, several.clusters, draws=draws, seed=seed).to_json(),
        "confusion": [
            confusion(frame, first, second)
            for at, first in enumerate(votes.judges)
            for second in votes.judges[at + 1 :]
        ],
        "against_people": human_check(
            votes, {name: rows.to_numpy(bool) for name, rows in groups.items()}, draws=draws, seed=seed
        )
        if human
        else None,
        "prediction_powered": _powered(votes, members) if human else None,
    }


def _powered(votes: Ballots, members: list[str]) -> dict[str, Any]:
    """{MEASURE: {JUDGE: as `prediction_powered`}}, and by the mean vote of all judges when there are several."""
    import numpy as np

    from ..metrics.human_check import people
    from ..metrics.measures import measures
    from ..metrics.prediction_powered import prediction_powered

    failures = {judge: 1 - votes.by(judge) for judge in members}
    if len(members) > 1:
        stacked = np.stack(list(failures.values()))
        valid = (~np.isnan(stacked)).sum(axis=0)
        total = np.nansum(stacked, axis=0)
        failures["mean of judges"] = np.divide(total, valid, out=np.full(len(valid), np.nan), where=valid > 0)
    human = 1 - people(votes)
    return {
        measure: {
            judge: prediction_powered(
                human[pairs],
                failed[pairs],
                None if votes.clusters is None else votes.clusters[pairs],
            ).to_json()
            for judge, failed in failures.items()
        }
        for measure, pairs in measures(votes.pairs).items()
    }


def _rank_correlations(runs: Sequence[Run], draws: int, seed: int) -> dict[str, Any]:
    """{MEASURE: as `rank_correlation`} over the models of all runs, for the measures that every run has."""
    from ..metrics.agreement import FEWEST_MODELS, rank_correlation
    from ..metrics.measures import measures

    if len(runs) < FEWEST_MODELS:
        return {}
    masks = {run.title: measures(run.verdicts) for run in runs}
    shared = [name for name in RANKED_BY if all(name in found for found in masks.values())]
    return {
        name: rank_correlation(
            {run.title: run.verdicts[masks[run.title][name]] for run in runs}, draws=draws, seed=seed
        )
        for name in shared
    }


def _print_run(console: Console, title: str, found: dict[str, Any]) -> None:
    from rich.text import Text

    from ..metrics.measures import MEASURES
    from ..report.numbers import as_cell, cell_text
    from ..report.tables import Pieces

    console.print(Text(title, style="bold underline"))
    names = list(dict.fromkeys(name for cells in found["judges"].values() for name in cells if name in RANKED_BY))
    table = _grid("What each judge finds", "Judge", *(MEASURES[name].label for name in names))
    for judge, cells in found["judges"].items():
        label = f"{judge} of the judges" if judge in found["undecided"] else judge
        table.add_row(Text(_folded(label)), *(Pieces(cell_text(as_cell(cells.get(name)))) for name in names))
    console.print(table)

    if not found["pairs"]:
        console.print("One judge alone agrees with nobody: add another, or people's labels (human:FILE).\n")
        return
    table = _grid(
        "How far judges agree", "First and second judge", "Same", "Cohen's kappa", "Only first", "Only second"
    )
    for pair in found["pairs"]:
        kappa = Pieces(_value(pair["kappa"]))
        apart = (str(pair["only_first"]), str(pair["only_second"]))
        both = Text(f"{_folded(pair['first'])}\n{_folded(pair['second'])}")
        table.add_row(both, Pieces(cell_text(as_cell(pair["share"]))), kappa, *apart, end_section=True)
    console.print(table)
    disputed = len({name for pair in found["pairs"] for name in pair["disagree"]})
    console.print(
        f"Fleiss' kappa {_value(found['fleiss_kappa'])}, Krippendorff's alpha {_value(found['krippendorff_alpha'])}. "
        f"Only first, only second: responses that only this one lets pass. {disputed} pairs in dispute: --json names "
        "them.\n"
    )
    if found["against_people"]:
        _print_people(console, found)


def _print_people(console: Console, found: dict[str, Any]) -> None:
    from rich.text import Text

    from ..metrics.measures import MEASURES
    from ..metrics.prediction_powered import FEW_LABELS
    from ..report.numbers import as_cell, bracket, cell_text, percent
    from ..report.tables import Pieces

    table = _grid(
        "Judges against people: finding failures", "Judge, and pairs to", "Accuracy", "Precision", "Recall", "Bias"
    )
    for judge, groups in found["against_people"].items():
        table.add_row(Text(_folded(judge)))
        for name, one in groups.items():
            bias = one["bias"]
            points = percent(bias["value"], signed=True).removesuffix(" %")
            table.add_row(
                f"  {name}",
                *(Pieces(cell_text(as_cell(one[part]))) for part in ("accuracy", "precision", "recall")),
                Pieces(f"{points} {bracket(bias['low'], bias['high'], signed=True)}"),
            )
        table.add_section()
    console.print(table)

    title = "What people would find (prediction-powered)"
    table = _grid(title, "Measure, and judge", "The judge says", "People would", "Labels alone", "Labels")
    few = False
    for measure, judges in found["prediction_powered"].items():
        table.add_row(MEASURES[measure].label)
        for judge, one in judges.items():
            few, alone = few or one["few_labels"], one["labels_alone"]
            table.add_row(
                Text(_folded(judge, "  ")),
                percent(one["judge_rate"]),
                Pieces(f"{percent(one['rate'])} {bracket(one['low'], one['high'])}"),
                Pieces(f"{percent(alone['rate'])} {bracket(alone['low'], alone['high'])}"),
                f"{one['n']}{' (!)' if one['few_labels'] else ''}",
            )
        table.add_section()
    console.print(table)
    console.print("The labels must be a random part of the responses, or these intervals hold nothing.")
    if few:
        console.print(f"(!) fewer than {FEW_LABELS} labels, or as few clusters: too few for an interval to rely on.")
    console.print()


def _print_ranks(console: Console, found: dict[str, Any], models: int) -> None:
    from rich.text import Text

    from ..metrics.measures import MEASURES

    if not any(found.values()):
        return
    table = _grid(f"Do the judges order the {models} models alike?", "By, and judges", "Spearman", "Kendall")
    for measure, pairs in found.items():
        table.add_row(MEASURES[measure].label)
        for pair in pairs:
            values = (_value(pair["spearman"]), _value(pair["kendall"]))
            table.add_row(
                Text(f"{_folded(pair['first'], '  ')}\n{_folded(pair['second'], '  ')}"), *values, end_section=True
            )
    console.print(table)


def _grid(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at else "left", no_wrap=at == 0)
    return table


def _folded(name: str, indent: str = "") -> str:
    """A judge's name in lines of LONGEST characters, for a column that does not wrap."""
    parts = [name[at : at + LONGEST] for at in range(0, len(name), LONGEST)]
    return "\n".join(indent + part for part in parts)


def _value(one: dict[str, Any]) -> str:
    """`0.83 [0.78, 0.88]`."""
    if one["value"] is None:
        return "–"
    text = f"{one['value']:.2f}"
    return text if one["low"] is None else f"{text} [{one['low']:.2f}, {one['high']:.2f}]"
