"""Where generated tokens look: at the Safety Meta Token (or any chosen positions), against the image tokens.

    prompt      <bos> <img> <img> <img> <|safety|> Is  this  safe  ?    generated   I   can  not  ...
                        └─────┬─────┘        │                                      │
                        mean weight        weight   <───────────────────────── attends, per decoder layer

HoliSafe's analysis (arXiv 2506.04704, v1): attention from generated tokens to the token, per decoder layer, against the
mean over image tokens. Weights come from `generate` with its key-value cache, averaged over the heads of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from ..errors import InputError
from .attach import is_guarded, unwrap
from .conversation import image_batch, image_prompt
from .families import image_token_ids
from .pooling import image_mask


@dataclass(frozen=True)
class Attention:
    """Mean attention weights [N, L, T], over samples, decoder layers and generated tokens; NaN where nothing counts.

    to_token  on the chosen positions, a mean where there are several; NaN for a sample that has none
    to_image  on an image token, mean over all; NaN for a sample without image
    A generated token counts from the step in which it is the query, so the last one, which never is, does not; neither
    does anything from the end of an answer on.
    """

    to_token: Tensor
    to_image: Tensor

    def joined(self, other: Attention) -> Attention:
        """The samples of both, of one model."""
        length = max(self.to_token.shape[2], other.to_token.shape[2])

        def cat(a: Tensor, b: Tensor) -> Tensor:
            pads = (torch.nn.functional.pad(t, (0, length - t.shape[2]), value=float("nan")) for t in (a, b))
            return torch.cat(list(pads))

        return Attention(cat(self.to_token, other.to_token), cat(self.to_image, other.to_image))

    def _counted(self) -> Tensor:
        return ~(self.to_token.isnan() | self.to_image.isnan())

    def table(self) -> list[dict[str, float | int | None]]:
        """A row a decoder layer: {layer, to_token, to_image_mean, n}, where n counts generated tokens of all samples.

        Means over those tokens, each alike; None without any. Only samples with both image and chosen positions.
        """
        counted = self._counted()
        return [
            {
                "layer": layer,
                "to_token": _mean(self.to_token[:, layer][counted[:, layer]]),
                "to_image_mean": _mean(self.to_image[:, layer][counted[:, layer]]),
                "n": int(counted[:, layer].sum()),
            }
            for layer in range(counted.shape[1])
        ]

    def by_token(self) -> list[list[float | None]]:
        """[L][T]: the weight on the chosen positions from the t-th generated token, mean over samples that have such
        a token; None where none has."""
        counted = self._counted()
        return [
            [_mean(self.to_token[:, layer, step][counted[:, layer, step]]) for step in range(counted.shape[2])]
            for layer in range(counted.shape[1])
        ]


@torch.inference_mode()
def generated_attention(
    model: Any, inputs: dict[str, Tensor], *, positions: Tensor | None = None, max_new_tokens: int = 32
) -> Attention:
    """Generate greedily from a left-padded batch, and read each new token's attention on the prompt.

    model      any image-text-to-text model that generates from `input_ids`, guarded or not; read with the eager kernel,
               which alone gives weights, and left as it was
    inputs     what the processor gives, on the model's device; `input_ids` [B, S]
    positions  [B, S], True where the attention in question goes; None: those of the guard's token

    The prefill's weights [B, heads, S, S] of every layer are held until the answer is done: mind the batch size.
    Raises InputError when there are no positions to look at, or the model does not tell its attention.
    """
    core, ids = unwrap(model), inputs["input_ids"]
    if positions is None:
        token = getattr(core.config, "safety_token_id", None)
        if token is None:
            raise InputError("the guard reads no token: tune one that does (guard.pool=token), or say which positions")
        positions = ids == token
    real = inputs.get("attention_mask", torch.ones_like(ids)).bool()
    wanted = positions.to(ids.device).bool() & real
    images = image_mask(ids, image_token_ids(core.config)) & real & ~wanted
    if not (wanted.any(1) & images.any(1)).any():
        raise InputError("no sample has both an image and a position of those whose attention is wanted")
    with _eager(core):
        answer = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            output_attentions=True,
            return_dict_in_generate=True,
            **({"do_safety": False} if is_guarded(model) else {}),
        )
    steps = answer.get("attentions") or ()
    if not steps or not steps[0] or any(weights is None for step in steps for weights in step):
        raise InputError(f"{type(core).__name__} does not tell its attention weights")
    new = answer.sequences[:, -len(steps) :]
    alive = _alive(new, core.generation_config.eos_token_id)[:, : len(steps) - 1]
    if not alive.any():
        raise InputError("the answers are too short: a generated token attends to nothing before the next one is due")
    sets = [_weights_on(mask, steps[1:]) for mask in (wanted, images)]
    return Attention(*(torch.where(alive.unsqueeze(1), weights, float("nan")).cpu() for weights in sets))


def ask_attention(
    model: Any,
    processor: Any,
    images: Sequence[Image],
    query: str,
    *,
    max_new_tokens: int = 32,
    batch_size: int = 4,
) -> Attention:
    """`generated_attention` on answers to one question about each image (RGB), on the guard's token."""
    core = unwrap(model)
    text = image_prompt(processor, query)
    found = None
    for start in range(0, len(images), batch_size):
        chosen = images[start : start + batch_size]
        inputs = image_batch(processor, core, [text] * len(chosen), chosen)
        read = generated_attention(model, inputs, max_new_tokens=max_new_tokens)
        found = read if found is None else found.joined(read)
    if found is None:
        raise InputError("no images to ask about")
    return found


def _weights_on(mask: Tensor, steps: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mask [B, S] of prompt positions, a step's weights [B, heads, 1, K] for every layer -> [B, L, T] means over them.

    A sliding layer's cache has lost its oldest positions: its last column is always the newest one, so columns are
    counted from the end, and what was lost gets no attention.
    """
    size = mask.shape[1]
    count = mask.sum(1).unsqueeze(-1)
    rows = []
    for step, layers in enumerate(steps, start=1):
        total = size + step
        columns = [weights.float().mean(1)[:, -1] for weights in layers]
        placed = torch.stack([torch.nn.functional.pad(c, (total - c.shape[-1], 0))[:, :size] for c in columns], dim=1)
        chosen = mask.unsqueeze(1).to(placed.device)
        rows.append((placed * chosen).sum(-1) / count.to(placed.device))  # 0/0 is NaN: nothing to look at
    return torch.stack(rows, dim=-1)


def _alive(new: Tensor, ends: int | list[int] | None) -> Tensor:
    """[B, T], True for generated tokens before the answer's end token."""
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    ended = torch.isin(new, torch.tensor(ends, dtype=new.dtype, device=new.device))
    return ended.cumsum(1) == 0


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """The eager attention kernel, and afterwards each part's own again."""
    parts = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    configs = {**parts, **{id(c): c for c in _with_inner(model.config)}}
    before = [(config, config._attn_implementation) for config in configs.values()]
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        for config, kernel in before:
            config._attn_implementation_internal = kernel  # the public setter would pass it on to the parts


def _with_inner(config: Any) -> Iterator[Any]:
    yield config
    for name in config.sub_configs:
        if getattr(config, name, None) is not None:
            yield from _with_inner(getattr(config, name))


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
