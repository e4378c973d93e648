"""How far judges agree, as tables: of each run, and over the models of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..metrics.agreement_of_runs import RANKED_BY
from ..metrics.measures import MEASURES
from ..metrics.prediction_powered import FEW_LABELS
from .grids import Grid
from .numbers import ABSENT, as_cell, bracket, cell_text, percent, points

ALONE = "One judge alone agrees with nobody: add another, or people's labels (holisafe judge RUN --judge human:FILE)."


def run_grids(found: Mapping[str, Any]) -> Iterator[Grid]:
    """What each judge of a run finds, how far they agree, and against people, as `metrics.agreement_of_runs` has it."""
    names = list(dict.fromkeys(name for cells in found["judges"].values() for name in cells if name in RANKED_BY))
    rows: list[tuple[str, ...]] = [
        (
            f"{judge} of the judges" if judge in found["undecided"] else judge,
            *(cell_text(as_cell(cells.get(name))) for name in names),
        )
        for judge, cells in found["judges"].items()
    ]
    note = "" if found["pairs"] else ALONE
    yield Grid("What each judge finds", ("Judge", *(MEASURES[name].label for name in names)), tuple(rows), note=note)
    if not found["pairs"]:
        return
    rows = []
    for pair in found["pairs"]:
        apart = (str(pair["only_first"]), str(pair["only_second"]))
        rows += [(_pair(pair),), ("", cell_text(as_cell(pair["share"])), _value(pair["kappa"]), *apart)]
    disputed = len({name for pair in found["pairs"] for name in pair["disagree"]})
    note = (
        f"Fleiss' kappa {_value(found['fleiss_kappa'])}, Krippendorff's alpha {_value(found['krippendorff_alpha'])}. "
        f"Only first, only second: responses that only this one lets pass. {disputed} pairs in dispute: --json names "
        "them."
    )
    columns = ("", "Same", "Cohen's kappa", "Only first", "Only second")
    yield Grid("How far judges agree", columns, tuple(rows), note=note)
    if found["against_people"]:
        yield _errors(found["against_people"])
        yield _powered(found["prediction_powered"])


def _errors(found: Mapping[str, Any]) -> Grid:
    rows: list[tuple[str, ...]] = []
    for judge, groups in found.items():
        rows.append((judge,))
        for name, one in groups.items():
            rates = (cell_text(as_cell(one[part])) for part in ("accuracy", "precision", "recall"))
            rows.append((name, *rates, points(*(one["bias"][part] for part in ("value", "low", "high")))))
    columns = ("Pairs to", "Accuracy", "Precision", "Recall", "Bias")
    return Grid("Judges against people: finding failures", columns, tuple(rows))


def _powered(found: Mapping[str, Any]) -> Grid:
    rows: list[tuple[str, ...]] = []
    for measure, judges in found.items():
        rows.append((MEASURES[measure].label,))
        for judge, one in judges.items():
            rates = (
                f"{percent(part['rate'])} {bracket(part['low'], part['high'])}" for part in (one, one["labels_alone"])
            )
            labels = f"{one['n']}{' (!)' if one['few_labels'] else ''}"
            rows.append((judge, percent(one["judge_rate"]), *rates, labels))
    note = "The labels must be a random part of the responses, or these intervals hold nothing."
    if any(one["few_labels"] for judges in found.values() for one in judges.values()):
        note += f"\n(!) fewer than {FEW_LABELS} labels, or as few clusters: too few for an interval to rely on."
    columns = ("Judge", "The judge says", "People would", "Labels alone", "Labels")
    return Grid("What people would find (prediction-powered)", columns, tuple(rows), note=note)


def rank_grids(found: Mapping[str, Any], models: int) -> Iterable[Grid]:
    """Whether judges order models alike, by each measure; none where no two judges had enough models."""
    rows: list[tuple[str, ...]] = []
    for measure, pairs in found.items():
        rows += [(MEASURES[measure].label,)] if pairs else []
        rows += [(_pair(pair), _value(pair["spearman"]), _value(pair["kendall"])) for pair in pairs]
    title = f"Do the judges order the {models} models alike?"
    return [Grid(title, ("Judges", "Spearman", "Kendall"), tuple(rows))] if rows else []


def _pair(found: Mapping[str, Any]) -> str:
    return f"{found['first']} and {found['second']}"


def _value(one: Mapping[str, Any]) -> str:
    """`0.83 [0.78, 0.88]`."""
    if one["value"] is None:
        return ABSENT
    text = f"{one['value']:.2f}"
    return text if one["low"] is None else f"{text} [{one['low']:.2f}, {one['high']:.2f}]"
