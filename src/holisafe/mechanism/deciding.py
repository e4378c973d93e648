"""Where an answer is decided, in models that describe a picture before they decide.

    word   what the tuned model says most often where it first leaves the base's own answer to an unsafe pair
    place  of any pair: where in the base's answer the tuned model finds that word the likeliest

So a pair whose answer tuning left alone has a place too: where it would have been refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError

if TYPE_CHECKING:
    from ..targets.huggingface import HuggingFaceTarget
    from ..targets.huggingface_inside import Passage, Prefill


class Decided(NamedTuple):
    """The word's token, and of every passage how many tokens of its answer stand before the place."""

    word: int
    places: list[int]


def decided(tuned: HuggingFaceTarget, passages: Sequence[Passage], unsafe: Sequence[bool], positions: int) -> Decided:
    """The word and the places of requests with the base's answers, within their first `positions` tokens.

    Raises InputError where the tuned model leaves none of the answers to unsafe pairs.
    """

    def turns(prefill: Prefill) -> Iterator[int | None]:
        """The tuned model's token where it first says another than is given."""
        for said, logits in _answers(tuned, prefill, positions):
            other = logits.argmax(-1)
            parted = (other != said).nonzero().flatten().tolist()
            yield int(other[parted[0]]) if parted else None

    often = Counter(
        token
        for token, harmful in zip(tuned.each(passages, turns), unsafe, strict=True)
        if harmful and token is not None
    )
    if not often:
        raise InputError(f"{tuned.name} answers no unsafe pair otherwise than its base within {positions} tokens")
    word = min(often, key=lambda token: (-often[token], token))

    def likeliest(prefill: Prefill) -> Iterator[int]:
        for _, logits in _answers(tuned, prefill, positions):
            yield int(logits.float().log_softmax(-1)[:, word].argmax())

    return Decided(word, tuned.each(passages, likeliest))


def _answers(target: HuggingFaceTarget, prefill: Prefill, positions: int) -> Iterator[tuple[Any, Any]]:
    """Of each row the first tokens of its answer [P], and the logits of what would come in their places [P, V]."""
    width, before, ids = prefill.width, prefill.before, prefill.tensors["input_ids"]
    logits = target.forward(prefill, width).logits[:, -width:]
    for row, (first, last) in enumerate(prefill.spans):
        stop = min(last, first + positions)
        yield ids[row, first:stop], logits[row, first - 1 - before : stop - 1 - before]
