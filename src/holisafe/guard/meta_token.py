"""The Safety Meta Token: one learnable token after the visual ones, whose last hidden state the guard reads.

    <bos> <img> <img> <img> <|safety|> Is this safe ?
                                |
                        last hidden state ─ img_safety_head

HoliSafe's first version (arXiv 2506.04704, v1). The token stands once in every message with pictures, after the last of
them: in a causal decoder it sees the images and what came before, and every later token can attend to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import AddedToken

from ..errors import InputError
from .errors import GuardError
from .head import HEAD
from .pooling import sources

META_TOKEN: Final = "<|safety|>"
"""How the tokenizer writes it. Data cannot: `conversation` breaks control tokens in a message's text up."""


def add_meta_token(model: Any, processor: Any) -> int:
    """Teach a stock model and its processor the token, and return its id.

    The id goes to `attach_guard(model, pool="token", token_id=...)`; from then on `conversation.prompt_text` puts the
    token into every prompt with pictures. Raises GuardError for a model that already has a guard or adapters.
    """
    if hasattr(model, "peft_config") or hasattr(model, HEAD):
        raise GuardError("add the safety meta token before the guard and before PEFT wraps the model")
    known = META_TOKEN in processor.tokenizer.get_added_vocab()
    token = _teach(processor)
    make_room(model, token)
    if not known:
        _start_at_mean(model, token)
    return token


def meta_token_of(processor: Any) -> str:
    """What the processor's prompts carry after the pictures of a message; "" where it does not know the token."""
    return META_TOKEN if META_TOKEN in processor.tokenizer.get_added_vocab() else ""


def teach_processor(processor: Any, token_id: int, where: str | Path) -> Any:
    """The processor of a base model with the token that an adapter on it was trained with.

    Raises InputError when the token gets another id than the one that was trained.
    """
    found = _teach(processor)
    if found != token_id:
        raise InputError(f"the tokenizer gives {META_TOKEN} the id {found}, not {token_id}", where=where)
    return processor


def make_room(model: Any, token_id: int) -> None:
    """Give the embeddings, and an untied output layer, a row for the token if they have none, at the mean of the
    others; and keep `generate` from ever writing it."""
    if token_id >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(token_id + 1, mean_resizing=False)
        _start_at_mean(model, token_id)
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        suppressed = generation.suppress_tokens or []
        generation.suppress_tokens = [*suppressed, *({token_id} - set(suppressed))]


def embedding_name(model: Any) -> str:
    """The name of the input embeddings inside the model."""
    embedding = model.get_input_embeddings()
    return next(str(name) for name, module in model.named_modules() if module is embedding)


def trained_tokens(model: Any) -> dict[str, list[int]] | None:
    """What PEFT's `trainable_token_indices` must say so that the token's row trains, and nothing else of the
    embeddings; None for a guard that reads no token.

    `LoraConfig(..., trainable_token_indices=trained_tokens(model), modules_to_save=["img_safety_head"])`; on a frozen
    base with PEFT's name for no layer at all, `target_modules=peft.utils.constants.DUMMY_TARGET_MODULES`.
    """
    return {embedding_name(model): [model.config.safety_token_id]} if reads_token(model.config) else None


def reads_token(config: Any) -> bool:
    """Whether a guarded model's config says that its guard reads the token."""
    return "token" in sources(getattr(config, "safety_pool", None) or "")


def check_adapters_keep_token(model: Any) -> None:
    """Raise GuardError unless every adapter on the model trains and saves the row of the token that the guard reads.

    PEFT would save an adapter without it, and the base it is put on next has no such row, or an untrained one.
    """
    if not reads_token(model.config):
        return
    token, name = model.config.safety_token_id, embedding_name(model).removesuffix(".base_layer").rpartition(".")[2]
    for adapter in model.peft_config.values():
        indices = getattr(adapter, "trainable_token_indices", None) or getattr(adapter, "token_indices", None) or []
        rows = [row for part in (indices.values() if isinstance(indices, dict) else [indices]) for row in part]
        if token not in rows and name not in (getattr(adapter, "modules_to_save", None) or ()):
            raise GuardError(
                f"an adapter saved now would lose the safety meta token: give LoraConfig trainable_token_indices "
                f"(guard.meta_token.trained_tokens) with its id {token}"
            )


def place_trained_row(model: Any, names: Iterable[str], where: str) -> None:
    """Make room in a base model, now guarded, for the row that comes with an adapter whose weights have these names.

    Raises InputError when the guard reads the token and its row is not among them.
    """
    if not reads_token(model.config):
        return
    if not any("trainable_tokens_delta" in name or embedding_name(model) in name for name in names):
        raise InputError("the safety meta token's trained row was dropped when the adapter was saved", where=where)
    make_room(model, model.config.safety_token_id)


def _teach(processor: Any) -> int:
    processor.tokenizer.add_tokens([AddedToken(META_TOKEN, special=True, normalized=False)], special_tokens=True)
    return int(processor.tokenizer.convert_tokens_to_ids(META_TOKEN))


@torch.no_grad()
def _start_at_mean(model: Any, token: int) -> None:
    """The mean of all other rows: an ordinary embedding, the same on every machine, and as an output row never the
    likeliest."""
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            others = torch.arange(len(layer.weight), device=layer.weight.device) != token
            layer.weight[token] = layer.weight[others].mean(0, dtype=torch.float32).to(layer.weight.dtype)
            if getattr(layer, "bias", None) is not None:
                layer.bias[token] = layer.bias[others].mean()
