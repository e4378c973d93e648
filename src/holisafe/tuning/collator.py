"""Examples -> one training batch: the conversation's tokens, labels on the answer alone, image tensors, guard labels.

      prompt (system, images, query)      answer and end of turn     padding (right)
    [ t  t  i  i  i  i  t  t  t  t  t  |  a   a   a   a   end     |  p   p ]   input_ids
    [ -  -  -  -  -  -  -  -  -  -  -  |  a   a   a   a   end     |  -   - ]   labels (- is -100)

Where ranks work together, a batch without images gets one more row, with an image and nothing to learn: every rank
then runs its vision tower in every micro-batch, without which the others would wait for it for ever.

Every example is prepared by itself, once, and kept within a memory budget; a family that batches in its own way
(images padded to a common size or number) has its processor run on the whole batch instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import InputError
from ..guard.conversation import answer_text, encode, join, plain, prompt_text
from ..guard.head import IGNORED
from ..records import Message, Picture
from ..taxonomy import SAFE
from ..thoughts import THINK, Marks, before_answer
from .examples import UNSAFE, UTILITY, Example
from .safekey import KEY, UNDERSTANDING
from .spans import Spans
from .vision_cache import VisionCache

_GREY = Picture("grey", lambda: Image.new("RGB", (64, 64), "grey"))
REFUSED = {UNSAFE: 1, SAFE: 0, None: -1}
"""What `refused` of a batch says of a pair's label."""

UNLEARNED = Example("unlearned", (Message("user", ".", (_GREY,)),), ".")
"""The row with an image for a batch that has none."""


@dataclass(frozen=True)
class Written:
    """An example as text, image placeholders not yet expanded; its last tokens, `learned`, are the answer's. `places`
    tell of each where in the example's thought its first visible character is, which may be outside of it."""

    text: str
    learned: tuple[int, ...]
    places: tuple[int, ...]


def end_tokens(model: Any, processor: Any) -> frozenset[int]:
    """Ids that end an answer when the model generates."""
    named = (model.generation_config.eos_token_id, processor.tokenizer.eos_token_id)
    return frozenset(
        token for ids in named if ids is not None for token in (ids if isinstance(ids, list | tuple) else (ids,))
    )


def write(processor: Any, example: Example, ends: Iterable[int], marks: Marks = THINK) -> Written:
    """Prompt and answer as text, and the tokens of their joint tokenisation that start within the answer. A thought
    stands before the answer in `marks`, and is learned with it.

    Where the chat template writes no end token after an answer, the tokenizer's own is added, or the model would
    never learn to stop. What a template writes after the end token (ChatML and Gemma: a line break) is left off: the
    model is never asked for it.
    """
    tokenizer = processor.tokenizer
    prompt = prompt_text(processor, example.messages)
    thought = plain(processor, (example.thought or "").strip())
    opened = bool(marks.open) and prompt.rstrip().endswith(marks.open)
    before = before_answer(thought, marks, opened) if thought else ""
    answer = answer_text(processor, example.messages, example.answer, prompt, before)

    def tokens_of_answer(answer: str) -> list[tuple[int, int, int]]:
        """Each token, and where in the answer it ends and its first visible character is."""
        encoded = tokenizer(prompt + answer, add_special_tokens=False, return_offsets_mapping=True)
        pairs = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        within = [(token, start - len(prompt), end - len(prompt)) for token, (start, end) in pairs]
        return [
            (token, end, end - len(answer[start:end].lstrip() or answer[start:end]))
            for token, start, end in within
            if start >= 0
        ]

    stops, learned = frozenset(ends), tokens_of_answer(answer)
    stop = next((place for place, (token, *_) in enumerate(learned) if token in stops), None)
    if stop is None:
        answer += tokenizer.eos_token
        learned = tokens_of_answer(answer)
    elif stop < len(learned) - 1:
        answer, learned = answer[: learned[stop][1]], learned[: stop + 1]
    begin = answer.index(thought)
    return Written(prompt + answer, tuple(one[0] for one in learned), tuple(one[2] - begin for one in learned))


class Collator:
    """Callable on a list of examples; gives what `model.forward` takes.

    `labels` names the guard's classes in order (None: no guard, no `safety_labels`), of images or of `pairs`. With
    a `vision` cache, the image tensors carry look-up numbers instead of pixels. `always_image` adds `UNLEARNED` to
    a batch without images; neither loss nor gradients change, as nothing of it is a label. `pack` makes one row of
    the finished batch (`packing`). With `preferences` a rejected answer gets a row behind the others, and `partner` [R]
    says whose: the row of the chosen one, -1 for rows that are no rejected ones. `reference`, where it is set, holds by
    a row's example what the model scored it before tuning, and is handed on as [2, R].

    Thoughts stand in `marks`. With `spans`, which finds the parts of an example's thought, `spans` [B, L] say which
    tokens are of its understanding and of its key sentence (`safekey`), and `refused` [B] whether a safe model refuses
    the pair: 1, 0, or -1 where that is unknown.
    """

    def __init__(
        self,
        processor: Any,
        *,
        ends: Iterable[int] = (),
        labels: Sequence[str] | None = None,
        pairs: bool = False,
        vision: VisionCache | None = None,
        cache_bytes: int = 2**30,
        always_image: bool = False,
        pack: Callable[[dict[str, Tensor]], dict[str, Any]] | None = None,
        preferences: bool = False,
        marks: Marks = THINK,
        spans: Callable[[Example], Spans | str] | None = None,
    ) -> None:
        self.marks, self.spans = marks, spans
        self.preferences, self._rejected = preferences, dict[int, tuple[Example, Example]]()
        self.reference: dict[int, tuple[float, float]] | None = None
        self.always_image, self.pack = always_image, pack
        self.processor, self.ends, self.vision, self.pairs = processor, frozenset(ends), vision, pairs
        self.label_ids = {name: place for place, name in enumerate(labels)} if labels is not None else None
        self.room = cache_bytes
        self._kept: dict[int, tuple[Example, Written, dict[str, Tensor]]] = {}

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Tensors of a batch: input_ids, attention_mask, labels [B, L], safety_labels [B], the processor's others; when
        packed, one row of all."""
        examples, partner = self.with_rejected(examples)
        imageless = self.always_image and not any(example.pictures for example in examples)
        if imageless:
            examples, partner = [*examples, UNLEARNED], [*partner, -1]
        prepared = [self._prepare(example) for example in examples]
        pad = self.processor.tokenizer.pad_token_id
        batch = join([tensors for _, _, tensors in prepared], pad_token=pad, side="right")
        if batch is None:
            batch = self._together(examples, [written for _, written, _ in prepared])
        if imageless:
            batch["labels"][-1] = IGNORED
        if self.label_ids is not None:
            batch["safety_labels"] = torch.tensor([self.label_id(example) for example in examples])
        if self.spans is not None:
            batch["refused"] = torch.tensor([REFUSED[example.pair_label] for example in examples])
        if self.preferences:
            batch["partner"] = torch.tensor(partner)
        if self.reference is not None:
            batch["reference"] = torch.tensor([self.reference.get(id(one), (0.0, 0.0)) for one in examples]).T
        return batch if self.pack is None else self.pack(batch)

    def with_rejected(self, examples: Sequence[Example]) -> tuple[list[Example], list[int]]:
        """The rows of a batch: the examples, and behind them the rejected answers of those that have one, each as an
        example without labels; and each row's partner."""
        rows, partner = list(examples), [-1] * len(examples)
        for place, one in enumerate(examples if self.preferences else ()):
            if one.rejected is not None:
                if id(one) not in self._rejected:
                    worse = replace(one, answer=one.rejected, image_label=None, kind=UTILITY, expected=None)
                    self._rejected[id(one)] = (one, worse)
                rows.append(self._rejected[id(one)][1])
                partner.append(place)
        return rows, partner

    def label_id(self, example: Example) -> int:
        """The guard's class of an example, or of its pair, -100 where it has no image or no label.

        Raises InputError for a label that the guard does not have.
        """
        label = example.pair_label if self.pairs else example.image_label
        if label is None or not example.pictures or self.label_ids is None:
            return IGNORED
        if label not in self.label_ids:
            raise InputError(
                f"{example.id!r} is labelled {label!r}, which the guard does not have", where=example.source
            )
        return self.label_ids[label]

    def _prepare(self, example: Example) -> tuple[Example, Written, dict[str, Tensor]]:
        """The example's own tensors [1, ...], from memory where they were kept."""
        if id(example) in self._kept:
            return self._kept[id(example)]
        written = write(self.processor, example, self.ends, self.marks)
        images = [picture.open() for picture in example.pictures]
        tensors = encode(self.processor, [written.text], [images], side="right")
        tensors["labels"] = _mask(tensors, [written], [example])
        if self.spans is not None:
            tensors["spans"] = self._spans(tensors["labels"], [written], [example])
        if self.vision is not None:
            tensors = self.vision.admit(tensors)
        size = sum(value.nbytes for value in tensors.values())
        entry = (example, written, tensors)
        if self.vision is not None or size <= self.room:  # looked-up images must keep their numbers
            self.room -= size
            self._kept[id(example)] = entry
        return entry

    def _together(self, examples: Sequence[Example], written: Sequence[Written]) -> dict[str, Tensor]:
        """The processor on the whole batch."""
        if self.vision is not None:
            raise InputError("this family batches images in its own way: set cache_vision to false", where="recipe")
        images = [[picture.open() for picture in example.pictures] for example in examples]
        batch = encode(self.processor, [one.text for one in written], images, side="right")
        batch["labels"] = _mask(batch, written, examples)
        if self.spans is not None:
            batch["spans"] = self._spans(batch["labels"], written, examples)
        return batch

    def _spans(self, labels: Tensor, written: Sequence[Written], examples: Sequence[Example]) -> Tensor:
        """[B, L]: of each token with a label, what part of the thought it is of."""
        assert self.spans is not None
        marked = torch.zeros_like(labels)
        for row, (one, example) in enumerate(zip(written, examples, strict=True)):
            found = self.spans(example)
            if isinstance(found, Spans):
                places = torch.tensor(one.places)
                understood, key = places < found.understanding, places < found.key
                parts = torch.where(understood, UNDERSTANDING, torch.where(key, KEY, 0))
                marked[row, labels[row] != IGNORED] = parts * (places >= 0)
        return marked


def _mask(batch: dict[str, Tensor], written: Sequence[Written], examples: Sequence[Example]) -> Tensor:
    """Labels [B, L]: each row's answer, which its real tokens end with; everything else ignored.

    Raises InputError where a processor puts something else at the end.
    """
    labels = torch.full_like(batch["input_ids"], IGNORED)
    for row, (one, example) in enumerate(zip(written, examples, strict=True)):
        end = int(batch["attention_mask"][row].sum())
        answer = batch["input_ids"][row, end - len(one.learned) : end]
        if tuple(answer.tolist()) != one.learned:
            raise InputError(f"{example.id!r}: its tokens do not end with the answer's", where=example.source)
        labels[row, end - len(one.learned) : end] = answer
    return labels
