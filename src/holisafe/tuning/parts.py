"""Which weights belong to what, and which of them train.

guard        the Visual Guard Module's head
vision       the image encoder
language     the text decoder with its embeddings and output layer
projector    everything else: what carries image features into the decoder
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import InputError
from ..guard import is_guarded
from ..guard.bounded import matching
from ..guard.families import text_decoder
from ..guard.head import HEAD
from ..guard.meta_token import trained_tokens
from .recipe import Lora, Recipe

TOWERS = ("vision_tower", "visual", "vision_model", "vision_encoder", "image_tower")
"""Names under which transformers keeps an image encoder."""


def vision_tower(model: Any) -> nn.Module | None:
    """The image encoder, None where it is not found under a usual name."""
    for holder in (model, model.base_model):
        for name in TOWERS:
            module = getattr(holder, name, None)
            if isinstance(module, nn.Module):
                return module
    return None


def part_of(model: Any) -> dict[str, str]:
    """Parameter name -> the part it belongs to, for a model that no adapter wraps."""
    tower, head = vision_tower(model), getattr(model, HEAD, None)
    language = (text_decoder(model), model.get_input_embeddings(), model.get_output_embeddings())
    owners = {"guard": (head,), "vision": (tower,), "language": language}
    known = {
        id(parameter): part
        for part, modules in owners.items()
        for module in modules
        if module is not None
        for parameter in module.parameters()
    }
    return {name: known.get(id(parameter), "projector") for name, parameter in model.named_parameters()}


def set_trainable(model: Any, recipe: Recipe) -> Any:
    """Freeze what the recipe leaves alone; give back the model to train: itself, or wrapped with LoRA adapters.

    Raises InputError when LoRA finds no layer, or when the vision tower is to train and there is none.
    """
    settings, parts = recipe.trainable, part_of(model)
    token = is_guarded(model) and recipe.guard.enabled and trained_tokens(model)
    if settings.vision and "vision" not in parts.values():
        raise InputError("this model has no vision tower of its own", where="recipe", field="trainable.vision")
    if settings.method == "lora" or (settings.method == "guard" and token):
        model = _with_adapters(model, parts, recipe)
        if not recipe.guard.enabled and hasattr(model.get_base_model(), HEAD):
            getattr(model.get_base_model(), HEAD).requires_grad_(False)
        return model
    train = {
        "guard": recipe.guard.enabled,
        "vision": settings.vision,
        "language": settings.method == "full",
        "projector": settings.projector and settings.method == "full",
    }
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(train[parts[name]])
    return model


def _with_adapters(model: Any, parts: dict[str, str], recipe: Recipe) -> Any:
    """The model wrapped by PEFT: adapters on the language model; head, projector and tower as whole trained copies.
    With the method `guard` the head's alone, and of the embeddings the row of the token that it reads."""
    from peft import LoraConfig, get_peft_model
    from peft.utils.constants import DUMMY_TARGET_MODULES

    lora, settings = recipe.trainable.lora, recipe.trainable
    frozen = settings.method == "guard"
    projector = settings.projector and not frozen
    wanted = {"guard": True, "vision": settings.vision, "projector": projector, "language": False}
    whole = {_child_of(model, name) for name, part in parts.items() if wanted[part]} - {""}
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=DUMMY_TARGET_MODULES if frozen else _linear_layers(model, lora),
        modules_to_save=sorted(whole) or None,
        trainable_token_indices=trained_tokens(model) if is_guarded(model) else None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _linear_layers(model: Any, lora: Lora) -> list[str]:
    """Full names of the text decoder's linear layers that the pattern picks."""
    inside = {id(module) for module in text_decoder(model).modules() if isinstance(module, nn.Linear)}
    linear = [name for name, module in model.named_modules() if id(module) in inside]
    called = sorted({name.rpartition(".")[2] for name in linear})
    chosen = matching(lora.targets, called, "recipe", "trainable.lora.targets")
    if not chosen:
        problem = f"matches no layer of the language model; it has: {', '.join(called)}"
        raise InputError(problem, where="recipe", field="trainable.lora.targets")
    return [name for name in linear if name.rpartition(".")[2] in chosen]


def _child_of(model: Any, name: str) -> str:
    """The child of the base model (or of the model) that holds a parameter; "" for one that no child holds."""
    path, depth = name.split("."), 2 if name.startswith(f"{model.base_model_prefix}.") else 1
    return ".".join(path[:depth]) if len(path) > depth else ""
