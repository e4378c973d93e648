"""Give a loaded model the guard, and ask a model what its guard knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from transformers import PreTrainedModel

from .. import taxonomy
from ..threads import choose_threads
from .errors import GuardError
from .families import default_pool, hidden_size, image_token_ids, text_decoder
from .model import GuardedModel, add_head, guarded_class
from .settings import LABELS, GuardSettings

Model = TypeVar("Model", bound=Any)


def attach_guard(
    model: Model,
    labels: Sequence[str] = taxonomy.IMAGE_LABELS,
    *,
    pool: str | None = None,
    token_id: int | None = None,
    unit: str = "sample",
    verdict: str = "worst",
    hidden_scale: float = 0.5,
    hidden_layers: int = 1,
    dropout: float = 0.1,
    loss_weight: float = 1.0,
) -> Model:
    """Turn a stock image-text-to-text model into a guarded one, in place, and return it.

    Adds the freshly initialised head `img_safety_head`, writes the settings into `model.config` and swaps the class
    for the guarded one; every stock weight, answer and method stays.

    labels       the classes of the guard, in the order of their ids
    pool         "last_hidden" (state at image positions), "projected" (image features), "token" (the last one with the
                 id `token_id` after the images), "image_and_text" (state at image and at text positions, side by side),
                 or several joined by "+"; None: by family
    unit         "sample": one verdict over a sample's images; "image": one for each, and a sample's by `verdict`,
                 that of the "worst" image or the "mean" of their probabilities
    hidden_scale width of the head's hidden layers over the decoder's hidden size
    loss_weight  lambda: weight of the guard's cross-entropy in the joint loss

    Raises GuardError (a ValueError and an InputError) naming the reason: wrapped by PEFT, already guarded, not a
    transformers model, no text decoder, no image token in its sequence, settings that make no head.

    Example:
        from holisafe.guard import labels_of, load_model

        model = holisafe.attach_guard(load_model("pictovlm"))
        print(labels_of(model)[:2])
    """
    _require_attachable(model)
    settings = GuardSettings(
        labels=tuple(labels),
        pool=pool or default_pool(model.config),
        token_id=token_id,
        unit=unit,
        verdict=verdict,
        hidden_scale=hidden_scale,
        hidden_layers=hidden_layers,
        dropout=dropout,
        loss_weight=loss_weight,
    )
    if int(hidden_size(model.config) * hidden_scale) < 1:
        raise GuardError(f"guard settings: hidden_scale {hidden_scale} leaves no hidden unit")
    choose_threads(model)
    return attach_settings(model, settings)


def attach_settings(model: Model, settings: GuardSettings) -> Model:
    """`attach_guard` with the settings in one piece."""
    _require_attachable(model)
    for field, value in settings.as_fields().items():
        setattr(model.config, field, value)
    add_head(model)
    _swap_class(model)
    return model


def _require_attachable(model: Any) -> None:
    if not isinstance(model, PreTrainedModel):
        if hasattr(model, "peft_config"):
            raise GuardError("attach the guard before PEFT wraps the model")
        raise GuardError(f"{type(model).__name__} is no transformers model")
    if isinstance(model, GuardedModel):
        raise GuardError("the model already has a guard")
    if hasattr(model, "peft_config"):
        raise GuardError("attach the guard before adapters are added to the model")
    image_token_ids(model.config)
    text_decoder(model)


def _swap_class(model: PreTrainedModel) -> None:
    """Change the class under the instance. accelerate keeps a bound stock forward in the instance: bind it anew."""
    hook = getattr(model, "_hf_hook", None)
    if hook is not None:
        from accelerate.hooks import add_hook_to_module, remove_hook_from_module

        remove_hook_from_module(model)
        model.__dict__.pop("forward", None)
    model.__class__ = guarded_class(type(model))
    if hook is not None:
        add_hook_to_module(model, hook)


def unwrap(model: Any) -> Any:
    """The model inside PEFT's, DDP's and torch.compile's wrappers."""
    while not isinstance(model, PreTrainedModel):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None and hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        if inner is None:
            return model
        model = inner
    return model


def is_guarded(model: Any) -> bool:
    """Whether the model, wrapped or not, has a guard."""
    return isinstance(unwrap(model), GuardedModel)


def labels_of(model: Any) -> tuple[str, ...]:
    """The guard's labels in the order of their ids, in the release's spelling. Raises GuardError without a guard."""
    if not is_guarded(model):
        raise GuardError(f"{type(unwrap(model)).__name__} has no guard")
    return labels_in(unwrap(model).config)


def labels_in(config: Any) -> tuple[str, ...]:
    """The same from a guarded model's config."""
    return tuple(taxonomy.OTHER_SPELLINGS.get(name, name) for name in getattr(config, LABELS))
