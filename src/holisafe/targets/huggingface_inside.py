"""Looking inside a local model: conversations as batches for one forward, and how likely the model finds their words.

Mixed into `HuggingFaceTarget`; what methods of calibration and SafeGround's metrics are built on. Nothing is generated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..errors import InputError
from ..records import Request

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Value = TypeVar("Value")

SEES_AHEAD = ("paligemma",)
"""Families whose prompt tokens attend to later ones: what they hold of a prompt's own text is no likelihood."""


@dataclass(frozen=True)
class Passage:
    """A conversation as text with its images, and which of its characters are meant: those of [start, stop), all of
    them after the last image."""

    text: str
    images: list[Image]
    start: int
    stop: int


@dataclass(frozen=True)
class Prefill:
    """Passages ready for one forward, padded on the left: which they are, their tensors, and where the meant tokens of
    each stand: [first, last + 1). The token before `first` is the last that goes before them."""

    places: list[int]
    tensors: dict[str, Tensor]
    spans: list[tuple[int, int]]

    @property
    def before(self) -> int:
        """How many columns nobody needs: those before the token that goes before the first meant one of any row."""
        return min(first for first, _ in self.spans) - 1

    @property
    def width(self) -> int:
        """How many columns are left."""
        return self.tensors["input_ids"].shape[1] - self.before


class Inside:
    """What a local target offers besides answers. `batch_size` conversations are read together."""

    name: str
    model: Any
    processor: Any
    inner: Any
    labels: tuple[str, ...] | None
    batch_size: int

    def _joined(
        self, rows: Sequence[dict[str, Tensor]], written: Sequence[tuple[str, list[Image]]]
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def passage(self, request: Request, answer: str = "") -> Passage:
        """The request, answered so; meant is the answer with its end of turn, or without one nothing at the end."""
        from ..guard.conversation import answer_text, prompt_text

        prompt = prompt_text(self.processor, request.messages)
        text = prompt + answer_text(self.processor, request.messages, answer, prompt) if answer else prompt
        images = [picture.open() for message in request.messages for picture in message.pictures]
        return Passage(text, images, len(prompt), len(text))

    def prefills(self, passages: Sequence[Passage]) -> Iterator[Prefill]:
        """The passages in batches of alike lengths, for whoever looks inside the model. A bad image raises."""
        from ..guard.conversation import encode, tokens_between

        rows = [encode(self.processor, [one.text], [one.images], side="left") for one in passages]
        order = sorted(range(len(rows)), key=lambda at: (len(passages[at].images), rows[at]["input_ids"].shape[1]))
        while order:
            images = len(passages[order[0]].images)
            places = [at for at in order[: self.batch_size] if len(passages[at].images) == images]
            del order[: len(places)]
            chosen = [passages[at] for at in places]
            tensors = self._joined([rows[at] for at in places], [(one.text, one.images) for one in chosen])
            length = tensors["input_ids"].shape[1]
            ends = [tokens_between(self.processor, one.text, one.start, one.stop) for one in chosen]
            yield Prefill(places, tensors, [(length - first, length - last) for first, last in ends])

    def log_likelihoods(self, requests: Sequence[Request], texts: Sequence[str]) -> list[float | InputError]:
        """As `targets.base.LikelihoodTarget` says. A batch that fails is read again one by one."""
        wanted = [partial(self.text_passage, *both) for both in zip(requests, texts, strict=True)]
        return self._each_or_fault(wanted, self.mean_log_likelihoods)

    def each_or_none(
        self, requests: Sequence[Request], read: Callable[[Prefill], Iterable[Value]]
    ) -> list[Value | None]:
        """As `each`, of the requests unanswered; None for one that cannot be prepared or read."""
        from ..guard.quiet import quiet

        with quiet():
            found = self._each_or_fault([partial(self.passage, one) for one in requests], partial(self.each, read=read))
        return [None if isinstance(one, InputError) else one for one in found]

    def _each_or_fault(
        self, wanted: Sequence[Callable[[], Passage]], read: Callable[[Sequence[Passage]], Sequence[Value]]
    ) -> list[Value | InputError]:
        from ..guard.errors import one_line
        from ..guard.predict import each_or_fault

        def opened(opener: Callable[[], Passage]) -> Passage:
            with one_line(self.name, "cannot take the request"):
                return opener()

        return list(each_or_fault(read, [partial(opened, one) for one in wanted], max(1, len(wanted))))

    def each(self, passages: Sequence[Passage], read: Callable[[Prefill], Iterable[Value]]) -> list[Value]:
        """What `read` makes of each passage, of which it is given those that are read together."""
        import torch

        found: dict[int, Value] = {}
        with torch.inference_mode():
            for prefill in self.prefills(passages):
                found |= zip(prefill.places, read(prefill), strict=True)
        return [found[place] for place in range(len(passages))]

    def forward(self, prefill: Prefill, logits: int = 1, do_safety: bool | Literal["alone"] = False) -> Any:
        """One forward that gives the last logits alone, and the guard's opinion where asked for, or nothing else."""
        from ..guard.calls import only_read

        guard = {} if self.labels is None else {"do_safety": do_safety}
        return self.model(**prefill.tensors, **only_read(self.inner, logits), **guard)

    def text_passage(self, request: Request, text: str) -> Passage:
        """The request unanswered; meant is `text` where it stands in the last user turn.

        The turn's place in the prompt is what changes with it: the same conversation with another turn, one sign that
        differs from the turn's first and last, has all before and all after in common. Raises InputError when the turn
        does not hold the text exactly once, or an image cannot be opened.
        """
        from ..guard.conversation import prompt_text

        whole = self.passage(request)
        last = max(at for at, message in enumerate(request.messages) if message.role == "user")
        turn, text = request.messages[last].text.strip(), text.strip()
        if not text or turn.count(text) != 1:
            raise InputError(f"the text stands {turn.count(text) if text else 0} times in its turn, not once")
        sign = next(sign for sign in "xyz" if sign not in (turn[0], turn[-1]))
        messages = (*request.messages[:last], replace(request.messages[last], text=sign), *request.messages[last + 1 :])
        other = prompt_text(self.processor, messages)
        start, stop = _in_common(whole.text, other), len(whole.text) - _in_common(whole.text[::-1], other[::-1])
        if text != turn:
            start = whole.text.find(text, start, stop)
            stop = start + len(text)
        if start < 0 or stop <= start:
            raise InputError("the text does not stand in the prompt as it was given")
        return replace(whole, start=start, stop=stop)

    def mean_log_likelihoods(self, passages: Sequence[Passage]) -> list[float]:
        """The mean log-probability of the meant tokens of each passage. Raises InputError where none is meant."""

        def read(prefill: Prefill) -> Iterator[float]:
            ids = prefill.tensors["input_ids"]
            logits, before = self.forward(prefill, prefill.width).logits[:, -prefill.width :], prefill.before
            for row, (first, last) in enumerate(prefill.spans):
                if last <= first:
                    raise InputError("no token begins within the text")
                said = logits[row, first - 1 - before : last - 1 - before].float().log_softmax(-1)
                yield float(said.gather(1, ids[row, first:last, None]).double().mean())

        return self.each(passages, read)


def _in_common(one: str, other: str) -> int:
    """How many signs both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (sign, its) in pairs if sign != its), min(len(one), len(other)))
