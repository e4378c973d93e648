"""Thresholds go along with a model that is saved as it was loaded, and with no other.

    load_model(FOLDER)        remember   the folder's thresholds and a fingerprint of the weights
    save_guarded(model, OUT)  keep       the same fingerprint: into OUT; another: none in OUT, and a warning

Thresholds hold for the readings that they were chosen on. Training changes these even where it leaves the head alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from ..errors import InputError, Notice
from .attach import is_guarded, labels_of, unwrap
from .head import HEAD
from .thresholds import FILE, GuardThresholds, head_digest, load_thresholds, save_thresholds

SAMPLED: Final = 64
"""Of every weight outside the head, so many values at either end are looked at: an optimiser changes all it trains."""

_REMEMBERED: Final = "_guard_thresholds"


class _Remembered(NamedTuple):
    """`otherwise`: why they are left out when they are."""

    thresholds: GuardThresholds | None
    weights: str
    otherwise: str


def remember(model: Any, source: str) -> None:
    """Note the thresholds that lie where a model was loaded from, and its weights; or why they do not belong to it."""
    if not is_guarded(model):
        return
    core = unwrap(model)
    try:
        thresholds = load_thresholds(source, labels_of(core))
    except InputError as error:
        core.__dict__[_REMEMBERED] = _Remembered(None, "", error.problem)
        return
    if thresholds is not None:
        core.__dict__[_REMEMBERED] = _Remembered(thresholds, fingerprint(core), "the model changed since it was loaded")


def forget(model: Any) -> None:
    """The model is about to be trained: it has no thresholds any more."""
    unwrap(model).__dict__.pop(_REMEMBERED, None)


def remembered(model: Any) -> GuardThresholds | None:
    """The thresholds that still hold: those of its folder while the model is as it was loaded."""
    core = unwrap(model)
    held: _Remembered | None = core.__dict__.get(_REMEMBERED)
    same = held is not None and held.thresholds is not None and fingerprint(core) == held.weights
    return held.thresholds if held is not None and same else None


def keep(thresholds: GuardThresholds | None, model: Any, folder: Path) -> None:
    """Write into the saved model's folder the thresholds that were `remembered` when saving began.

    Where the model had some that do not hold, none stay in the folder, and a warning says why.
    """
    held: _Remembered | None = unwrap(model).__dict__.get(_REMEMBERED)
    if thresholds is not None:
        save_thresholds(dataclasses.replace(thresholds, head=head_digest(str(folder))), folder)
    elif held is not None:
        (folder / FILE).unlink(missing_ok=True)
        warnings.warn(
            f"{folder}: saved without {FILE} ({held.otherwise}); choose thresholds anew with holisafe guard thresholds",
            Notice,
            stacklevel=3,
        )


@torch.no_grad()
def fingerprint(model: Any) -> str:
    """Digest of the head, of both ends of every other weight, and of their names; not of a weight that is elsewhere
    (on the meta device)."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values = parameter.detach().reshape(-1)
        if not values.is_meta:
            ends = values if HEAD in name else torch.cat([values[:SAMPLED], values[-SAMPLED:]])
            digest.update(name.encode() + ends.to("cpu", torch.float64).numpy().tobytes())
    return digest.hexdigest()
