"""The guarded model as vLLM runs it: its transformers backend, whose decoder's states go to a pooler and no further.

    ids, pictures ─> inputs_embeds ─> decoder ─> states after K layers ─> last hidden state
                         │                            │                       │
                         └────────────────────────────┴───────────────────────┴── side by side [N, S * H] ─> pooler

Letters in shapes: N tokens of all requests in a step, S sides of the decoder that are read, H its width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.model_executor.models.transformers import TransformersMultiModalEmbeddingModel
from vllm.model_executor.models.transformers.multimodal import (
    MultiModalDummyInputsBuilder,
    MultiModalProcessor,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from ...guard.attach import labels_in
from ...guard.families import hidden_size
from ...guard.folders import find_file, open_weights
from ...guard.head import HEAD, SafetyHead
from ...guard.loading import GUARD_FILE, GUARD_STEM, check_head
from ...guard.pooling import Side, layers_of, parts_of
from ...guard.settings import read_settings
from ...guard.thresholds import load_thresholds
from .config import STOCK_LAYERS
from .pooler import GuardPooler
from .prompts import ImageProcessing


@MULTIMODAL_REGISTRY.register_processor(
    MultiModalProcessor, info=ImageProcessing, dummy_inputs=MultiModalDummyInputsBuilder
)
class HoliSafeGuard(TransformersMultiModalEmbeddingModel):
    """Reads; has no output layer and generates nothing."""

    default_seq_pooling_type = "LAST"  # vLLM cuts prompts of such a model into chunks; the pooler is ours

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.source = vllm_config.model_config.model
        self.settings = read_settings(self.config.to_dict(), self.config, where=self.source)
        self.sides = tuple(dict.fromkeys(side for side, _ in parts_of(self.settings.pool)))
        self.between: dict[Side, Tensor] = {}
        for after in layers_of(self.settings.pool):
            layer = self.model.get_submodule(self._layer_names[after - 1])
            layer.register_forward_hook(partial(self._keep, after))
        width = hidden_size(self.config) * len(parts_of(self.settings.pool))
        head = SafetyHead(
            width, len(self.settings.labels), self.settings.hidden_scale, self.settings.hidden_layers, dropout=0.0
        )
        kept = load_thresholds(self.source, labels_in(self.config))
        self.pooler = GuardPooler(head.float(), self.config, self.sides, kept.temperature if kept else 1.0)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """[N] ids or [N, H] embeddings -> [N, S * H]."""
        if inputs_embeds is None and input_ids is not None and "input" in self.sides:
            inputs_embeds = self.embed_input_ids(input_ids)
        states: dict[Side, Any] = {"input": inputs_embeds}
        if self.sides != ("input",):
            states["output"] = super().forward(input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs)
            states |= self.between
            self.between.clear()
        return torch.cat([states[side] for side in self.sides], dim=-1)

    def _keep(self, after: int, layer: nn.Module, args: Any, output: Any) -> None:
        states = output if torch.is_tensor(output) else output[0]
        self.between[after] = states.view(-1, states.shape[-1])  # [1, N, H] -> [N, H]

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The stock part by vLLM; the head's weights from among them, or from beside them. Raises InputError when the
        head's do not fit."""
        head: dict[str, Tensor] = {}
        self.ignore_unexpected_prefixes += ["lm_head.", *self._left_out()]
        loaded: set[str] = super().load_weights(_without_head(weights, head))
        if find_file(self.source, GUARD_FILE):
            head = dict(open_weights(self.source, GUARD_STEM))
        check_head({name: tuple(tensor.shape) for name, tensor in head.items()}, self, self.settings, self.source)
        own = {name.removeprefix(f"{HEAD}."): tensor for name, tensor in head.items()}
        self.pooler.head.load_state_dict(own)
        return loaded | {f"pooler.head.{name}" for name in own}

    def _left_out(self) -> list[str]:
        """How the names of the weights begin whose layers were not made."""
        stock = getattr(self.config, STOCK_LAYERS, 0)
        first = self._layer_names[0].rpartition(".")[0]
        return [f"model.{first}.{layer}." for layer in range(self.text_config.num_hidden_layers, stock)]


def _without_head(weights: Iterable[tuple[str, Tensor]], head: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """All weights but the head's, which are put into `head`."""
    for name, tensor in weights:
        if name.startswith(HEAD):
            head[name] = tensor
        else:
            yield name, tensor
