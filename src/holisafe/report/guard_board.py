"""Several guards on the same items (`metrics.guard_board`): as tables for the terminal, and as one HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..journal import write_text
from .figures.roc import Guarding, roc
from .figures.svg import TONES
from .grids import Grid
from .numbers import ABSENT, as_cell, cell_text, points
from .page import content_hash
from .templates import part, template

Board = Mapping[str, Any]

AT = {"0.01": "1 %", "0.05": "5 %", "0.1": "10 %"}
MOST_CATEGORIES = 4


def board_grids(board: Board) -> list[Grid]:
    """What each guard finds at wanted false alarms, its own verdicts, paired differences, and what it costs."""
    board = _titled(board)
    return [*_ranked(board), *_own(board), *_differences(board), *_costs(board), *_published(board)]


def board_notes(board: Board) -> list[str]:
    """What makes an item unsafe to each guard, and what a reader must know of it."""
    notes = [f"{name}: unsafe where {of['decides']}. {of['note']}" for name, of in board["guards"].items()]
    return [
        *board.get("remarks", ()),
        *notes,
        "Thresholds at wanted false alarms are those of these very safe items; on others they are off.",
    ]


def _titled(board: Board) -> Board:
    """The board with guards by the last part of their folder's name, where that tells them apart."""
    folders = {name for name in board["guards"] if name.startswith(("/", ".", "~"))}
    short = {name: Path(name).name if name in folders else name for name in board["guards"]}
    if len(set(short.values())) < len(short):
        return board
    paired = [{**pair, "first": short[pair["first"]], "second": short[pair["second"]]} for pair in board["paired"]]
    return {**board, "guards": {short[name]: of for name, of in board["guards"].items()}, "paired": paired}


def _ranked(board: Board) -> Iterator[Grid]:
    scored = {name: of for name, of in board["guards"].items() if of["at"]}
    if not scored:
        return
    head = tuple(f"found at {wanted} false alarms" for wanted in AT.values())
    rows = tuple(
        (name, _cell(of["auroc"]), *(_cell(of["at"][share]["all"]) for share in AT)) for name, of in scored.items()
    )
    yield Grid("Unsafe against safe items, by score", ("guard", "AUROC", *head), rows)
    groups = list(board["groups"])
    if board["on"] == "pairs":
        rows = tuple((name, *(_cell(of["at"]["0.05"].get(group)) for group in groups)) for name, of in scored.items())
        yield Grid("Found at 5 % false alarms, by combination", ("guard", *groups), rows)


def _own(board: Board) -> Iterator[Grid]:
    guards = board["guards"]
    rows = tuple(
        (name, _cell(of["own"]["false_alarms"]), _most(of["benign"]), _cell(of["own"]["recall"]), _invalid(of))
        for name, of in guards.items()
    )
    columns = ("guard", "false alarms on safe items", "which it names", "unsafe items found", "invalid")
    yield Grid("By each guard's own verdict", columns, rows)
    for title, kind in (
        ("False alarms on safe items, by source", "by_source"),
        ("Found by its own verdict, by combination" if board["on"] == "pairs" else "Found, by label", "by_group"),
        ("Found by its own verdict, by category", "by_category"),
    ):
        parts = list(dict.fromkeys(one for of in guards.values() for one in of["own"][kind]))
        if len(parts) > 1:
            cells = tuple((one, *(_cell(of["own"][kind].get(one)) for of in guards.values())) for one in parts)
            yield Grid(title, ("", *guards), cells)


def _differences(board: Board) -> Iterator[Grid]:
    kinds = {
        "auroc": "AUROC",
        "0.05 all": "found at 5 %",
        "own recall": "own: found",
        "own false alarms": "own: alarms",
    }
    if "SSU" in board["groups"]:
        kinds |= {"0.05 SSU": "SSU found at 5 %"}
    kinds |= {"own recall": "own verdict: found", "own false alarms": "own verdict: alarms"}
    rows = tuple(
        (f"{pair['first']} − {pair['second']}", *(_change(pair.get(kind)) for kind in kinds))
        for pair in board["paired"]
    )
    if rows:
        yield Grid("Paired differences, in points", ("first − second", *kinds.values()), rows)


def _costs(board: Board) -> Iterator[Grid]:
    rows = tuple(
        (
            name,
            ABSENT if of["seconds"] is None else f"{of['seconds']:.3g} s",
            ABSENT if of["cost"] is None else f"${1000 * of['cost']:.3g}",
        )
        for name, of in board["guards"].items()
    )
    yield Grid("What an item takes", ("guard", "time an item", "cost of 1,000 items"), rows)


def _published(board: Board) -> Iterator[Grid]:
    if "published" in board:
        figures = tuple(next(iter(board["published"].values())))
        rows = tuple((guard, *(f"{row[one]:.1f} %" for one in figures)) for guard, row in board["published"].items())
        yield Grid("Published, on HoliSafe-Bench's images (arXiv 2506.04704, first version)", ("", *figures), rows)


def _cell(found: Mapping[str, Any] | None) -> str:
    return cell_text(as_cell(found))


def _change(found: Mapping[str, Any] | None) -> str:
    return ABSENT if found is None else points(found["value"], found["low"], found["high"])


def _most(raised: Mapping[str, int]) -> str:
    named = list(raised.items())
    told = [f"{name} {count:,}" for name, count in named[:MOST_CATEGORIES]]
    return ", ".join(told) + (" ..." if len(named) > MOST_CATEGORIES else "") if told else ABSENT


def _invalid(of: Mapping[str, Any]) -> str:
    reasons = list(of["invalid"].items())
    return f"{of['n_invalid']:,}" + (f": {reasons[0][0]} ({reasons[0][1]:,})" if reasons else "")


def write_board_page(board: Board, out: Path) -> Path:
    """Write the page to `out`, whole or not at all; return its path."""
    write_text(out, render(board))
    return out


def render(board: Board) -> str:
    """The page as text."""
    style = "".join(map(part, ("results.css", "page.css", "frontier.css", "guards.css")))
    return template("guard_board.html.jinja").render(
        version=version("holisafe"),
        style=Markup(style),  # noqa: S704 - the package's own files
        style_hash=content_hash(style),
        board=board,
        figures=list(_figures(_titled(board))),
        grids=board_grids(board),
        notes=board_notes(board),
        dated=f"Written {datetime.now(UTC):%d %B %Y}.".replace(" 0", " "),
    )


def _figures(board: Board) -> Iterator[dict[str, Any]]:
    """Curves of at most as many guards as there are tones."""
    shown = [
        Guarding(name, number % TONES, tuple(map(tuple, of["curve"] or ())), _point(of["own"]))
        for number, (name, of) in enumerate(board["guards"].items())
    ]
    for start in range(0, len(shown), TONES):
        some = shown[start : start + TONES]
        svg = roc(some, title="Found against false alarms", name=f"roc{start}")
        yield {"svg": Markup(svg), "guards": [(one.title, one.tone) for one in some]}  # noqa: S704 - escaped in svg


def _point(own: Mapping[str, Any]) -> tuple[float, float] | None:
    alarms, recall = own["false_alarms"]["rate"], own["recall"]["rate"]
    return None if alarms is None or recall is None else (alarms, recall)
