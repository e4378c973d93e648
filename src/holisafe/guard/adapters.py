"""PEFT adapters on a guarded model: the head goes with the adapter, and so do the guard's settings.

PEFT writes only what it trains. A head that is not among `modules_to_save` would be left out without a word, and the
labels and the pooling source with it; a guarded model therefore refuses the first and writes the second itself.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

from ..journal import write_json
from .errors import GuardError
from .folders import portable_name
from .head import HEAD
from .meta_token import check_adapters_keep_token
from .settings import FIELDS

SETTINGS_FILE: Final = "guard.json"
"""In an adapter or guard folder: the guard's config fields, which a full model keeps in its config.json."""

GUARD_FOLDER: Final = "guard"
"""Inside the folder of a base model without a guard: where its guard lies."""

PREFIX: Final = "base_model.model."
"""What PEFT puts before the keys of the model it wraps."""


def check_adapters_keep_head(model: Any) -> None:
    """Raise GuardError unless every adapter on the model trains and saves its own copy of the head, and the row of the
    token that the head reads, if it reads one."""
    copies = getattr(getattr(model, HEAD), "modules_to_save", {})
    if any(adapter not in copies for adapter in model.peft_config):
        raise GuardError(f"an adapter saved now would lose the guard: give LoraConfig modules_to_save=[{HEAD!r}]")
    check_adapters_keep_token(model)


def before_weights_are_collected(model: Any, prefix: str) -> None:
    """Called for every state_dict of a guarded model: when PEFT asks, told by the key prefix, it is about to save."""
    if prefix.endswith(PREFIX) and hasattr(model, "peft_config"):
        check_adapters_keep_head(model)
        record_settings_with_adapters(model, model.peft_config)  # also of an adapter that was added later


def record_settings_with_adapters(model: Any, configs: dict[str, Any]) -> None:
    """Make each adapter's settings write `guard.json` beside themselves, whoever saves them."""
    fields = guard_fields(model)
    for config in configs.values():
        config.save_pretrained = functools.partial(_save_adapter_config, config, fields)


def guard_fields(model: Any) -> dict[str, Any]:
    """The config fields of a guarded model's guard: schema version, pooling source, unit, labels and all else."""
    return {name: value for name, value in model.config.to_dict().items() if name in FIELDS}


def _save_adapter_config(config: Any, fields: dict[str, Any], save_directory: str, **kwargs: Any) -> None:
    base = config.base_model_name_or_path
    config.base_model_name_or_path = base and portable_name(base)
    try:
        type(config).save_pretrained(config, save_directory, **kwargs)
    finally:
        config.base_model_name_or_path = base
    write_json(Path(save_directory) / SETTINGS_FILE, fields)
