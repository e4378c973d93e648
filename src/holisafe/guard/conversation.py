"""How a conversation becomes what a processor and its model take: the text of the prompt, then tensors.

One place for asking (targets) and for training (tuning), so that a model is trained on the tokens it is asked with.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from PIL.Image import Image
from torch import Tensor

from ..records import Message, Picture
from .bounded import render
from .errors import GuardError, one_line
from .meta_token import meta_token_of

SEQUENCES = {
    "input_ids": None,
    "attention_mask": 0,
    "token_type_ids": 0,
    "mm_token_type_ids": 0,
    "labels": -100,
    "spans": 0,
}
"""Tensors with one value a token -> what they are padded with (None: the tokenizer's pad token)."""


def prompt_text(processor: Any, messages: Sequence[Message], **told: Any) -> str:
    """The prompt as text, image placeholders included, up to where the model's answer starts. `told` is what the chat
    template is told besides.

    Placeholders and other control tokens inside a message's text are broken up, so that data cannot write turns or
    images. A template without room for a system prompt gets it at the head of the first user turn; a processor
    without a chat template gets placeholders and texts line by line. A processor that knows the Safety Meta Token gets
    it after the pictures of every message that has any.
    Raises GuardError when the template fails or loses text, InputError when it goes beyond its limits.
    """
    messages = [_plain(processor, message) for message in messages]
    after = meta_token_of(processor)
    if not getattr(processor, "chat_template", None):
        token = getattr(processor, "image_token", "")
        pictures = [str(token) * len(message.pictures) + after * bool(message.pictures) for message in messages]
        return "\n".join(one + message.text for one, message in zip(pictures, messages, strict=True)) + "\n"
    said = ""
    for turns in (_listed(messages, after), _written(messages, after), _listed(_folded(messages), after)):
        try:
            text = render(processor, turns, add_generation_prompt=True, **told)
        except TemplateError as error:
            said = f" ({error})"
            continue
        if all(message.text.strip() in text for message in messages) and "'type': 'text'" not in text:
            return text
    name = processor.tokenizer.name_or_path or None
    raise GuardError(f"the chat template does not render this conversation whole{said}", where=name)


def answer_text(processor: Any, messages: Sequence[Message], answer: str, prompt: str, before: str = "") -> str:
    """What follows `prompt`, which `prompt_text` gave, when the model answers so, with the template's end of turn where
    it writes one. `before` stands in front of the answer as it is: a thought in its marks."""
    said = [_plain(processor, message) for message in messages]
    said.append(Message("assistant", before + plain(processor, answer)))
    if getattr(processor, "chat_template", None):
        after = meta_token_of(processor)
        for turns in (_listed(said, after), _written(said, after), _listed(_folded(said), after)):
            try:
                text = render(processor, turns)
            except TemplateError:
                continue
            if text.startswith(prompt) and said[-1].text.strip() in text[len(prompt) :]:
                return text[len(prompt) :]
    return said[-1].text


def tokens_between(processor: Any, text: str, start: int, stop: int) -> tuple[int, int]:
    """Which tokens begin in characters [start, stop) of a text: first and last + 1, both counted from its end.

    Counted so, the numbers hold after the processor has put image tokens in place of what stands before them.
    """
    encoded = processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    begins = [begin for begin, _ in encoded["offset_mapping"]]
    return sum(begin >= start for begin in begins), sum(begin >= stop for begin in begins)


def encode(processor: Any, texts: Sequence[str], images: Sequence[Sequence[Image]], *, side: str) -> dict[str, Tensor]:
    """Run the processor on a batch: texts, and each one's images, padded on `side` ("left" to ask, "right" to train).

    Like `apply_chat_template`, adds no second beginning-of-text token where the template already wrote one.
    """
    begin = processor.tokenizer.bos_token
    added = {"add_special_tokens": False} if begin and texts[0].startswith(begin) else {}
    given = {"images": [list(row) for row in images]} if any(images) else {}
    encoded = processor(text=list(texts), **given, padding=True, padding_side=side, return_tensors="pt", **added)
    return {name: value for name, value in encoded.items() if isinstance(value, Tensor)}


Asked = str | tuple[Message, ...]
"""What is asked about one image: a question, or a conversation that has the image in one of its turns."""


def image_prompt(processor: Any, asked: Asked) -> str:
    """The prompt of what is asked about one image. Only its text is wanted here, so no picture is opened."""
    messages = (Message("user", asked, (Picture("image", open=Image),)),) if isinstance(asked, str) else asked
    with one_line("the model's processor", "cannot take an image"):
        return prompt_text(processor, messages)


def image_batch(processor: Any, model: Any, prompts: Sequence[str], images: Sequence[Image]) -> dict[str, Tensor]:
    """What `model` is asked: each prompt about its one image, as `encode` gives it, where the model is."""
    give_pad_token(processor)
    with one_line("the model's processor", "cannot take an image"):
        return placed(encode(processor, prompts, [[image] for image in images], side="left"), model)


def placed(tensors: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """On the model's device, floats in its dtype."""
    dtype = model.dtype
    return {name: t.to(model.device, dtype if t.is_floating_point() else None) for name, t in tensors.items()}


def give_pad_token(processor: Any) -> None:
    """Pad with the end token where a tokenizer knows nothing to pad with."""
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token


def join(rows: Sequence[Mapping[str, Tensor]], *, pad_token: int, side: str) -> dict[str, Tensor] | None:
    """One batch from conversations encoded one by one: sequences padded, everything else laid end to end.

    None where that is not how the family batches (images padded to a common size or number, say): the tensors'
    shapes then disagree, and the processor must see the whole batch.
    """
    batch: dict[str, Tensor] = {}
    length = max(row["input_ids"].shape[1] for row in rows)
    for name in dict.fromkeys(name for row in rows for name in row):
        parts = [row[name] for row in rows if name in row]
        if name in SEQUENCES:
            if len(parts) != len(rows):
                return None
            fill = pad_token if SEQUENCES[name] is None else SEQUENCES[name]
            gaps = [(length - part.shape[1], 0) if side == "left" else (0, length - part.shape[1]) for part in parts]
            parts = [torch.nn.functional.pad(part, gap, value=fill) for part, gap in zip(parts, gaps, strict=True)]
        elif len({(part.shape[1:], part.dtype) for part in parts}) > 1:
            return None
        batch[name] = torch.cat(parts)
    return batch


def _plain(processor: Any, message: Message) -> Message:
    """The message with its text made plain."""
    text = plain(processor, message.text)
    return Message(message.role, text, message.pictures) if text != message.text else message


def plain(processor: Any, text: str) -> str:
    """The text with control tokens in it broken up by a space after their first character."""
    control = _control_tokens(processor.tokenizer, len(processor.tokenizer))
    for token in (*control, str(getattr(processor, "image_token", None) or "")):
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


@functools.lru_cache(maxsize=4)
def _control_tokens(tokenizer: Any, length: int) -> tuple[str, ...]:
    """The special tokens of a tokenizer of this length (it may have grown since it was last asked), longest first."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({*added, *tokenizer.all_special_tokens}, key=lambda token: (-len(token), token)))


def _listed(messages: Sequence[Message], after: str) -> list[dict[str, Any]]:
    """Turns whose content is a list of parts, as multimodal templates read them: pictures, then `after`, then text."""
    return [
        {
            "role": message.role,
            "content": [{"type": "image"} for _ in message.pictures]
            + [{"type": "text", "text": after * bool(message.pictures) + message.text}],
        }
        for message in messages
    ]


def _written(messages: Sequence[Message], after: str) -> list[dict[str, Any]]:
    """The same with the system prompt as plain text, as some templates want it."""
    return [
        {**turn, "content": message.text} if message.role == "system" else turn
        for turn, message in zip(_listed(messages, after), messages, strict=True)
    ]


def _folded(messages: Sequence[Message]) -> list[Message]:
    """The system prompt at the head of the first user turn."""
    system = "\n\n".join(message.text for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    if system and rest:
        rest[0] = Message(rest[0].role, f"{system}\n\n{rest[0].text}", rest[0].pictures)
    return rest
