"""What the rows of a scan come to: one pass over its parts, a few columns at a time.

A copy counts with what its first was found to be: every figure is of all pictures, but where it says "distinct". Shares
and their intervals are of distinct pictures, for a copy tells nothing new.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics.prevalence import ErrorRates, Share, corrected
from ..metrics.rates import rate_cell
from .folder import part_files
from .likeness import BITS, COLOURS, MOST, alike
from .rows import to_be_tried_again
from .sampling import GROUPS, apart, group_of

if TYPE_CHECKING:
    import pandas as pd

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
"""Where the guard's numbers for each category are counted."""

NEAREST = 50
"""Uncertain pictures that are named, the nearest to the guard's line first."""

LARGEST = 20
"""Groups of pictures that look alike that are named, the largest first."""

COLUMNS = ("id", "content", "copy_of", "unsafe", "score", "categories", "labels", "scores", "fault", "cost")
SAID = ("unsafe", "score", "categories", "labels", "fault", "cost")
ROWS = 10_000


@dataclass
class _Counts:
    """What is counted on the way."""

    faults: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    distinct: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    above: dict[str, list[int]] = field(default_factory=dict)
    groups: Counter[str] = field(default_factory=Counter)
    nearest: list[tuple[float, str, float, bool]] = field(default_factory=list)
    cost: float = 0.0
    rows: int = 0
    copies: int = 0


def summary_of(
    folder: Path, manifest: Mapping[str, Any], *, rates: ErrorRates | None = None, sample: int
) -> dict[str, Any]:
    """The numbers of a scan, ready for JSON.

    Returns:
        "source", "guard" as in the manifest; "n" pictures, "copies" among them, "unread" {fault: how many}, "again" how
        many of these the same command tries again; "verdicts" {unsafe, safe, none} and "groups" {unsafe, uncertain,
        safe} of all pictures; "distinct" {"flagged": CELL, "prevalence": as `Prevalence` with what it rests on, None
        without error rates}; "labels" {label: how often named}, "thresholds" {category: [pictures above each of "at"]};
        "uncertain" the nearest to the line; "alike": near-duplicates; "sample" {group: [{"id", "thumb"}]}; "cost".
    """
    line, copies = manifest["guard"]["line"], _copies(folder)
    counts = _Counts()
    for row in _rows(folder, COLUMNS):
        _count(counts, row, 1 + copies.get(row["id"], 0), line)
    counts.nearest.sort(key=lambda one: (one[0], one[1]))
    flagged = rate_cell(
        counts.distinct["unsafe"], counts.distinct["unsafe"] + counts.distinct["safe"], counts.distinct["none"]
    )
    again = sum(number for fault, number in counts.faults.items() if fault.startswith(AGAIN))
    return {
        "source": manifest["source"],
        "guard": manifest["guard"],
        "n": counts.rows,
        "copies": counts.copies,
        "unread": {fault.removeprefix(AGAIN): number for fault, number in counts.faults.most_common()},
        "again": again,
        "verdicts": {name: counts.verdicts[name] for name in ("unsafe", "safe", "none")},
        "groups": {name: counts.groups[name] for name in GROUPS},
        "distinct": {"flagged": flagged.to_json(), "prevalence": _prevalence(flagged.rate, flagged.n, rates)},
        "labels": dict(counts.named.most_common()),
        "at": list(THRESHOLDS),
        "thresholds": dict(sorted(counts.above.items(), key=lambda one: -one[1][2])),
        "uncertain": [
            {"id": name, "score": score, "unsafe": unsafe} for _, name, score, unsafe in counts.nearest[:NEAREST]
        ],
        "alike": _alike(folder),
        "sample": _sample(folder, line, sample),
        "cost": counts.cost or None,
    }


AGAIN = "\0"
"""Marks faults, while they are counted, that may pass."""


def _copies(folder: Path) -> Counter[str]:
    """How many copies each picture has that has any."""
    return Counter(row["copy_of"] for row in _rows(folder, ("copy_of",)) if row["copy_of"] is not None)


def _count(counts: _Counts, row: Mapping[str, Any], times: int, line: float | None) -> None:
    counts.rows += 1
    if row["copy_of"] is not None:
        counts.copies += 1
        return
    counts.cost += row["cost"] or 0.0
    said = "none" if row["unsafe"] is None else "unsafe" if row["unsafe"] else "safe"
    counts.verdicts[said] += times
    counts.distinct[said] += 1
    if row["fault"] is not None:
        counts.faults[f"{AGAIN if to_be_tried_again(row) else ''}{row['fault']}"] += times
    distance = apart(row["score"], dict(row["scores"] or ()), line)
    if (group := group_of(row["unsafe"], distance)) is None:
        return
    counts.groups[group] += times
    counts.named.update(dict.fromkeys(row["labels"] or row["categories"] or (), times))
    for category, value in row["scores"] or ():
        above = counts.above.setdefault(category, [0] * len(THRESHOLDS))
        for at, threshold in enumerate(THRESHOLDS):
            above[at] += times * (value > threshold)
    if group == "uncertain" and distance is not None:
        counts.nearest.append((distance, row["id"], row["score"], row["unsafe"]))
        if len(counts.nearest) > 20 * NEAREST:
            counts.nearest = sorted(counts.nearest)[:NEAREST]


def _prevalence(rate: float | None, n: int, rates: ErrorRates | None) -> dict[str, Any] | None:
    if rates is None or rate is None:
        return None
    found = corrected(Share(rate, n), rates)
    return {**vars(found), "n": n, **rates.to_json()}


def _alike(folder: Path) -> dict[str, Any] | None:
    """Groups of distinct pictures that look alike; None where there are too many to group."""
    ids: list[str] = []
    verdicts: list[bool | None] = []
    looks: list[bytes] = []
    for row in _rows(folder, ("id", "looks", "unsafe", "copy_of")):
        if row["copy_of"] is None and len(row["looks"] or b"") == BITS + COLOURS:
            if len(ids) >= MOST:
                return None
            ids.append(row["id"])
            verdicts.append(row["unsafe"])
            looks.append(row["looks"])
    group = alike(np.frombuffer(b"".join(looks), dtype=np.uint8).reshape(len(looks), BITS + COLOURS))
    sizes = np.bincount(group) if len(group) else np.zeros(0, dtype=np.int64)
    several = np.flatnonzero(sizes > 1)
    members: dict[int, list[int]] = {int(number): [] for number in several}
    for place, number in enumerate(group.tolist()):
        if number in members:
            members[number].append(place)
    torn = {number for number, of in members.items() if len({verdicts[at] for at in of} - {None}) > 1}
    largest = sorted(members, key=lambda number: (-len(members[number]), number))[:LARGEST]
    return {
        "n": len(ids),
        "groups": len(several),
        "pictures": int(sizes[several].sum()) if len(several) else 0,
        "torn": len(torn),
        "largest": [
            {"n": len(members[number]), "torn": number in torn, "ids": [ids[at] for at in members[number][:3]]}
            for number in largest
        ],
    }


def _sample(folder: Path, line: float | None, size: int) -> dict[str, list[dict[str, Any]]]:
    """Per group the pictures of the smallest lots."""
    found: dict[str, list[tuple[str, str, bytes]]] = {name: [] for name in GROUPS}
    for row in _rows(folder, ("id", "content", "unsafe", "score", "scores", "thumb")):
        if row["thumb"] is None:
            continue
        group = group_of(row["unsafe"], apart(row["score"], dict(row["scores"] or ()), line))
        if group is not None:
            found[group].append((row["content"], row["id"], row["thumb"]))
            if len(found[group]) > 20 * size + 100:
                found[group] = sorted(found[group])[:size]
    return {
        group: [{"id": name, "thumb": base64.b64encode(thumb).decode()} for _, name, thumb in sorted(some)[:size]]
        for group, some in found.items()
    }


def frame_of(folder: Path) -> pd.DataFrame:
    """A row a picture, without what pictures look like; `p_CATEGORY` for each number of the guard's."""
    import pandas as pd

    kept = ("id", "name", "content", "copy_of", "width", "height", *SAID, "scores")
    frame = pd.DataFrame(_rows(folder, kept), columns=list(kept))
    numbers = pd.DataFrame([dict(some or ()) for some in frame.pop("scores")]).add_prefix("p_")
    frame = pd.concat([frame, numbers], axis=1)
    told = [*SAID, *numbers]
    first = frame.set_index("id")[told].reindex(frame["copy_of"].fillna(frame["id"]))
    frame[told] = first.to_numpy()
    return frame


def _rows(folder: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    for path in part_files(folder):
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, columns=list(columns)):
                yield from batch.to_pylist()
