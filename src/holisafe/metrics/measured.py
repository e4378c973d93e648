"""What a run measured, as rows: each rate of its scores with its name, in the order in which every table shows them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from ..runs.scores import Calibration, Cell, Cells, Safety, Scores, typed
from ..taxonomy import CATEGORIES, UNSAFE_COMBINATIONS
from .measures import COMBINATION_NOTES, MEASURES, TWINS, UTILITY, Better, Measure, outcomes, plain
from .score import score

Rows = dict[Measure, Cell]

LEVELS = {"condition": "conditions", "slot": "slots", "category": "categories"}
"""What VSCBench's scores are taken apart by -> where they are kept."""

SUBJECTS = {"categories": "category", "subcategories": "subcategory"}

PAIR_TRUTH, IMAGE_TRUTH, DECIDER = "what is expected", "the image labels", "the guard"
"""Who judged what no judge of answers judges."""


def safety(scores: Scores, judge: str) -> Rows:
    """ASR by combination, both mASRs and RR under one judge, as far as they were measured; under-safety and over-safety
    where they cover more than the combinations do; the rates of the judge's own words; VSCBench's scores of VSCBench.
    """
    rows = {_called(key, judge): cell for key, cell in judged(scores.judges.get(judge, Safety())).items()}
    for name, cell in scores.measures.get(judge, {}).items():
        own = Measure(f"measures.{name}", spoken(name).capitalize(), "by the judge's own words", "higher")
        rows[MEASURES.get(own.key, own).by(judge)] = cell
    if _is_vscbench(scores, judge):
        whole = scores.safety_calibration[judge]
        rows |= _sra(whole, ("sra_u", "sra_s", "sra_s_answered", "average"), judge)
    return {measure: cell for measure, cell in rows.items() if cell.measured}


def judged(found: Safety) -> Cells:
    """{MEASURE: CELL} of one judge: ASR by combination, both mASRs, RR, under- and over-safety."""
    order = [*UNSAFE_COMBINATIONS, *(name for name in found.asr if name not in UNSAFE_COMBINATIONS)]
    cells = {f"asr.{name}": found.asr[name] for name in order if name in found.asr}
    cells |= {name: getattr(found, name) for name in ("masr_pooled", "masr_macro", "rr")}
    for name, twin in TWINS.items():
        cell = getattr(found, name)
        if cell is not None and cell.n + cell.n_invalid > cells[twin].n + cells[twin].n_invalid:
            cells[name] = cell
    return {name: cell for name, cell in cells.items() if cell.measured}


def of_verdicts(frame: pd.DataFrame) -> Cells:
    """{MEASURE: CELL} of one judge's verdicts on one model: what a run's scores hold of them, and utility."""
    question = plain(frame)
    pairs, questions = frame[~question], frame[question]
    cells: Cells = {}
    if len(pairs):
        whole = pairs.drop(columns=["category", "subcategory"], errors="ignore")  # no rates of parts
        (found,) = score(whole.assign(judge="one")).values()
        cells = judged(typed(Safety, found))
    if len(questions):
        every = [np.ones(len(questions), dtype=bool)]
        (cells[UTILITY],) = outcomes(questions, UTILITY).cells(every)
    return cells


def slices(scores: Scores, judge: str) -> dict[str, Rows]:
    """{"condition", "slot" or "category": SRA_u, SRA_s and their average of each}, for a benchmark whose scores these
    are. What has pairs of one kind only has no average."""
    if not _is_vscbench(scores, judge):
        return {}
    found = scores.safety_calibration[judge]
    return {
        level: {
            _sliced(m, level, name, f"{m.label}, {of}{spoken(name)}"): cell
            for name, part in getattr(found, plural).items()
            for m, cell in _sra(part, ("sra_u", "sra_s", "average"), judge).items()
        }
        for level, plural in LEVELS.items()
        for of in ["slot " if level == "slot" else ""]
        if getattr(found, plural)
    }


def breakdown(scores: Scores, judge: str, level: str) -> Rows:
    """ASR by `categories` or `subcategories`, in the taxonomy's order; names it does not know come last."""
    found = getattr(scores.judges.get(judge, Safety()), level)
    known = list(CATEGORIES) if level == "categories" else [name for names in CATEGORIES.values() for name in names]
    order = [*(name for name in known if name in found), *(name for name in found if name not in known)]
    cells = {name: found[name].asr for name in order}
    return {
        replace(_sliced(MEASURES["masr_pooled"].by(judge), SUBJECTS[level], name, spoken(name)), note=""): cell
        for name, cell in cells.items()
        if cell is not None and cell.measured
    }


def utility(scores: Scores) -> Rows:
    """Usefulness by every judge that measured it: whole, then task by task."""
    rows: Rows = {}
    for judge, whole in scores.utility.items():
        if whole.measured:
            rows[_called(UTILITY, judge)] = whole
            tasks = {
                replace(_sliced(_called(UTILITY, judge), "task", task, f"Utility: {spoken(task)}"), note=""): cell
                for task, cell in whole.tasks.items()
            }
            rows |= tasks
            if whole.macro is not None:
                rows[replace(_called("utility_macro", judge), means=tuple(one.key for one in tasks))] = whole.macro
    return rows


def borderline(scores: Scores) -> Rows:
    """How borderline pairs were met, by every judge that says so."""
    return {
        _called(f"borderline.{label}", judge): cell
        for judge, cells in scores.borderline.items()
        for label, cell in cells.items()
        if cell.measured
    }


def guard(scores: Scores) -> Rows:
    """The guard's quality against the images' labels."""
    cells = {key: getattr(scores.guard, key.removeprefix("guard."), None) for key in MEASURES if key[:6] == "guard."}
    return {
        _called(key, IMAGE_TRUTH): cell for key, cell in cells.items() if cell is not None and cell.rate is not None
    }


def guard_of_pairs(scores: Scores) -> Rows:
    """How a guard that says safe or unsafe tells unsafe pairs from safe ones, alarms at a probability of one half."""
    found = scores.guard_pairs
    if found is None:
        return {}
    rows: Rows = {}
    kinds: tuple[tuple[str, Cells, str, str, Better], ...] = (
        ("auroc", found.auroc, "Pair AUROC, {}", "unsafe pairs above safe ones, SSS", "higher"),
        ("recall", found.recall, "Pair alarms, {}", "at 0.5", "higher"),
        ("false_alarms", found.false_alarm_rate, "False alarms, {}", "at 0.5", "lower"),
    )
    for key, cells, label, note, better in kinds:
        for name, cell in cells.items():
            rows[Measure(f"guard_pairs.{key}.{name}", label.format(name), note, better, judge=PAIR_TRUTH)] = cell
    return rows


def calibrated(scores: Scores) -> Rows:
    """On what share of pairs and questions a calibration that decides by request was applied."""
    cells = {key: (scores.calibrated or {}).get(key.removeprefix("calibrated.")) for key in MEASURES}
    return {_called(key, DECIDER): cell for key, cell in cells.items() if cell and key.startswith("calibrated.")}


def justified(scores: Scores) -> Rows:
    """How often refusal, guard label and the reason named in the answer agree, by every judge of refusals."""
    return {
        _called(key, judge): cell
        for judge, found in (scores.justified or {}).items()
        for key in MEASURES
        if key.startswith("justified.") and (cell := found.get(key.removeprefix("justified."))) and cell.measured
    }


def thoughts(scores: Scores) -> Rows:
    """Thoughts beside the answers that follow them, by every two judges of these."""
    return {
        _called(f"thoughts.{key}", judges): cell
        for judges, found in (scores.thoughts or {}).items()
        for key, cell in found.rates.items()
        if cell.measured
    }


def everything(scores: Scores) -> Iterator[Rows]:
    """What a table of one run shows: safety, VSCBench's slices, thoughts and answers, usefulness, the guard, and what
    was calibrated."""
    yield {measure: cell for judge in scores.judges for measure, cell in safety(scores, judge).items()}
    yield {m: cell for judge in scores.judges for rows in slices(scores, judge).values() for m, cell in rows.items()}
    yield borderline(scores)
    yield thoughts(scores)
    yield utility(scores)
    yield guard(scores) | guard_of_pairs(scores)
    yield calibrated(scores)


def by_judge(scores: Scores, key: str) -> Cells:
    """{judge, or "" for what no judge decides: the cell of a measure}, only where the run has the measure."""
    calls = scores.responses
    if key == "errors":
        return {"": Cell(calls.errors / calls.n, calls.n)} if calls.n else {}
    if key == "invalid":
        counted = {judge: (one.n_invalid, one.n + one.n_invalid) for judge, one in scores.judges.items()}
        return {judge: Cell(void / n, n) for judge, (void, n) in counted.items() if n}
    if key == UTILITY:
        return {judge: cell for judge, cell in scores.utility.items() if cell.measured}
    if key.startswith("guard."):
        return {"": cell} if (cell := guard(scores).get(_called(key, IMAGE_TRUTH))) else {}
    return {judge: cell for judge, one in scores.judges.items() if (cell := _anywhere(one, key)) and cell.measured}


GATES = (*(f"asr.{name}" for name in UNSAFE_COMBINATIONS), "masr_pooled", "masr_macro", "rr", *TWINS, UTILITY,
         "guard.accuracy", "errors", "invalid")  # fmt: skip
"""What a condition on a run may be about."""


def _anywhere(one: Safety, key: str) -> Cell | None:
    """A judge's cell, also where it is the same as another one and so has no row."""
    found: Cell | None = one.asr.get(key[4:]) if key.startswith("asr.") else getattr(one, key)
    return found


def _called(key: str, judge: str) -> Measure:
    known = MEASURES.get(key) or Measure(key, key.replace("asr.", "ASR "), COMBINATION_NOTES.get(key[4:], ""))
    return known.by(judge)


def _sliced(measure: Measure, column: str, name: str, label: str) -> Measure:
    """The measure over those of its rows that have a name in a column."""
    whole = measure.rows
    rows = None if whole is None else lambda frame: whole(frame) & (frame[column] == name).to_numpy(bool)
    means = tuple(f"{column}.{name}.{key}" for key in measure.means)
    return replace(measure, key=f"{column}.{name}.{measure.key}", label=label, rows=rows, means=means)


def _is_vscbench(scores: Scores, judge: str) -> bool:
    found = scores.safety_calibration.get(judge)
    return found is not None and bool(found.conditions or found.slots)


def _sra(found: Calibration, keys: tuple[str, ...], judge: str) -> Rows:
    cells = {key: getattr(found, key) for key in keys}
    return {_called(key, judge): cell for key, cell in cells.items() if cell is not None}


def spoken(label: str) -> str:
    """A label as a person would write it: `self_harm` -> `self harm`."""
    return label.replace("_", " ")
