"""A guard's temperature and thresholds, chosen on validation images and kept in its model's folder.

    MODEL/guard_thresholds.json

An image is called unsafe when 1 - P(safe) lies above the threshold for a wanted false-alarm rate; a label is raised
when its probability lies above its own. The label set of split conformal prediction holds the true label with a wanted
coverage. How they are chosen, and what is guaranteed: `holisafe.metrics.guard_thresholds`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from ..errors import InputError
from ..journal import write_json
from ..records import GuardReading
from ..specs import typed_path
from ..typed_yaml import validated
from .adapters import GUARD_FOLDER
from .folders import find_file, locate, opened_weights, read_object
from .head import HEAD

FILE: Final = "guard_thresholds.json"
SCHEMA: Final = 1

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class GuardThresholds:
    """What was chosen, and on what. All probabilities are those at `temperature`.

    unsafe       1 - P(safe) above it is an alarm; None: never, as the safe images were too few for the wanted rate
    by_label     label -> P(label) above it raises the label; None: never
    set_quantile a label is in an image's set when 1 - P(label) is at most this; None: always
    head         digest of the head's weights that it was chosen for; None where they are not at hand
    fitted_on    data, split, numbers of images: for people
    """

    labels: tuple[str, ...]
    temperature: Annotated[Number, Field(gt=0)]
    false_alarm_rate: Number
    unsafe: Number | None
    by_label: Mapping[str, Number | None]
    coverage: Number
    set_quantile: Number | None
    head: str | None = None
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    def alarm(self, reading: GuardReading) -> bool:
        """Whether the image is called unsafe."""
        return self.unsafe is not None and reading.unsafe > self.unsafe

    def raised(self, reading: GuardReading) -> list[str]:
        """The labels above their own threshold, the likeliest first."""
        limits = {label: math.inf if limit is None else limit for label, limit in self.by_label.items()}
        above = [label for label, p in reading.probabilities.items() if p > limits.get(label, math.inf)]
        return sorted(above, key=lambda label: -reading.probabilities[label])

    def label_set(self, reading: GuardReading) -> list[str]:
        """The labels that may be the image's own, the likeliest first; empty where none is likely enough."""
        limit = math.inf if self.set_quantile is None else self.set_quantile
        inside = [label for label, p in reading.probabilities.items() if 1 - p <= limit]
        return sorted(inside, key=lambda label: -reading.probabilities[label])


def save_thresholds(thresholds: GuardThresholds, path: str | Path) -> Path:
    """Write them into a model's folder, replacing what is there. Raises InputError when there is no such folder."""
    folder = typed_path(path)
    if not folder.is_dir():
        raise InputError("thresholds are kept in a model's folder, and this is none", where=path)
    write_json(folder / FILE, {"schema": SCHEMA, **dataclasses.asdict(thresholds)})
    return folder / FILE


def load_thresholds(model: str | Path, labels: tuple[str, ...]) -> GuardThresholds | None:
    """Those of a model folder or hub id; None where it has none.

    Raises InputError when the file is broken or from later, or was chosen for other labels or another head: a guard
    that was trained on has to have its thresholds chosen anew.
    """
    source = locate(model)
    file = find_file(source, FILE)
    if file is None:
        return None
    thresholds = read_thresholds(file)
    if thresholds.labels != labels:
        raise InputError("chosen for other labels than the guard has", where=file, field="labels")
    now = head_digest(source)
    if thresholds.head is not None and now is not None and thresholds.head != now:
        raise InputError("chosen for another head; choose anew with holisafe guard thresholds", where=file)
    return thresholds


def read_thresholds(file: Path) -> GuardThresholds:
    """The thresholds in a file. Raises InputError naming the field that is missing or unusable."""
    values = read_object(file)
    schema = values.pop("schema", None)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError("written by a newer holisafe, or no thresholds", where=file, field="schema")
    return validated(GuardThresholds, values, file)


def head_digest(source: str) -> str | None:
    """SHA-256 of the head's stored weights, 16 hexadecimal digits; None for a hub id or where none are stored.

    From the file and not the loaded model, so that the precision it is loaded in does not matter.
    """
    folder = Path(source)
    if not folder.is_dir():
        return None
    tensors: dict[str, str] = {}
    for file in sorted((*folder.glob("*.safetensors"), *Path(folder, GUARD_FOLDER).glob("*.safetensors"))):
        with opened_weights(file) as opened:
            for key in opened.keys():  # noqa: SIM118 - not a mapping
                if f"{HEAD}." in key:
                    value = opened.get_tensor(key).contiguous().double().numpy().tobytes()
                    tensors[key[key.index(HEAD) :]] = hashlib.sha256(value).hexdigest()
    if not tensors:
        return None
    return hashlib.sha256("".join(f"{key}{tensors[key]}" for key in sorted(tensors)).encode()).hexdigest()[:16]
