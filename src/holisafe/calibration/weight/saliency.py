"""Which weights serve unsafe inputs: the scores of Unsafe Weights Manipulation (arXiv 2503.11742, eq. 8 to 11).

A sample's score of weight ij is a number of row i times a number of column j, and so is the ratio of two samples':

    saliency_ij / (d_j + 1e-8) = b_i * a_j / (d_j + 1e-8)      a_j = n_j mean_i |W_ij|,  b_i = mean_j |W_ij| n_j

So a sample leaves two vectors a layer behind, and the mean over pairs is one product of matrices. Nothing as large as
the weights is kept but the score of the layer at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ...guard.attach import unwrap
from ...guard.calls import only_read
from ...records import Request

if TYPE_CHECKING:
    from ...targets.huggingface import HuggingFaceTarget

EPSILON = 1e-8


@dataclass(frozen=True)
class Inputs:
    """What went into a layer, sample by sample, over its tokens: L2 norms n and standard deviations d [samples, in],
    float64. The deviation is the sample's, with tokens - 1 in its denominator, and 0 where there is one token."""

    norms: Tensor
    deviations: Tensor

    def __getitem__(self, samples: Sequence[int]) -> Inputs:
        return Inputs(self.norms[samples], self.deviations[samples])


@dataclass
class _Tokens:
    """Running count, mean, sum of squared deviations and sum of squares [in] over the tokens of one sample."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    spread: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, rows: Tensor) -> None:
        """Take in tokens [tokens, in], merged as Chan et al. (1983) do, which keeps a constant input's spread at 0."""
        if not len(rows):
            return
        rows = rows.double()
        mean = rows.mean(0)
        spread, total = (rows - mean).square().sum(0), self.count + len(rows)
        apart = mean - self.mean.to(mean.device)
        self.spread = self.spread.to(mean.device) + spread + apart.square() * (self.count * len(rows) / total)
        self.mean = self.mean.to(mean.device) + apart * (len(rows) / total)
        self.squares = self.squares.to(mean.device) + rows.square().sum(0)
        self.count = total


@torch.inference_mode()
def input_statistics(
    model: Any, layers: Mapping[str, nn.Linear], conversations: Iterable[Mapping[str, Tensor]]
) -> dict[str, Inputs]:
    """What goes into each layer while the model reads each conversation (batches of one, on the model's device).

    One at a time, whatever a layer sees is that one sample's: also in vision towers, which lay the patches, windows or
    tiles of all images in a batch end to end. Where the input is the text sequence, its padding is left out. Raises
    InputError when a layer is not called, such as an expert that no token goes to.
    """
    options = only_read(unwrap(model))
    norms: dict[str, list[Tensor]] = {name: [] for name in layers}
    deviations: dict[str, list[Tensor]] = {name: [] for name in layers}
    for conversation in conversations:
        with _listening(layers, conversation.get("attention_mask")) as heard:
            model(**conversation, **options)
        for name, tokens in heard.items():
            if not tokens.count:
                raise InputError(f"{name} is not called, or not as a layer, when the model reads a pair")
            norms[name].append(tokens.squares.sqrt().cpu())
            deviations[name].append((tokens.spread / max(1, tokens.count - 1)).sqrt().cpu())
    return {name: Inputs(torch.stack(norms[name]), torch.stack(deviations[name])) for name in layers}


@contextmanager
def _listening(layers: Mapping[str, nn.Linear], mask: Tensor | None) -> Iterator[dict[str, _Tokens]]:
    heard = {name: _Tokens() for name in layers}

    def hear(tokens: _Tokens) -> Any:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            rows = given[0]
            real = rows[mask.bool()] if mask is not None and rows.shape[:-1] == mask.shape else rows
            tokens.add(real.reshape(-1, rows.shape[-1]))

        return hook

    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.enter_context(layer.register_forward_pre_hook(hear(heard[name])))
        yield heard


def read_inputs(
    target: HuggingFaceTarget, layers: Mapping[str, nn.Linear], requests: Iterable[Request]
) -> dict[str, Inputs]:
    """`input_statistics` of requests as the target is asked them. Raises InputError where one cannot be prepared."""

    def conversations() -> Iterator[Mapping[str, Tensor]]:
        for request in requests:
            for prefill in target.prefills([target.passage(request)]):
                yield prefill.tensors

    return input_statistics(target.model, layers, conversations())


def unsafe_scores(weight: Tensor, safe: Inputs, unsafe: Inputs, times_weight: bool = False) -> Tensor:
    """The score (eq. 10) of each weight [out, in], float64: the mean over pairs of the unsafe sample's score over the
    safe one's. Row k of `safe` and `unsafe` is pair k.

    Where the safe score is 0 there is no ratio; the pair then adds 0 to the mean. With `times_weight` the mean is
    multiplied by |W_ij|, as the authors' code does for a text encoder, and for no other.
    """
    size = weight.detach().double().abs()
    rows, columns = (
        _ratio(above, below) for above, below in zip(_sides(size, unsafe), _sides(size, safe), strict=True)
    )
    scores = rows.T @ columns / len(rows)
    return scores * size if times_weight else scores


def _sides(size: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """b_i [samples, out] and a_j / (d_j + EPSILON) [samples, in] (eq. 8 and 9) for |W| = `size` [out, in]."""
    norms, deviations = inputs.norms.to(size.device), inputs.deviations.to(size.device)
    return norms @ size.T / size.shape[1], norms * size.mean(0) / (deviations + EPSILON)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below, 0.0)


def marked_weights(scores: Tensor, tau: float) -> Tensor:
    """Flat indices, ascending, of the weights that eq. 11 marks: with scores made to sum to 1 and sorted ascending,
    those at which their cumulative sum is above `tau`: the highest scores, 1 - tau of all score together."""
    flat = scores.flatten().double()
    if not flat.sum() > 0:
        return torch.zeros(0, dtype=torch.int64)
    values, order = torch.sort(flat / flat.sum(), stable=True)
    return order[values.cumsum(0) > tau].sort().values.cpu()
