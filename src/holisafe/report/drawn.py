"""Which figures a group of runs gets, with their captions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from ..metrics import measured
from ..metrics.measured import spoken
from ..metrics.rates import rate_cell
from ..runs.run import attacked_from
from ..runs.scores import Cell, Guard, ReliabilityBin
from .figures.confusion import confusion, mistakes
from .figures.radar import radar
from .figures.rates import Row, rate_plot
from .figures.reliability import Bin, reliability
from .figures.svg import Series
from .figures.tradeoff import tradeoff
from .groups import Group
from .robustness import robustness, robustness_figure, robustness_view
from .sections import aligned, judges_of, safety_rows

View = dict[str, Any]

DRAWN_CHANGES = "Changes in points with paired 95 % intervals; to the right is more than without the attack."


def figures(group: Group, name: str) -> list[View]:
    """Every figure that the group's numbers allow: {title, svg, caption}. `name` makes their ids unique."""
    series = [Series(run.title, tone % 5) for run, tone in zip(group.runs, group.tones, strict=True)]
    drawn = []
    for judge in judges_of(group)[:1]:
        drawn += _combinations(group, judge, series, name)
        drawn += _tradeoffs(group, judge, series, name)
        drawn += _categories(group, judge, series, name)
    return drawn + _guards(group, series, name)


def attacked(group: Group, name: str) -> list[View]:
    """What each attack costs, as `holisafe compare` tells it: a table and a figure for every model and judge."""
    if not any(attacked_from(one, other) for one in group.runs for other in group.runs):
        return []
    found = robustness(group.runs, group.comparisons)
    views = []
    for number, one in enumerate(found):
        drawn = _view("In points", robustness_figure(one, f"{name}-attacks-{number}"), DRAWN_CHANGES)
        views.append({"title": one.title, "table": robustness_view(one), "figures": [drawn]})
    return views


def _combinations(group: Group, judge: str, series: Sequence[Series], name: str) -> list[View]:
    rows = [
        Row(measure.label, measure.note, cells)
        for measure, cells in safety_rows(group, judge)
        if measure.key != "masr_macro" and measure.better == "lower"
    ]
    if not rows:
        return []
    title = "Wrong answers"
    caption = f"Help where a refusal was due, and no help where it was, by {judge}, with 95 % intervals."
    if any(cell and cell.n_invalid for row in rows for cell in row.cells):
        caption += " Pale bands: what the invalid verdicts could make of a rate."
    return [_view(title, rate_plot(rows, series, title=title, name=f"{name}-rates"), caption)]


def _tradeoffs(group: Group, judge: str, series: Sequence[Series], name: str) -> list[View]:
    """mASR against RR and against utility: safety bought with refusals or skill lies far from the ideal corner.

    Without combinations they are under-safety and over-safety.
    """
    by_key: dict[str, list[Cell | None]] = {measure.key: cells for measure, cells in safety_rows(group, judge)}
    useful = {measure.key: (measure, cells) for measure, cells in aligned(group, measured.utility)}
    upward = by_key.get("masr_pooled") or by_key.get("under_safety")
    if upward is None:
        return []
    upward_name = "mASR, pooled, %" if "masr_pooled" in by_key else "under-safety, %"
    drawn = []
    if refused := by_key.get("rr") or by_key.get("over_safety"):
        title = "Safety against refusals"
        across = "RR, %" if "rr" in by_key else "over-safety, %"
        svg = tradeoff(
            refused,
            upward,
            series,
            across_name=across,
            ideal=0.0,
            title=title,
            name=f"{name}-refusals",
            upward_name=upward_name,
        )
        caption = f"Attack success upwards, safe pairs refused sideways, by {judge}; crosses are 95 % intervals."
        drawn.append(_view(title, svg, caption))
    if "utility" in useful:
        measure, cells = useful["utility"]
        title = "Safety against usefulness"
        svg = tradeoff(
            cells,
            upward,
            series,
            across_name="utility, %",
            ideal=1.0,
            title=title,
            name=f"{name}-utility",
            upward_name=upward_name,
        )
        caption = f"Attack success upwards by {judge}, plain questions answered rightly sideways by {measure.judge}."
        drawn.append(_view(title, svg, caption))
    return drawn


def _categories(group: Group, judge: str, series: Sequence[Series], name: str) -> list[View]:
    found = [measured.breakdown(run.scores, judge, "categories") for run in group.runs]
    rates = [{measure.key.split(".")[1]: cell for measure, cell in rows.items()} for rows in found]
    names = list(dict.fromkeys(label for found in rates for label in found))
    if len(names) < 3:
        return []
    title = "Attack success by category"
    caption = f"Unsafe pairs only, by {judge}, percent from the centre; counts and intervals are in the table."
    return [_view(title, radar(names, rates, series, title=title, name=f"{name}-radar"), caption)]


def _guards(group: Group, series: Sequence[Series], name: str) -> list[View]:
    """Confusion matrix and reliability of every run that has a guard."""
    drawn = []
    for index, (run, one) in enumerate(zip(group.runs, series, strict=True)):
        found = run.scores.guard or Guard()
        whose = f", {run.title}" if len(group.runs) > 1 else ""
        if found.confusion:
            drawn.append(_confusion(found, f"What the guard sees{whose}", f"{name}-confusion-{index}"))
        if found.reliability:
            title = f"How far to trust the guard{whose}"
            bins = [_bin(part) for part in found.reliability]
            svg = reliability(bins, tone=one.tone, title=title, name=f"{name}-reliability-{index}")
            caption = (
                f"How often the label named was right, by its probability, n={sum(part.n for part in bins):,}, with "
                "95 % intervals. Bars count readings. Below the diagonal the guard is too sure of itself."
            )
            drawn.append(_view(title, svg, caption))
    return drawn


def _confusion(found: Guard, title: str, name: str) -> View:
    labels, counts = found.labels, found.confusion
    worst = ", ".join(
        f"{spoken(true)} taken for {spoken(called)} ({count:,})" for true, called, count in mistakes(labels, counts)[:3]
    )
    caption = f"n={found.n:,}. A cell is as strong as its share of the row; columns are numbered as the rows are."
    if worst:
        caption += f" Most frequent mistakes: {worst}."
    return _view(title, confusion(labels, counts, title=title, name=name), caption)


def _bin(part: ReliabilityBin) -> Bin:
    ends = rate_cell(round((part.accuracy or 0.0) * part.n), part.n)
    return Bin(part.start, part.stop, part.confidence, part.accuracy, part.n, ends.low, ends.high)


def _view(title: str, svg: str, caption: str) -> View:
    return {"title": title, "svg": Markup(svg), "caption": caption}  # noqa: S704 - figures escape their text
