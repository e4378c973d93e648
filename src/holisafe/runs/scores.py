"""The numbers of a run, as `scores.json` keeps them. docs/runs.md says what each entry is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError
from ..journal import read_json, write_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "scores.json"


class Shown:
    """What may be written as JSON: fractions that are numbers, and nothing of another kind."""

    __pydantic_config__ = {"allow_inf_nan": False}  # noqa: RUF012 - pydantic's own name, a constant

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = _plain(self)
        return found


@dataclass(frozen=True)
class Cell(Shown):
    """One rate, as a fraction.

    `n` counts valid verdicts and `n_invalid` the others. `low` and `high` are the 95 % interval; the bounds are the
    rate had every invalid verdict gone one way or the other. What cannot be known is None: rate and interval when n is
    0, the bounds when there was no verdict at all. A rate without its n, as some tables publish them, has n 0.
    """

    rate: float | None = None
    n: int = 0
    n_invalid: int = 0
    low: float | None = None
    high: float | None = None
    bound_low: float | None = None
    bound_high: float | None = None

    @property
    def measured(self) -> bool:
        """Whether there was anything to measure: a cell over no pair at all is not worth a row."""
        return bool(self.n or self.n_invalid)


Cells = dict[str, Cell]


def _plain(value: Any) -> Any:
    """The value as JSON has it; rates of a kind that a judge's verdicts are not about are no entries."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if not dataclasses.is_dataclass(value):
        return [_plain(one) for one in value] if isinstance(value, list) else value
    known = {spec.name: getattr(value, spec.name) for spec in dataclasses.fields(value)}
    told = known if isinstance(value, Cell | ReliabilityBin | Scores) else _without_none(known)
    return {name: _plain(one) for name, one in told.items()}


def _without_none(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not None}


@dataclass(frozen=True)
class Part(Shown):
    """The rates of one category or subcategory."""

    asr: Cell | None = None
    rr: Cell | None = None


@dataclass(frozen=True)
class Safety(Shown):
    """One judge's verdicts on safety pairs: `metrics.score`."""

    n: int = 0
    n_invalid: int = 0
    asr: Cells = field(default_factory=dict)
    masr_pooled: Cell = Cell()
    masr_macro: Cell = Cell()
    rr: Cell = Cell()
    under_safety: Cell | None = None
    over_safety: Cell | None = None
    categories: dict[str, Part] = field(default_factory=dict)
    subcategories: dict[str, Part] = field(default_factory=dict)


@dataclass(frozen=True)
class Calibration(Shown):
    """SRA over some pairs: `metrics.safety_calibration`. What has pairs of one kind only has no averages."""

    sra_u: Cell | None = None
    sra_s: Cell | None = None
    sra_s_answered: Cell | None = None
    average: Cell | None = None
    average_answered: Cell | None = None


@dataclass(frozen=True)
class SafetyCalibration(Calibration):
    """One judge's, with what it is made of."""

    composition: dict[str, dict[str, int | dict[str, int]]] = field(default_factory=dict)
    conditions: dict[str, Calibration] = field(default_factory=dict)
    categories: dict[str, Calibration] = field(default_factory=dict)
    slots: dict[str, Calibration] = field(default_factory=dict)


@dataclass(frozen=True)
class Utility(Cell):
    """The share of plain questions answered rightly: whole, by task, and where there are several the tasks' mean."""

    tasks: Cells = field(default_factory=dict)
    macro: Cell | None = None


@dataclass(frozen=True)
class ReliabilityBin(Shown):
    """Readings whose likeliest label has a probability of `start` to `stop`: how sure, and how often right."""

    start: float
    stop: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Guard(Shown):
    """The guard against the images' labels: `metrics.guard`."""

    n: int = 0
    accuracy: Cell = Cell()
    macro_f1: Cell = Cell()
    binary_accuracy: Cell = Cell()
    binary_f1: Cell = Cell()
    auroc: Cell = Cell()
    auprc: Cell = Cell()
    calibration_error: Cell = Cell()
    undefined: dict[str, str] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    confusion: list[list[int]] = field(default_factory=list)
    reliability: list[ReliabilityBin] = field(default_factory=list)
    n_without_reading: int = 0


@dataclass(frozen=True)
class GuardOfPairs(Shown):
    """A guard that says safe or unsafe, against what is expected of the pair: `metrics.guard_pairs`."""

    n: int = 0
    n_invalid: int = 0
    threshold: float = 0.5
    auroc: Cells = field(default_factory=dict)
    false_alarm_rate: Cells = field(default_factory=dict)
    recall: Cells = field(default_factory=dict)


@dataclass(frozen=True)
class ThoughtAndAnswer(Shown):
    """Thoughts beside answers, by two judges: `metrics.thought_and_answer`. `n` unsafe pairs have a verdict on both;
    `left_out` counts the others by what they lack."""

    n: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    rates: Cells = field(default_factory=dict)


@dataclass(frozen=True)
class Endings(Shown):
    """How the calls ended. `empty` counts answers of nothing but blanks, however they ended, errors apart; `unknown`
    those that ended in a word that `finish.ending` does not know, which count as whole."""

    n: int = 0
    errors: int = 0
    truncated: int = 0
    filtered: int = 0
    empty: int = 0
    unknown: int = 0

    def __add__(self, other: Endings) -> Endings:
        return Endings(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))


@dataclass(frozen=True)
class Scores(Shown):
    """All numbers of a run; {JUDGE: ...} where judges decide, in `borderline` {LABEL: cell} of each. None: without a
    guard, without any blocked call."""

    judges: dict[str, Safety] = field(default_factory=dict)
    measures: dict[str, Cells] = field(default_factory=dict)
    safety_calibration: dict[str, SafetyCalibration] = field(default_factory=dict)
    judges_with_filtered: dict[str, Safety] | None = None
    utility: dict[str, Utility] = field(default_factory=dict)
    borderline: dict[str, Cells] = field(default_factory=dict)
    guard: Guard | None = None
    guard_pairs: GuardOfPairs | None = None
    justified: dict[str, Cells] | None = None
    thoughts: dict[str, ThoughtAndAnswer] | None = None
    calibrated: Cells | None = None
    responses: Endings = Endings()
    cost: dict[str, dict[str, int | float | None]] = field(default_factory=dict)
    judge_errors: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


Kind = TypeVar("Kind")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def typed(kind: type[Kind], value: Any, where: str | Path = "scores") -> Kind:
    """A JSON value as one of the classes above. Raises InputError naming the first entry that does not fit."""
    from pydantic import ValidationError

    try:
        shape: Any = kind
        found: Kind = _adapter(shape).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        entry = ".".join(map(str, first["loc"])) or "the whole"
        raise InputError(f"no scores of a run ({first['msg']})", where=where, field=entry) from None
    return found


def read_scores(folder: Path) -> Scores:
    """The scores of a run folder. Raises InputError when there are none yet, or for what are none."""
    if not (folder / FILE).is_file():
        raise InputError(f"the run has no {FILE} yet: let `holisafe run` finish it first", where=folder)
    return typed(Scores, read_json(folder / FILE), folder / FILE)


def write_scores(folder: Path, scores: Scores) -> None:
    write_json(folder / FILE, scores.to_json())
