"""What is in force while a batch of conversations is decoded: sampling, who watches the answers grow, and the words
that they may begin with. `huggingface.py` decodes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import InputError
from ..records import GenerationSettings, Request

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class Prepared:
    """A request made ready by itself: its prompt with image placeholders, its open images, its tensors [1, ...]."""

    request: Request
    prompt: str
    images: list[Image]
    tensors: dict[str, Tensor]

    @property
    def kind(self) -> tuple[Any, ...]:
        """Requests decoded together share settings and their number of images, and are alike in length."""
        settings = self.request.settings
        told = (settings.max_new_tokens, settings.temperature, settings.seed, settings.reasoning_tokens)
        return (*told, str(settings.reasoning), len(self.images), self.request.first_words)

    @property
    def length(self) -> int:
        return int(self.tensors["input_ids"].shape[1])


Watch = Callable[[Request, Sequence[int]], bool]
"""What is told the tokens of each answer so far, one by one, and whether it is to end there: for who serves it."""


class Contrasting(Protocol):
    """A logits processor for conversations decoded beside another wording of each, in as many rows below them."""

    reworded: Callable[[Request], Request]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """The same logits for both, from `scores` [2B, V] of the next token."""


def bounded(settings: GenerationSettings) -> bool:
    """Whether thoughts are held to a number of tokens."""
    return settings.reasoning == "on" and bool(settings.reasoning_tokens)


def sampling(batch: Sequence[Prepared]) -> Any:
    """Plain sampling at a temperature as a logits processor, by the Gumbel-max rule: greedy over logits / T + noise.

    Each row draws from its own generator, seeded with the seed and the sample's id, so that a sample's answer depends
    neither on its neighbours nor on where a run was resumed.
    """
    import torch
    from transformers import LogitsProcessor

    temperature = batch[0].request.settings.temperature
    generators = []
    for item in batch:
        asked, repeat = item.request, f"\n{item.request.repeat}" if item.request.repeat else ""
        seed = hashlib.sha256(f"{asked.settings.seed}\n{asked.sample_id}{repeat}".encode()).digest()[:8]
        generators.append(torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1))

    class Gumbel(LogitsProcessor):
        def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
            uniform = torch.stack([torch.rand(scores.shape[-1], generator=own) for own in generators])
            noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
            return scores.float() / temperature + noise.to(scores.device)

    return Gumbel()


def watching(batch: Sequence[Prepared], before: int, watch: Watch) -> Any:
    """A stopping criterion by which each answer that `watch` says so of ends by itself; answers begin behind so many
    tokens."""
    import torch
    from transformers import StoppingCriteria, StoppingCriteriaList

    class Watching(StoppingCriteria):
        def __call__(self, input_ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
            own = input_ids[:, before:] if input_ids.shape[1] >= before else input_ids
            told = zip(batch, own[: len(batch)].tolist(), strict=True)
            ended = [watch(item.request, row) for item, row in told] * (len(own) // len(batch))
            return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([Watching()])


def first_words(tokenizer: Any, words: Sequence[str], logits: Tensor) -> list[dict[str, float]]:
    """For every row of logits [B, V] of an answer's first token: word -> the probability that it begins the answer.

    A word's tokens are those of its spellings, with and without a space before it, that are one token; of a word that
    is longer the first token stands for it. Raises InputError where two words begin with the same token.
    """
    import torch

    begins: dict[int, str] = {}
    tokens: dict[str, list[int]] = {}
    for word in dict.fromkeys(words):
        spelt = [tokenizer.encode(spelling, add_special_tokens=False) for spelling in (word, f" {word}")]
        tokens[word] = sorted({ids[0] for ids in spelt if len(ids) == 1} or {spelt[0][0]})
        for token in tokens[word]:
            if begins.setdefault(token, word) != word:
                raise InputError(f"the tokenizer begins {begins[token]!r} and {word!r} with the same token")
    found = logits.double().softmax(dim=-1)
    columns = {word: found[:, torch.tensor(ids)].sum(dim=-1).tolist() for word, ids in tokens.items()}
    return [{word: column[row] for word, column in columns.items()} for row in range(len(found))]
