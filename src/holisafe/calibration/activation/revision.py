"""What layer-level and head-level revision share: fit directions for all places, revise a few while answering.

Source: internal activation revision (arXiv 2501.16378). A file holds, for every layer or head,

    directions  [layers, (heads,) width]  unit vectors from the negative class to the positive one
    sigma       [layers(, heads)]         spread of the training activations along them
    accuracy    [layers(, heads)]         a probe's balanced accuracy on the validation pairs

and the revision adds strength * sigma * direction. The paper adds strength * v, without sigma, at layer level; in units
of sigma a strength means alike for every layer and model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from ...errors import InputError
from ...records import Sample
from ...targets.base import Target
from ..base import Calibrated, FitData, Options, local_model, read_options
from ..learned import Learned, load_learned
from . import directions

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget
    from .collect import Level
    from .directions import Array

NAMED = 8
"""How many of the best places a learned file's header names."""


class FitOptions(Options):
    """`contrast`: what is contrasted, see `contrasts`. `direction`: how a vector is made of it. `responses`: the
    model's own answers a query, for contrast=answers."""

    contrast: Literal["answers", "inputs", "modality", "refusals"] = "answers"
    direction: directions.Kind = "mass-mean"
    responses: Annotated[int, Field(ge=1)] = 1


class ReviseOptions(Options):
    """`file`: what was fitted. `strength`: how far along the direction, in units of sigma; a negative one goes the
    other way. `positions`: the prompt's last token, the generated ones, or both."""

    file: str
    strength: Annotated[float, Field(allow_inf_nan=False)]
    positions: Literal["generated", "last_prompt", "both"] = "generated"


class Revision(Calibrated):
    """A target whose activations are shifted while it answers; a level of it says where.

    `chosen` are the places in the file's arrays, `vectors` by layer what is added there.
    """

    method: ClassVar[str]
    level: ClassVar[Level]

    def __init__(self, target: Target, told: dict[str, str], options: ReviseOptions) -> None:
        """Raises InputError where there is no local model, or the file was fitted on one with other shapes."""
        self.model = local_model(target, self.method)
        learned = load_learned(options.file, self.method)
        shape = _shape(self.model, self.level)
        axes = len(shape)
        self.directions, self.sigma = learned.numbers("directions", axes), learned.numbers("sigma", axes - 1)
        if self.directions.shape != shape or self.sigma.shape != shape[:-1]:
            raise InputError(
                f"was fitted on {_spoken(self.directions.shape)}; {self.model.name} has {_spoken(shape)}",
                where=options.file,
            )
        self.chosen = self.choose(learned.numbers("accuracy", axes - 1), options)
        self.strength, self.positions = options.strength, options.positions
        fitted_on = learned.fact("model", dict[str, Any] | None) or {}
        super().__init__(
            target,
            self.method,
            told,
            file=learned.content,
            fitted_on={name: fitted_on.get(name) for name in ("model", "fingerprint")},
            fit=learned.facts.get("fit"),
            strength=self.strength,
            positions=self.positions,
            chosen=[list(place) for place in self.chosen],
        )

    def choose(self, accuracy: Array, options: Any) -> list[tuple[int, ...]]:
        """The places to revise. Raises InputError where the options name none that is there."""
        raise NotImplementedError

    @property
    def vectors(self) -> Mapping[int, Array]:
        """Layer -> what is added there: to its output [H], or to its heads side by side [heads * head_dim]."""
        added = np.zeros_like(self.directions)
        for place in self.chosen:
            added[place] = self.strength * self.sigma[place] * self.directions[place]
        return {layer: added[layer].reshape(-1) for layer in sorted({place[0] for place in self.chosen})}

    def asking(self) -> AbstractContextManager[Any]:
        from .hooks import Shift, revised
        from .structure import heads, structure

        found = structure(self.model.inner)
        modules = found.layers if self.level == "layer" else heads(self.model.inner).projections
        side: Literal["output", "input"] = "output" if self.level == "layer" else "input"
        shifts = [Shift(modules[layer], vector, side) for layer, vector in self.vectors.items()]
        return revised(self.model.inner, found.decoder, shifts, self.positions)

    @classmethod
    def fit(cls, target: Target, data: FitData, options: dict[str, str]) -> Learned:
        """A direction, its sigma and a probe's accuracy for every layer or head: directions from the training pairs,
        accuracies on the validation pairs."""
        chosen = read_options(FitOptions, options, cls.method)
        model = local_model(target, cls.method)
        shape = _shape(model, cls.level)
        train, validation = (
            _read(model, data, samples, cls.level, chosen) for samples in (data.train, data.validation)
        )
        found = np.zeros(shape, np.float32)
        sigma, accuracy = np.zeros(shape[:-1], np.float32), np.zeros(shape[:-1], np.float32)
        for place in np.ndindex(shape[:-1]):
            here = train.at(place)
            unit = directions.direction(here, chosen.direction)
            found[place], sigma[place] = unit, directions.sigma(here, unit)
            accuracy[place] = directions.probe_accuracy(here, validation.at(place))
        best = {_named(place): round(float(accuracy[place]), 4) for place in ranked(accuracy)[:NAMED]}
        facts = {
            "fit": {**chosen.model_dump(), "train": train.counts, "validation": validation.counts},
            "best": best,
        }
        return Learned(cls.method, {"directions": found, "sigma": sigma, "accuracy": accuracy}, facts)


class _Readings:
    """Activations of both classes [N, places ..., width], row i of one belonging to row i of the other if `paired`."""

    def __init__(self, positive: Array, negative: Array, paired: bool) -> None:
        self.positive, self.negative, self.paired = positive, negative, paired
        self.counts = {"positive": len(positive), "negative": len(negative)}

    def at(self, place: tuple[int, ...]) -> directions.Classes:
        here: Any = (slice(None), *place)
        positive, negative = self.positive[here], self.negative[here]
        return directions.Classes(positive, negative, self.paired)


def _read(
    model: HuggingFaceTarget, data: FitData, samples: Sequence[Sample], level: Level, options: FitOptions
) -> _Readings:
    from .collect import activations
    from .contrasts import contrasted

    contrast = contrasted(options.contrast, model, data.benchmark, samples, options.responses)
    positive, negative = (
        activations(model, readings, level, contrast.where) for readings in (contrast.positive, contrast.negative)
    )
    if contrast.pairs:
        mine, others = np.array(contrast.pairs).T
        positive, negative = positive[mine], negative[others]
    return _Readings(positive, negative, bool(contrast.pairs))


def ranked(accuracy: Array) -> list[tuple[int, ...]]:
    """Places by a probe's accuracy, the best first; of equals the earlier."""
    order = np.argsort(-accuracy, axis=None, kind="stable")
    return [tuple(int(number) for number in np.unravel_index(at, accuracy.shape)) for at in order]


def _shape(model: HuggingFaceTarget, level: Level) -> tuple[int, ...]:
    """Of the directions. Raises InputError where the model has no such places."""
    from .structure import heads, structure

    found = structure(model.inner)
    if level == "layer":
        return (len(found.layers), found.width)
    each = heads(model.inner)
    return (len(found.layers), each.number, each.size)


def _spoken(shape: Sequence[int]) -> str:
    return f"{shape[0]} layers of " + (f"width {shape[1]}" if len(shape) == 2 else f"{shape[1]} heads of {shape[2]}")


def _named(place: tuple[int, ...]) -> str:
    return f"layer {place[0]}" + (f" head {place[1]}" if len(place) == 2 else "")
