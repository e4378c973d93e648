"""What `holisafe guard eval` measured, as tables on the terminal: benign images first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

BINARY = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def print_images(result: Mapping[str, Any]) -> None:
    """A headline, then the tables of each set; sets out of distribution say so."""
    from .screen import screen

    console = screen()
    console.print(f"{result['model']}: unsafe is {result['decides']}", soft_wrap=True)
    for name, scores in result["sets"].items():
        _print_set(console, name, scores)
    if "published" in result:
        rows = [(guard, *(f"{row[figure]:.1f} %" for figure in row)) for guard, row in result["published"].items()]
        _table(console, "published, on HoliSafe-Bench's images", ("", *next(iter(result["published"].values()))), rows)
    console.print(f"note: {result['note']}", soft_wrap=True)


def _print_set(console: Console, name: str, scores: Mapping[str, Any]) -> None:
    from ..report.numbers import as_cell, cell_text

    title = f"{name} (out of distribution)" if scores["out_of_distribution"] else name
    benign = scores["benign"]
    console.print(f"\n{title}: {scores['n']:,} images, {scores['n_invalid']:,} invalid", style="bold", soft_wrap=True)
    for reason, count in scores["invalid"].items():
        console.print(f"  invalid: {count:,} x {reason}", soft_wrap=True)
    console.print(f"false alarms on benign images: {cell_text(as_cell(benign['false_alarm_rate']))}", style="bold")
    rows = [(label, cell_text(as_cell(scores["binary"][figure]))) for figure, label in BINARY.items()]
    quality, sets = scores["quality"], scores["sets"]
    if quality is not None:
        rows += [
            ("right label", cell_text(as_cell(quality["accuracy"]))),
            ("macro F1 of labels", cell_text(as_cell(quality["macro_f1"]))),
            ("calibration error", cell_text(as_cell(quality["calibration_error"]))),
        ]
    if sets is not None:
        rows += [
            ("label set holds the label", cell_text(as_cell(sets["coverage"]))),
            ("labels in a set", f"{sets['mean_size']:.2f}"),
        ]
    _table(console, "unsafe against safe images", ("", ""), rows)
    sources = [
        (source, *(cell_text(as_cell(cells[kind])) for kind in ("false_alarm_rate", "recall", "accuracy")))
        for source, cells in scores["by_source"].items()
    ]
    _table(console, "by source", ("", "false alarms", "recall", "accuracy"), sources)
    labels = [
        (label, cell_text(as_cell(cells["flagged"])), cell_text(as_cell(cells["named"])))
        for label, cells in scores["by_label"].items()
    ]
    _table(console, "by label", ("", "called unsafe", "given its label"), labels)


def print_pairs(result: Mapping[str, Any]) -> None:
    """AUROC, then false alarms and recall at the threshold."""
    from ..report.numbers import as_cell, cell_text
    from .screen import screen

    console = screen()
    console.print(
        f"{result['model']}: {result['n']:,} pairs, {result['n_invalid']:,} without a reading", soft_wrap=True
    )
    rows = [
        (name if " " in name else f"{name} against SSS", cell_text(as_cell(cell)))
        for name, cell in result["auroc"].items()
    ]
    _table(console, "AUROC", ("unsafe pairs", ""), rows)
    rows = [(f"false alarms, {name}", cell_text(as_cell(cell))) for name, cell in result["false_alarm_rate"].items()]
    rows += [(f"recall, {name}", cell_text(as_cell(cell))) for name, cell in result["recall"].items()]
    _table(console, f"1 - P(safe) above {result['threshold']:.4g} ({result['threshold_is']})", ("", ""), rows)
    console.print(f"note: {result['note']}", soft_wrap=True)


def _table(console: Console, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table(*headers, title=title, title_justify="left", show_header=any(headers))
    for row in rows:
        grid.add_row(*(Text(cell, overflow="fold") for cell in row))
    console.print(grid)
