"""The guard's settings, and the config fields that carry them (names as in the published checkpoints)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .. import taxonomy
from ..errors import InputError
from .errors import GuardError
from .families import default_pool
from .pooling import PARTS, is_source, sources

SCHEMA: Final = 2
"""2: sources joined by "+", a token, units. A folder of schema 1 reads as before, its sources under today's names."""
LABELS: Final = "safety_categories"
FIELD_OF: Final = {
    "labels": LABELS,
    "hidden_scale": "safety_head_hidden_scale",
    "hidden_layers": "safety_num_hidden_layers",
    "loss_weight": "safety_loss_lambda",
    "pool": "safety_pool",
    "dropout": "safety_head_dropout",
    "token_id": "safety_token_id",
    "unit": "safety_unit",
    "verdict": "safety_verdict",
}
"""A setting -> the config field that carries it."""
FIELDS: Final = (*FIELD_OF.values(), "num_safety_categories", "safety_schema")
UNITS: Final = ("sample", "image")
VERDICTS: Final = ("worst", "mean")
WIDEST: Final = 16
DEEPEST: Final = 64
"""Of a head: multiples of the decoder's width, and layers. A file decides how much is built before it is filled."""


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """Everything but the weights. Raises GuardError on values that make no head.

    pool      pooling sources joined by "+" (`pooling.PARTS`, `pooling.EARLY`); several are pooled one by one and
              concatenated
    token_id  the token that the source "token" reads
    unit      "sample": one verdict over all images of a sample; "image": one for each, and a sample's made of them
    verdict   with unit "image", a sample's verdict: the "worst" image's or the images' "mean" probabilities
    """

    pool: str
    token_id: int | None = None
    unit: str = "sample"
    verdict: str = "worst"
    labels: tuple[str, ...] = taxonomy.IMAGE_LABELS
    hidden_scale: float = 0.5
    hidden_layers: int = 1
    dropout: float = 0.1
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.pool, str):
            raise GuardError("guard settings: pool is no text")
        object.__setattr__(self, "pool", "+".join(sources(self.pool)))  # today's names
        unknown = [source for source in sources(self.pool) if not is_source(source)]
        reads_token = any(source.partition("@")[0] == "token" for source in sources(self.pool))
        faults = {
            "needs at least two labels": len(self.labels) < 2,
            "a label occurs twice": len(set(self.labels)) < len(self.labels),
            "labels must be names": not all(isinstance(label, str) and label for label in self.labels),
            f"pool {self.pool!r} is none of {', '.join(PARTS)}, hidden@LAYERS, nor several joined by +": bool(unknown),
            "a pooling source occurs twice": len(set(sources(self.pool))) < len(sources(self.pool)),
            "pool 'token' needs the token's id": reads_token and self.token_id is None,
            "token_id must not be negative": self.token_id is not None and self.token_id < 0,
            f"unit {self.unit!r} is none of {', '.join(UNITS)}": self.unit not in UNITS,
            f"verdict {self.verdict!r} is none of {', '.join(VERDICTS)}": self.verdict not in VERDICTS,
            f"hidden_scale must be a number above 0, at most {WIDEST}": not 0 < self.hidden_scale <= WIDEST,
            f"hidden_layers must be at least 1, at most {DEEPEST}": self.hidden_layers not in range(1, DEEPEST + 1),
            "dropout must lie in [0, 1)": not 0 <= self.dropout < 1,
            "loss_weight must not be negative": not self.loss_weight >= 0,
        }
        for fault, found in faults.items():
            if found:
                raise GuardError(f"guard settings: {fault}")

    def as_fields(self) -> dict[str, Any]:
        """Config field -> value; JSON."""
        values = {field: getattr(self, name) for name, field in FIELD_OF.items()}
        return {**values, LABELS: list(self.labels), "num_safety_categories": len(self.labels), "safety_schema": SCHEMA}


def describes_guard(fields: Mapping[str, Any]) -> bool:
    """Whether a config (as a dict) says that its model has a guard."""
    return bool(fields.get(LABELS))


def read_settings(fields: Mapping[str, Any], model_config: Any, where: str) -> GuardSettings:
    """The settings in a config's fields; what the published checkpoints leave out takes its default.

    Raises InputError naming the field when the labels and their number disagree or the schema is from later.
    """
    labels, number = fields.get(LABELS), fields.get("num_safety_categories")
    if not isinstance(labels, list | tuple):
        raise InputError("is no list of labels", where=where, field=LABELS)
    if number is not None and number != len(labels):
        raise InputError(f"is {number}, but {LABELS} names {len(labels)}", where=where, field="num_safety_categories")
    schema = fields.get("safety_schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise InputError("written by a newer holisafe, or no number", where=where, field="safety_schema")
    told: dict[str, Any] = {name: fields[field] for name, field in FIELD_OF.items() if fields.get(field) is not None}
    told |= {"labels": tuple(labels), "pool": told.get("pool") or default_pool(model_config)}
    try:
        return GuardSettings(**told)
    except (GuardError, TypeError) as error:
        raise InputError(f"unusable guard settings ({error})", where=where) from None
