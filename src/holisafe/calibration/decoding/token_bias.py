"""How tuning moved the first tokens of every answer, whatever was asked; and taking that off while a model answers.

    contexts   user: w1 w2 ... wn     answer: y1 y2 ... yL       words drawn at random: they say nothing of safety
    b_i(v)   = mean over contexts of  log p_aligned(v | context, y<i) - log p_reference(v | context, y<i)    [L, V]
    answering: logits of the i-th token - s b_i,  i < L

Source: token-level safety-debiased inference (TSDI, arXiv 2502.02153, equation 7). The paper leaves open whether logits
or log-probabilities are meant, how many prompts and how long: log-probabilities here, the rest are options.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import LogitsProcessor

from ...errors import InputError
from ...guard import is_guarded
from ...guard.attach import unwrap
from ...guard.calls import only_read
from ...records import Message, Picture, Request
from ...specs import typed_path
from ...tables import read_text
from ..activation.hooks import told_of_prompts

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...targets.huggingface import HuggingFaceTarget
    from ...targets.huggingface_inside import Passage

    Bias = npt.NDArray[np.float32]

NEUTRAL = Picture("neutral", lambda: Image.new("RGB", (336, 336), "grey"))
"""The picture that says nothing."""


class Context(NamedTuple):
    """A question and the beginning of an answer, both without meaning."""

    question: str
    answer: str


def tokens_of(tokenizer: Any, pool: str) -> list[int]:
    """What contexts are drawn from: every ordinary token of the vocabulary that is a whole printable text, or, with the
    path of a text file for `pool`, those of that text as often as they stand there.

    Raises InputError for a file that cannot be read, and where nothing is left.
    """
    if pool == "vocabulary":
        ids: Sequence[int] = range(len(tokenizer))
    else:
        ids = tokenizer(read_text(typed_path(pool)), add_special_tokens=False)["input_ids"]
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    texts = {one: tokenizer.decode([one]) for one in {*ids} - special}
    kept = [one for one in ids if (text := texts.get(one, "")).strip() and text.isprintable()]
    if not kept:
        raise InputError("holds no token to draw from", where=pool)
    return kept


def contexts(tokenizer: Any, pool: str, number: int, length: int, positions: int, seed: int) -> list[Context]:
    """`number` questions of `length` tokens drawn from the pool, and answers of twice `positions`: read again as text,
    some tokens are found to be one."""
    draw, known = random.Random(seed), tokens_of(tokenizer, pool)
    sizes = [(length, 2 * positions)] * number
    return [Context(*(tokenizer.decode(draw.choices(known, k=size)).strip() for size in both)) for both in sizes]


def log_probabilities(
    target: HuggingFaceTarget, model: Any, drawn: Sequence[Context], positions: int, picture: bool
) -> tuple[Tensor, Tensor]:
    """Sums over the contexts of the log-probabilities of each answer token [L, V] in float64, and of how many [L].

    `model` reads what `target` would be asked; an answer with fewer tokens than positions adds to those it has.
    """
    seen = (NEUTRAL,) if picture else ()
    total: Tensor | None = None
    count = torch.zeros(positions, dtype=torch.float64)
    unread = {"do_safety": False} if is_guarded(model) else {}
    inner = unwrap(model)
    for prefill in target.prefills(list(_passages(target, drawn, seen))):
        with torch.inference_mode():
            read = model(**prefill.tensors, **only_read(inner, prefill.width), **unread)
        logits, before = read.logits[:, -prefill.width :], prefill.before
        for row, (first, last) in enumerate(prefill.spans):
            there = min(positions, last - first)
            said = logits[row, first - 1 - before : first - 1 - before + there].float().log_softmax(-1).double().cpu()
            total = torch.zeros(positions, said.shape[1], dtype=torch.float64) if total is None else total
            total[:there] += said
            count[:there] += 1
    if total is None or not count.all():
        raise InputError("the answers drawn have too few tokens: take another pool")
    return total, count


def _passages(target: HuggingFaceTarget, drawn: Sequence[Context], seen: tuple[Picture, ...]) -> Iterator[Passage]:
    for place, one in enumerate(drawn):
        asked = Request(sample_id=str(place), messages=(Message("user", one.question, seen),))
        yield target.passage(asked, one.answer)


class Debias(LogitsProcessor):
    """Subtracts [L, V] from the logits of the first L tokens of what is generated; told of every `generate`."""

    def __init__(self, bias: Bias, strength: float) -> None:
        self.bias, self.prompt = strength * torch.as_tensor(bias), 0

    def start(self, prompt: int | None) -> None:
        """A new `generate` on prompts of so many columns, or the end of one."""
        self.prompt = prompt or 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [B, V] of the next token after `input_ids` [B, S]."""
        position = input_ids.shape[1] - self.prompt
        if position >= len(self.bias):
            return scores
        off = self.bias[position].to(scores.device, scores.dtype)
        scores = scores.clone()
        scores[:, : len(off)] -= off
        return scores


def debiased(model: Any, bias: Bias, strength: float) -> AbstractContextManager[Any]:
    """Within it, every `generate` of the model is debiased."""
    return told_of_prompts(model, Debias(bias, strength))


def most_moved(bias: Bias, decode: Callable[[list[int]], str], number: int = 5) -> list[list[str]]:
    """The tokens that tuning made likelier, by position, the most moved first."""
    return [[decode([int(token)]) for token in np.argsort(-row)[:number]] for row in bias]
