"""The rows of every result table, on the page and in the terminal: one list, so that the two cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..taxonomy import CATEGORIES, UNSAFE_COMBINATIONS
from .numbers import Cell

COMBINATION_NOTES = {
    "SSU": "only the combination is unsafe",
    "SUU": "the text is unsafe",
    "USU": "the image is unsafe",
    "UUU": "image and text are unsafe",
    "SSS": "nothing is unsafe",
}


CALIBRATION_ROWS = {
    "sra_u": ("SRA_u", "unsafe pairs refused or warned about"),
    "sra_s": ("SRA_s", "safe pairs not refused, as published"),
    "sra_s_answered": ("SRA_s, answered", "safe pairs answered: irrelevant replies left out"),
    "average": ("SRA, average", "mean of SRA_u and SRA_s"),
}


@dataclass(frozen=True)
class Measure:
    """One row: its name, what it says in words, which way is good, and who judged."""

    key: str
    label: str
    note: str
    better: Literal["lower", "higher"]
    judge: str


def safety_measures(scores: Mapping[str, Any], judge: str) -> dict[Measure, Cell]:
    """ASR by combination, both mASRs and RR under one judge, as far as they were measured.

    Under-safety and over-safety have rows of their own where they cover more than the combinations do.
    """
    found = (scores.get("judges") or {}).get(judge) or {}
    asr = found.get("asr") or {}
    order = [*UNSAFE_COMBINATIONS, *(name for name in asr if name not in UNSAFE_COMBINATIONS)]
    rows: dict[Measure, Cell | None] = {
        Measure(f"asr.{name}", f"ASR {name}", COMBINATION_NOTES.get(name, ""), "lower", judge): asr.get(name)
        for name in order
    }
    rows |= {
        Measure("masr_pooled", "mASR, pooled", "over all unsafe pairs", "lower", judge): found.get("masr_pooled"),
        Measure("masr_macro", "mASR, macro", "mean of the combinations", "lower", judge): found.get("masr_macro"),
        Measure("rr", "RR", "safe pairs not answered helpfully", "lower", judge): found.get("rr"),
    }
    for key, label, note, twin in (
        ("under_safety", "Under-safety", "should be refused, was not", "masr_pooled"),
        ("over_safety", "Over-safety", "should be answered, was not", "rr"),
    ):
        if _count(found.get(key)) > _count(found.get(twin)):
            rows[Measure(key, label, note, "lower", judge)] = found[key]
    for name, cell in ((scores.get("measures") or {}).get(judge) or {}).items():
        note = "by the judge's own words"
        rows[Measure(f"measures.{name}", spoken(name).capitalize(), note, "higher", judge)] = cell
    calibration = (scores.get("safety_calibration") or {}).get(judge) or {}
    if calibration.keys() & {"conditions", "slots"}:  # VSCBench, whose own scores these are
        for key, (label, note) in CALIBRATION_ROWS.items():
            rows[Measure(key, label, note, "higher", judge)] = calibration.get(key)
    return {measure: cell for measure, cell in rows.items() if cell is not None and measured(cell)}


def _count(cell: Cell | None) -> int:
    return (cell.get("n") or 0) + (cell.get("n_invalid") or 0) if cell else 0


def calibration_slices(scores: Mapping[str, Any], judge: str) -> dict[str, dict[Measure, Cell]]:
    """{"condition", "slot" or "category": SRA_u, SRA_s and their average of each}, for a benchmark whose scores these
    are. What has pairs of one kind only has no average."""
    found = (scores.get("safety_calibration") or {}).get(judge) or {}
    if not found.keys() & {"conditions", "slots"}:
        return {}
    return {
        level: {
            Measure(f"{level}.{name}.{key}", f"{label}, {of}{spoken(name)}", note, "higher", judge): cells[key]
            for name, cells in found[plural].items()
            for key, (label, note) in CALIBRATION_ROWS.items()
            if key in ("sra_u", "sra_s", "average") and key in cells
        }
        for level, plural, of in (
            ("condition", "conditions", ""),
            ("slot", "slots", "slot "),
            ("category", "categories", ""),
        )
        if plural in found
    }


def utility_measures(scores: Mapping[str, Any]) -> dict[Measure, Cell]:
    """Usefulness by every judge that measured it: whole, then task by task."""
    rows: dict[Measure, Cell] = {}
    for judge, whole in (scores.get("utility") or {}).items():
        if not measured(whole):
            continue
        rows[Measure("utility.all", "Utility", "plain questions answered rightly", "higher", judge)] = whole
        for task, cell in (whole.get("tasks") or {}).items():
            rows[Measure(f"utility.{task}", f"Utility: {spoken(task)}", "", "higher", judge)] = cell
    return rows


def breakdown(scores: Mapping[str, Any], judge: str, level: Literal["categories", "subcategories"]) -> dict[str, Cell]:
    """ASR by category or subcategory, in the taxonomy's order; names it does not know come last."""
    found = ((scores.get("judges") or {}).get(judge) or {}).get(level) or {}
    known = list(CATEGORIES) if level == "categories" else [name for names in CATEGORIES.values() for name in names]
    order = [*(name for name in known if name in found), *(name for name in found if name not in known)]
    cells = {name: found[name].get("asr") for name in order}
    return {name: cell for name, cell in cells.items() if cell is not None and measured(cell)}


def measured(cell: Cell) -> bool:
    """Whether there was anything to measure: a cell over no pair at all is not worth a row."""
    return bool(cell.get("n") or cell.get("n_invalid"))


GUARD_ROWS: dict[str, tuple[str, str, Literal["lower", "higher"]]] = {
    "accuracy": ("Guard accuracy", "images given their own label of 20", "higher"),
    "macro_f1": ("Macro F1", "mean over the labels", "higher"),
    "binary_accuracy": ("Binary accuracy", "unsafe against safe", "higher"),
    "binary_f1": ("Binary F1", "unsafe against safe", "higher"),
    "auroc": ("AUROC", "unsafe against safe, by probability", "higher"),
    "auprc": ("AUPRC", "unsafe against safe, by probability", "higher"),
    "calibration_error": ("Calibration error", "mean gap of probability and accuracy", "lower"),
}


def guard_pair_measures(scores: Mapping[str, Any]) -> dict[Measure, Cell]:
    """How a guard that says safe or unsafe tells unsafe pairs from safe ones, alarms at a probability of one half."""
    found = scores.get("guard_pairs") or {}
    rows: dict[Measure, Cell] = {}
    for name, cell in found.get("auroc", {}).items():
        note = "unsafe pairs above safe ones, SSS"
        rows[Measure(f"guard_pairs.auroc.{name}", f"Pair AUROC, {name}", note, "higher", PAIR_TRUTH)] = cell
    for name, cell in found.get("recall", {}).items():
        rows[Measure(f"guard_pairs.recall.{name}", f"Pair alarms, {name}", "at 0.5", "higher", PAIR_TRUTH)] = cell
    for name, cell in found.get("false_alarm_rate", {}).items():
        label = f"False alarms, {name}"
        rows[Measure(f"guard_pairs.false_alarms.{name}", label, "at 0.5", "lower", PAIR_TRUTH)] = cell
    return rows


PAIR_TRUTH = "what is expected"

CALIBRATED_ROWS: dict[str, Literal["lower", "higher"]] = {
    "safe pairs": "lower",
    "unsafe pairs": "higher",
    "questions": "lower",
}


def calibrated_measures(scores: Mapping[str, Any]) -> dict[Measure, Cell]:
    """On what share of pairs and questions a calibration that decides by request was applied."""
    found = scores.get("calibrated") or {}
    return {
        Measure(f"calibrated.{kind}", f"Calibrated, {kind}", "touched by the method", better, "the guard"): found[kind]
        for kind, better in CALIBRATED_ROWS.items()
        if found.get(kind)
    }


def guard_measures(scores: Mapping[str, Any]) -> dict[Measure, Cell]:
    """The guard's quality against the images' labels."""
    found = scores.get("guard") or {}
    return {
        Measure(f"guard.{key}", label, note, better, "the image labels"): found[key]
        for key, (label, note, better) in GUARD_ROWS.items()
        if found.get(key) and found[key].get("rate") is not None
    }


JUSTIFIED_ROWS = {
    "refused": ("Refused", "of all unsafe pairs"),
    "refused_and_guard_right": ("Guard right too", "refused, and the guard gave the image its own label"),
    "refused_and_reason_right": ("Reason right too", "refused, and the answer names the true reason"),
    "all_agree": ("All agree", "refused, with guard and reason right"),
}


def justified_measures(scores: Mapping[str, Any]) -> dict[Measure, Cell]:
    """How often refusal, guard label and the reason named in the answer agree, by every judge of refusals."""
    return {
        Measure(f"justified.{key}", label, note, "higher", judge): found[key]
        for judge, found in (scores.get("justified") or {}).items()
        for key, (label, note) in JUSTIFIED_ROWS.items()
        if found.get(key) and measured(found[key])
    }


def spoken(label: str) -> str:
    """A label as a person would write it: `self_harm` -> `self harm`."""
    return label.replace("_", " ")
