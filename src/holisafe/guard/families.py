"""What the guard must know of a model, read from its config: image token ids, the text decoder, the hidden size.

A family needs an entry in a table here only where its config does not tell.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, cast

from torch import nn
from transformers import PreTrainedModel

from .errors import GuardError

TOKEN_ID_FIELDS: Final = (
    "image_token_id", "image_token_index", "image_patch_id", "video_token_id", "video_token_index",
)  # fmt: skip
"""Config fields that name the placeholder token of an image (or of a video's frames)."""

DEFAULT_POOL: Final = {"gemma3": "projected"}
"""Families whose default is not "last_hidden". Gemma 3's published guard reads the projected image features."""

CROSS_ATTENTION: Final = "images enter through cross-attention"
DISCRETE: Final = "images become words of the vocabulary"
NO_IMAGE_POSITIONS: Final = {
    "mllama": CROSS_ATTENTION,
    "idefics": CROSS_ATTENTION,
    "chameleon": DISCRETE,
    "emu3": DISCRETE,
    "git": "images are put before the text",
    "kosmos-2": "image positions are given as a mask",
}
"""Families without a placeholder token that image features replace -> why not."""

DECODER_INSIDE: Final = {"llama4": "model"}
"""Families whose `get_decoder` stops at the language model with its output layer -> where the decoder is in it."""


def default_pool(config: Any) -> str:
    """Where the guard reads unless told otherwise: a source of `pooling.PARTS`."""
    return DEFAULT_POOL.get(config.model_type, "last_hidden")


def image_token_ids(config: Any) -> tuple[int, ...]:
    """Ids of the placeholder tokens that image features replace, ascending. Raises GuardError when there are none."""
    named = {getattr(config, field, None) for field in TOKEN_ID_FIELDS}
    ids = sorted(value for value in named if isinstance(value, int) and value >= 0)
    why = NO_IMAGE_POSITIONS.get(config.model_type)
    if not ids or why:
        why = f"{config.model_type}: no token of its sequence stands for an image" + (f" ({why})" if why else "")
        raise GuardError(f"{why}, so nothing can be pooled")
    return tuple(ids)


def text_decoder(model: PreTrainedModel) -> nn.Module:
    """The innermost text decoder: its `inputs_embeds` hold the projected image features, its output the last hidden
    state after the final norm. Raises GuardError when the model has none of its own.

    The outer language models of some families are passed by when the model generates; the innermost never is.
    """
    if model.config.is_encoder_decoder:
        raise GuardError(f"{model.config.model_type}: encoder-decoder models are not supported")
    outer, decoder = model, cast(nn.Module, model.get_decoder())
    while isinstance(decoder, PreTrainedModel) and decoder is not outer:
        outer, decoder = decoder, cast(nn.Module, decoder.get_decoder())
    if model.config.model_type in DECODER_INSIDE:
        decoder = getattr(decoder, DECODER_INSIDE[model.config.model_type])
    if decoder is model:
        raise GuardError(f"{type(model).__name__} has no text decoder inside it")
    return decoder


def decoder_layers(model: PreTrainedModel) -> nn.ModuleList:
    """The text decoder's layers in order, found by structure. Raises GuardError where it holds no such list."""
    decoder, number = text_decoder(model), model.config.get_text_config().num_hidden_layers
    waiting = deque([decoder])
    while waiting:
        module = waiting.popleft()
        if isinstance(module, nn.ModuleList) and len(module) == number:
            return module
        waiting.extend(module.children())
    raise GuardError(f"{type(decoder).__name__} holds no list of {number} layers")


def hidden_size(config: Any) -> int:
    """Width of the text decoder. Raises GuardError when the config does not tell."""
    text = config.get_text_config()
    for field in ("hidden_size", "d_model", "n_embd"):
        if isinstance(getattr(text, field, None), int):
            return int(getattr(text, field))
    raise GuardError(f"{config.model_type}: the config does not tell the text decoder's hidden size")
