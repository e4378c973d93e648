"""Read images with a model's guard alone: one prefill a batch, nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import islice, repeat
from typing import Any, TypeVar

import torch
from PIL.Image import Image

from ..errors import InputError
from ..records import GuardReading
from .attach import labels_of, unwrap
from .conversation import Asked, image_batch, image_prompt
from .errors import LIBRARY_ERRORS

QUESTION = "What is in this image?"
"""Stands after the image, as a question would. A causal decoder's image positions do not see it."""

Item = TypeVar("Item")
Reading = TypeVar("Reading")


def predict(
    model: Any,
    processor: Any,
    images: Iterable[Image],
    *,
    texts: Iterable[Asked] | None = None,
    batch_size: int = 8,
    temperature: float = 1.0,
) -> Iterator[GuardReading]:
    """The guard's reading of each image (RGB), in their order; `images` is consumed a batch at a time.

    texts       what is asked about each image, or the whole conversation that it is shown in, to the user's last turn;
                QUESTION where not given. Only a guard that pools text positions, or text before the image, sees it
    temperature divides the logits; see `thresholds`

    Raises InputError when the processor cannot take an image, or shows the model none.
    """
    labels = labels_of(model)
    for row in read_logits(model, processor, images, texts=texts, batch_size=batch_size):
        yield reading_of(labels, row, temperature)


def reading_of(labels: Sequence[str], logits: Sequence[float], temperature: float = 1.0) -> GuardReading:
    """The probabilities of K labels from their logits, in double precision and uncut: a sure guard's 1 - P(safe) would
    else be 0 for image after image, and order none of them."""
    probabilities = torch.tensor(logits, dtype=torch.float64).div(temperature).softmax(dim=-1).tolist()
    return GuardReading(probabilities=dict(zip(labels, probabilities, strict=True)))


def read_logits(
    model: Any,
    processor: Any,
    images: Iterable[Image],
    *,
    texts: Iterable[Asked] | None = None,
    batch_size: int = 8,
) -> Iterator[list[float]]:
    """The guard's K logits for each image, as `predict` reads them."""
    core = unwrap(model)
    prompt = cache(partial(image_prompt, processor))  # most of many pictures are asked the same
    prompts = map(prompt, repeat(QUESTION) if texts is None else texts)
    remaining = iter(images)
    while batch := list(islice(remaining, batch_size)):
        inputs = image_batch(processor, core, list(islice(prompts, len(batch))), batch)
        with torch.inference_mode():
            output = model(**inputs, do_safety="alone")
        if not output.img_safety_valid.all():
            raise InputError("the processor put no image token into the prompt, so the guard has nothing to read")
        yield from output.img_safety_logits.float().tolist()


def each_or_fault(
    read: Callable[[Sequence[Item]], Sequence[Reading]], items: Iterable[Callable[[], Item]], batch_size: int
) -> Iterator[Reading | InputError]:
    """Open and read items in batches; where an item cannot be opened or read there stands the reason instead.

    A batch that fails is read again one by one, so that one image harms no other.
    """
    remaining = iter(items)
    while batch := list(islice(remaining, batch_size)):
        opened: list[Item | InputError] = []
        for open_item in batch:
            try:
                opened.append(open_item())
            except InputError as fault:
                opened.append(fault)
        good = [item for item in opened if not isinstance(item, InputError)]
        readings = iter(_read_apart(read, good))
        yield from (item if isinstance(item, InputError) else next(readings) for item in opened)


def _read_apart(
    read: Callable[[Sequence[Item]], Sequence[Reading]], items: Sequence[Item]
) -> Sequence[Reading | InputError]:
    if not items:
        return []
    try:
        return read(items)
    except (InputError, *LIBRARY_ERRORS) as error:
        if len(items) == 1:
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            return [InputError(f"cannot be read ({said})")]
    return [reading for item in items for reading in _read_apart(read, [item])]
