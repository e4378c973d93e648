"""What vLLM calls in each of its processes before it reads a model: the names by which it finds ours."""

from __future__ import annotations

from typing import Final

ARCHITECTURE: Final = "HoliSafeGuard"
"""The model's name to vLLM, which our config parser writes into the config."""

CONFIG_FORMAT: Final = "holisafe"
"""`--config-format holisafe`: read the folder as a guarded model's, and serve its guard."""


def register() -> None:
    """The entry point of `vllm.general_plugins`; may be called more than once."""
    from vllm import ModelRegistry
    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.transformers_utils.config import register_config_parser

    from .config import GuardConfigParser, WholePrompts

    ModelRegistry.register_model(ARCHITECTURE, f"{__package__}.model:HoliSafeGuard")
    register_config_parser(CONFIG_FORMAT)(GuardConfigParser)
    MODELS_CONFIG_MAP[ARCHITECTURE] = WholePrompts
