"""Read images with a model's guard alone: one prefill a batch, nothing is generated."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from PIL.Image import Image

from ..errors import InputError
from ..records import GuardReading, Message, Picture
from .attach import labels_of, unwrap
from .conversation import encode, prompt_text
from .errors import one_line

QUESTION = "What is in this image?"
"""Stands after the image, as a question would. A causal decoder's image positions do not see it."""


def predict(model: Any, processor: Any, images: Iterable[Image], *, batch_size: int = 8) -> Iterator[GuardReading]:
    """The guard's reading of each image (RGB), in their order; `images` is consumed a batch at a time."""
    labels = labels_of(model)
    core = unwrap(model)
    options: dict[str, Any] = {"do_safety": True, "use_cache": False}
    if "logits_to_keep" in inspect.signature(core.forward).parameters:
        options["logits_to_keep"] = 1  # the language model's answer is not wanted: spare its widest layer
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    # Only the prompt's text is wanted here, so the picture is never opened.
    with one_line("the model's processor", "cannot take an image"):
        text = prompt_text(processor, [Message("user", QUESTION, (Picture("image", open=Image),))])
    remaining = iter(images)
    while batch := list(islice(remaining, batch_size)):
        with one_line("the model's processor", "cannot take an image"):
            inputs = encode(processor, [text] * len(batch), [[image] for image in batch], side="left")
        with torch.inference_mode():
            output = model(**_placed(inputs, core), **options)
        if not output.img_safety_valid.all():
            raise InputError("the processor put no image token into the prompt, so the guard has nothing to read")
        for row in output.img_safety_probs.tolist():
            yield GuardReading(probabilities=dict(zip(labels, row, strict=True)))


def _placed(inputs: dict[str, torch.Tensor], model: Any) -> dict[str, torch.Tensor]:
    """On the model's device, pixels in its dtype."""
    return {
        name: tensor.to(model.device, model.dtype) if tensor.is_floating_point() else tensor.to(model.device)
        for name, tensor in inputs.items()
    }
