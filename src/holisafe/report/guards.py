"""What a guard was found to do, on images and on pairs, as tables: benign images first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .grids import Grid
from .numbers import as_cell, cell_text

BINARY = {
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}


def guard_grids(result: Mapping[str, Any]) -> list[Grid]:
    """The result of `evaluate_guard` on images or on pairs."""
    return list(_of_images(result) if "sets" in result else _of_pairs(result))


def _of_images(result: Mapping[str, Any]) -> Iterator[Grid]:
    for name, scores in result["sets"].items():
        yield from _of_set(f"{name} (out of distribution)" if scores["out_of_distribution"] else name, scores)
    if "published" in result:
        figures = tuple(next(iter(result["published"].values())))
        rows = tuple((guard, *(f"{row[one]:.1f} %" for one in figures)) for guard, row in result["published"].items())
        yield Grid("Published, on HoliSafe-Bench's images", ("", *figures), rows)


def _of_set(title: str, scores: Mapping[str, Any]) -> Iterator[Grid]:
    counted = f"{title}: {scores['n']:,} images, {scores['n_invalid']:,} invalid"
    rows = [("false alarms on benign images", _text(scores["benign"]["false_alarm_rate"]))]
    rows += [(f"invalid: {reason}", f"{count:,}") for reason, count in scores["invalid"].items()]
    rows += [(label, _text(scores["binary"][figure])) for figure, label in BINARY.items()]
    quality, sets = scores["quality"], scores["sets"]
    if quality is not None:
        rows += [
            ("right label", _text(quality["accuracy"])),
            ("macro F1 of labels", _text(quality["macro_f1"])),
            ("calibration error", _text(quality["calibration_error"])),
        ]
    if sets is not None:
        rows += [
            ("label set holds the label", _text(sets["coverage"])),
            ("labels in a set", f"{sets['mean_size']:.2f}"),
        ]
    yield Grid(counted, ("unsafe against safe images", "rate, 95 % interval"), tuple(rows))
    for by, kinds in (
        ("source", {"false alarms": "false_alarm_rate", "recall": "recall", "accuracy": "accuracy"}),
        ("label", {"called unsafe": "flagged", "given its label": "named"}),
    ):
        parts = scores[f"by_{by}"].items()
        cells = tuple((part, *(_text(found[kind]) for kind in kinds.values())) for part, found in parts)
        yield Grid(f"{title}, by {by}", (by, *kinds), cells)


def _of_pairs(result: Mapping[str, Any]) -> Iterator[Grid]:
    counted = f"{result['model']}: {result['n']:,} pairs, {result['n_invalid']:,} without a reading"
    auroc = tuple((name if " " in name else f"{name} against SSS", _text(c)) for name, c in result["auroc"].items())
    yield Grid(counted, ("unsafe pairs", "AUROC"), auroc)
    lacking = [(f"invalid: {reason}", f"{count:,}") for reason, count in result["invalid"].items()]
    chosen = result.get("chosen_on", {"invalid": {}})["invalid"].items()
    lacking += [(f"invalid where the threshold was chosen: {reason}", f"{count:,}") for reason, count in chosen]
    if lacking:
        yield Grid("Without a reading", ("why", "pairs"), tuple(lacking))
    rows = [(f"false alarms, {name}", _text(cell)) for name, cell in result["false_alarm_rate"].items()]
    rows += [(f"recall, {name}", _text(cell)) for name, cell in result["recall"].items()]
    title = f"1 - P(safe) above {result['threshold']:.4g} ({result['threshold_is']})"
    yield Grid(title, ("pairs", "rate, 95 % interval"), tuple(rows))


def guard_notes(result: Mapping[str, Any]) -> list[str]:
    """What makes an image unsafe to this guard, and what it cannot see."""
    decides = [f"{result['model']}: unsafe where {result['decides']}"] if "decides" in result else []
    return [*decides, *(f"note: {told}" for told in (*result.get("remarks", ()), result["note"]))]


def _text(cell: Mapping[str, Any] | None) -> str:
    return cell_text(as_cell(cell))
