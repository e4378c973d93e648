"""Save a guarded model, and look that nothing was lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .adapters import PREFIX, check_adapters_keep_head
from .attach import is_guarded, unwrap
from .errors import GuardError
from .folders import weight_shapes
from .head import HEAD


def save_guarded(model: Any, path: str | Path) -> None:
    """Write a guarded model to a folder: a full one in transformers' layout, one wrapped by PEFT as its adapter.

    A full folder is what `model.save_pretrained` writes, and stock AutoModelForImageTextToText opens it. An adapter
    folder has the head in its weights and the guard's settings in `guard.json`. `load_guarded` opens both.

    Raises GuardError when the model has no guard, or when its head would not be in what is written.
    """
    core = unwrap(model)
    if not is_guarded(model):
        raise GuardError(f"{type(core).__name__} has no guard to save")
    adapters = list(getattr(core, "peft_config", ()))
    if adapters:
        check_adapters_keep_head(core)
    while not hasattr(model, "save_pretrained"):
        model = model.module  # DDP's wrapper
    model.save_pretrained(str(path))

    last = f"{HEAD}.mlp.{3 * core.config.safety_num_hidden_layers}.weight"
    for folder in [Path(path, name) if name != "default" else path for name in adapters] or [path]:
        written = weight_shapes(str(folder), "adapter_model" if adapters else "model")
        if last not in {name.removeprefix(PREFIX) for name in written}:
            raise GuardError(f"the guard was not written: {last} is missing", where=folder)
