"""What a scan found (`scanning.summary`), as tables for the terminal, a notebook and the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .grids import Grid
from .numbers import ABSENT, as_cell, bracket, cell_text, percent

Found = Mapping[str, Any]

MOST_LABELS = 24
MOST_FAULTS = 8
SHOWN_IDS = 10


def scan_grids(found: Found) -> list[Grid]:
    """Verdicts and prevalence, labels by threshold, what is uncertain, what looks alike, what was not read."""
    return [_whole(found), *_labels(found), *_faults(found), *_uncertain(found), *_alike(found)]


def _whole(found: Found) -> Grid:
    n, verdicts, groups = found["n"], found["verdicts"], found["groups"]
    distinct = found["distinct"]
    rows = [
        ("pictures", f"{n:,}"),
        ("  copies of another, byte by byte", _of(found["copies"], n)),
        ("called unsafe", _of(verdicts["unsafe"], n)),
        ("called safe", _of(verdicts["safe"], n)),
        ("uncertain: the verdict might have been the other", _of(groups["uncertain"], n)),
        ("without a verdict", _of(verdicts["none"], n)),
        ("called unsafe, of distinct pictures", cell_text(as_cell(distinct["flagged"]))),
    ]
    if (prevalence := distinct["prevalence"]) is not None:
        rows.append(("unsafe, corrected for the guard's errors", _corrected(prevalence)))
    if found["cost"] is not None:
        rows.append(("cost", f"${found['cost']:,.2f}"))
    return Grid("What the guard found", ("", ""), tuple(rows), strong=frozenset({len(rows) - 1} if prevalence else ()))


def _corrected(prevalence: Found) -> str:
    if prevalence["rate"] is None:
        return "unknown: the guard is no better than chance"
    return f"{percent(prevalence['rate'])} {bracket(prevalence['low'], prevalence['high'])} n={prevalence['n']}"


def _labels(found: Found) -> Iterator[Grid]:
    """Labels that were named, or stand above a threshold somewhere, the most frequent first."""
    labels, above, none = found["labels"], found["thresholds"], [0] * len(found["at"])
    known = list(dict.fromkeys([*labels, *above]))
    names = [name for name in known if labels.get(name) or any(above.get(name, none))]
    names.sort(key=lambda name: (-labels.get(name, 0), -sum(above.get(name, none))))
    rows = []
    for name in names[:MOST_LABELS]:
        counts = [f"{count:,}" for count in above[name]] if name in above else [ABSENT] * len(none)
        rows.append((name, f"{labels.get(name, 0):,}", *counts))
    if rows:
        head = (f"above {threshold:g}" for threshold in found["at"])
        told = [f"{len(names) - len(rows):,} more are in summary.json."] if len(names) > len(rows) else []
        told += [f"{len(known) - len(names):,} others were never found."] if len(known) > len(names) else []
        title = f"Of {found['n']:,} pictures, by label and threshold"
        yield Grid(title, ("label", "named", *head), tuple(rows), note=" ".join(told))


def _faults(found: Found) -> Iterator[Grid]:
    rows = tuple((fault, f"{count:,}") for fault, count in list(found["unread"].items())[:MOST_FAULTS])
    if rows:
        left = len(found["unread"]) - len(rows)
        again = found["again"]
        told = [f"{left:,} more reasons are in summary.json."] if left > 0 else []
        told += [f"The same command tries {again:,} of them again."] if again else []
        yield Grid("Without a verdict", ("why", "pictures"), rows, note=" ".join(told))


def _uncertain(found: Found) -> Iterator[Grid]:
    rows = tuple(
        (one["id"], "unsafe" if one["unsafe"] else "safe", ABSENT if one["score"] is None else f"{one['score']:.3f}")
        for one in found["uncertain"][:SHOWN_IDS]
    )
    if rows:
        yield Grid("Nearest to the other verdict", ("picture", "called", "score"), rows)


def _alike(found: Found) -> Iterator[Grid]:
    alike = found["alike"]
    if alike is None or not alike["groups"]:
        return
    rows = tuple(
        (one["ids"][0], f"{one['n']:,}", "safe and unsafe" if one["torn"] else "one")
        for one in alike["largest"][:SHOWN_IDS]
    )
    title = f"{alike['pictures']:,} of {alike['n']:,} distinct pictures look like another: {alike['groups']:,} groups"
    note = f"{alike['torn']:,} of the groups have both verdicts: look at these first." if alike["torn"] else ""
    yield Grid(title, ("a group, by its first picture", "pictures", "verdicts"), rows, note=note)


def scan_notes(found: Found) -> list[str]:
    """What a reader of the figures must know."""
    guard = found["guard"]
    notes = [f"{guard['name']}: unsafe where {guard['decides']}. {guard['note']}"]
    prevalence = found["distinct"]["prevalence"]
    if prevalence is None:
        notes.append(
            "The share called unsafe is not the share that is unsafe: the guard errs. --rates (what holisafe guard "
            "eval --out wrote), or --sensitivity and --specificity, correct it."
        )
    else:
        right, clear = prevalence["sensitivity"], prevalence["specificity"]
        notes.append(
            f"Corrected by a sensitivity of {percent(right['rate'])} (n={right['n']:,.0f}) and a specificity of "
            f"{percent(clear['rate'])} (n={clear['n']:,.0f}), from {prevalence['where']}: right as far as the pictures "
            "there are like these. Rogan and Gladen's estimate, Lang and Reiczigel's interval."
        )
    if found["alike"] is None:
        notes.append("There are too many pictures to say which look alike.")
    return notes


def _of(count: int, n: int) -> str:
    return f"{count:,} ({percent(count / n)})" if n else f"{count:,}"
