"""Pools each request's features where its guard reads, chunk by chunk, and gives the probabilities with the last.

    step     request a            request b
      1      [ids 0..5]           [ids 0..3]        chunks as vLLM cuts them
      2      [ids 5..9] ─ last    [ids 3..6]
                │
      Reading of step 1 + Reading of step 2 ─> head ─> probabilities [K]

What was read of a request stays with vLLM's state of it. Letters in shapes: N tokens of all requests in a step, n those
of one request, S sides of the decoder that are read, H its width, K labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.layers.pooler.abstract import Pooler
from vllm.model_executor.layers.pooler.common import PoolingParamsUpdate
from vllm.v1.pool.metadata import PoolingMetadata

from ...guard.families import image_token_ids
from ...guard.pooling import Positions, Side, image_mask, parts_of
from ...guard.reading import Reader, Reading
from ...guard.verdict import classified

KEPT = "holisafe_reading"
"""The attribute of a request's pooling state that holds what was read of it."""


class GuardPooler(Pooler):
    """`config` is the guarded model's; `temperature` divides the logits."""

    def __init__(self, head: nn.Module, config: Any, sides: Sequence[Side], temperature: float) -> None:
        super().__init__()
        self.head, self.config, self.sides, self.temperature = head, config, tuple(sides), temperature
        self.parts = parts_of(config.safety_pool)

    def get_supported_tasks(self) -> Any:
        return {"classify"}

    def get_pooling_updates(self, task: Any) -> PoolingParamsUpdate:
        return PoolingParamsUpdate(requires_token_ids=True)

    def forward(self, hidden_states: Tensor, pooling_metadata: PoolingMetadata) -> list[Tensor | None]:
        """[N, S * H] -> for each request its probabilities [K] in double precision, None while its prompt goes on."""
        cursor, found, begin = pooling_metadata.get_pooling_cursor(), [], 0
        prompts = pooling_metadata.get_prompt_token_ids_cpu()
        lengths, ends = cursor.num_scheduled_tokens_cpu.tolist(), cursor.seq_lens_cpu.tolist()
        for index, (ids, length, end) in enumerate(zip(prompts, lengths, ends, strict=True)):
            features, begin = hidden_states[begin : begin + length], begin + length
            state, start = pooling_metadata.pooling_states[index], end - length
            kept, piece = getattr(state, KEPT, None) if start else None, ids[start:end]
            whole = kept is not None or start == 0
            reading = self.read(piece, features[: len(piece)], kept)  # vLLM's trial run has fewer ids than features
            setattr(state, KEPT, reading if whole else None)
            last = end >= len(ids)
            found.append(self.verdict(reading, whole, pooling_metadata.pooling_params[index]) if last else None)
        return found

    def read(self, ids: Tensor, features: Tensor, before: Reading | None) -> Reading:
        """ids [n] and features [n, S * H] of a chunk -> what was read of the request so far."""
        image = image_mask(ids.unsqueeze(0), image_token_ids(self.config))  # [1, n]
        masks: dict[Positions, Tensor] = {"image": image, "text": ~image}
        if any(positions == "token" for _, positions in self.parts):
            masks["token"] = image_mask(ids.unsqueeze(0), (self.config.safety_token_id,))
        per_image = self.config.safety_unit == "image"
        reader = Reader(image.shape, masks, self.parts, per_image=per_image, before=before)
        for side, states in zip(self.sides, features.unsqueeze(0).chunk(len(self.sides), dim=-1), strict=True):
            reader.take(side, states)
        return reader.reading()

    def verdict(self, reading: Reading, whole: bool, asked: Any) -> Tensor:
        """[K] probabilities, or logits where these are asked for; no numbers where there was nothing to read, or where
        the prompt's beginning was not run."""
        said = classified(self.head, reading, self.config)
        logits = said["img_safety_logits"][0].double().div(self.temperature)
        numbers = logits if asked.use_activation is False else logits.softmax(dim=-1)
        return torch.where(said["img_safety_valid"][0] & whole, numbers, torch.nan)
