"""`--config-format holisafe`: what a guarded model's folder says, as vLLM's config of a pooling model.

    config.json [+ guard/guard.json] ─> the stock config, the guard's fields, label names, as many layers as are read

A guard that reads nothing after K layers gets a decoder of K: the others are neither loaded nor run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from vllm.model_executor.models.config import VerifyAndUpdateConfig
from vllm.transformers_utils.config import HFConfigParser

from ...errors import InputError
from ...guard.attach import labels_in
from ...guard.families import image_token_ids
from ...guard.folders import find_file, locate, read_object, require_config
from ...guard.loading import ADAPTER_CONFIG, GUARD_FILE
from ...guard.pooling import parts_of
from ...guard.settings import GuardSettings, describes_guard, read_settings
from .registering import ARCHITECTURE

STOCK_LAYERS: Final = "holisafe_stock_layers"
"""The config field that says how many layers the weights have, where fewer are made."""


class GuardConfigParser(HFConfigParser):
    """Raises InputError, one line, for a folder whose guard cannot be served."""

    def parse(self, model: str | Path, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], Any]:
        source = locate(model)
        if find_file(source, ADAPTER_CONFIG):
            raise InputError("is an adapter, try: holisafe guard convert ADAPTER OUT --form base", where=source)
        described = _guard_fields(source)
        fields, config = super().parse(model, *args, **kwargs)
        if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            problem = f"{config.model_type!r} is no model that transformers knows, try: holisafe guard convert"
            raise InputError(problem, where=source)
        settings = read_settings(described, config, where=source)
        image_token_ids(config)
        for field, value in settings.as_fields().items():
            setattr(config, field, value)
        config.id2label = dict(enumerate(labels_in(config)))
        config.architectures = [ARCHITECTURE]
        shorten(config, settings, source)
        return fields, config


class WholePrompts(VerifyAndUpdateConfig):
    """No prefix caching: what is not run is not read."""

    @staticmethod
    def verify_and_update_config(vllm_config: Any) -> None:
        """Raises InputError for a decoder that vLLM runs otherwise than transformers does, if it is read."""
        vllm_config.cache_config.enable_prefix_caching = False
        model = vllm_config.model_config
        if vllm_config.parallel_config.pipeline_parallel_size > 1:
            raise InputError("its decoder is read in one piece: no --pipeline-parallel-size", where=model.model)
        if model.is_mm_prefix_lm and any(side != "input" for side, _ in parts_of(model.hf_config.safety_pool)):
            problem = f"{model.hf_config.model_type}: an image's tokens see each other both ways, which is lost here"
            raise InputError(f"{problem}; only a guard that pools projected can be served", where=model.model)


def _guard_fields(source: str) -> dict[str, Any]:
    """The guard's fields, from beside a stock model or from its own config. Raises InputError when there are none."""
    own, beside = require_config(source), find_file(source, GUARD_FILE)
    if beside:
        return read_object(beside)
    if not describes_guard(own):
        raise InputError("the model has no guard (attach one with holisafe tune or attach_guard)", where=source)
    return own


def shorten(config: Any, settings: GuardSettings, source: str) -> None:
    """Leave out the layers after the last that is read. Where none is, one stays, which vLLM needs and nothing runs.

    Raises InputError for a state after more layers than there are.
    """
    text = config.get_text_config()
    sides = [side for side, _ in parts_of(settings.pool)]
    layers, last = text.num_hidden_layers, max([side for side in sides if isinstance(side, int)], default=0)
    if last >= layers:
        raise InputError(f"its guard reads the state after {last} layers, of {layers}", where=source)
    if "output" in sides:
        return
    setattr(config, STOCK_LAYERS, layers)
    text.num_hidden_layers = max(1, last)
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[: text.num_hidden_layers]
