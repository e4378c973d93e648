"""The guarded class: a stock image-text-to-text class with the guard read in the same pass.

For each stock class one subclass is made, with the stock class's name and module: `save_pretrained` then writes the
stock architecture, transformers' own key conversion stays on, and stock AutoModel opens what was saved.

    input_ids, pixel_values ─> stock forward ─> logits, loss
                                    │ tap on the text decoder
                                    v
                       features at image positions ─ mean ─> img_safety_head ─> img_safety_*
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from . import pooling
from .adapters import before_weights_are_collected, check_adapters_keep_head, record_settings_with_adapters
from .calls import cached_positions, is_decode_step, sequence
from .families import hidden_size, image_token_ids, text_decoder
from .head import HEAD, SafetyHead
from .outputs import Safety, guarded_output
from .pooling import SOURCES, Pooled
from .settings import read_settings
from .tap import arm, disarm, install

IGNORED_LABEL = -100

if TYPE_CHECKING:
    Stock = PreTrainedModel
else:
    Stock = object


class _Generation:
    """One call of generate: whether its prefill is to be read, and the reading, which grows when it comes in chunks."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.pooled: Pooled | None = None

    def wants(self, call: dict[str, Any]) -> bool:
        """Whether this forward belongs to the prefill. Without a cache every token repeats it: once is enough."""
        return self.wanted and (self.pooled is None or cached_positions(call) > 0)

    def add(self, pooled: Pooled) -> None:
        self.pooled = pooled if self.pooled is None else self.pooled + pooled


class GuardedModel(Stock):
    """Mixed in before the stock class. Forward and generate differ from it; saving refuses to lose the head."""

    accepts_loss_kwargs = False
    """Trainer would otherwise stop dividing by the number of accumulation steps, which multiplies the guard's loss."""

    last_safety: Safety | None = None
    """The guard's reading of the last generate; None before, when it was switched off or saw no prefill."""

    _guard_stock: type[PreTrainedModel]
    _guard_parameters: tuple[str, ...]

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        add_head(self)

    def _guarded_forward(
        self, *args: Any, do_safety: bool | None = None, safety_labels: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """The stock forward and, on a prefill, the guard's fields.

        do_safety     None: yes, except on a decode step (one new token after a cache); False: the stock output
        safety_labels [B] ids of the images' labels, -100 where there is none; adds the guard's loss to the stock loss
        """
        call = {**dict(zip(self._guard_parameters, args, strict=False)), **kwargs}
        generation: _Generation | None = self.__dict__.get("_guard_generation")
        if do_safety is False and safety_labels is not None:
            raise ValueError("safety_labels need the guard, but do_safety is False")
        if do_safety is False or is_decode_step(call) or (generation is not None and not generation.wants(call)):
            return super().forward(*args, **kwargs)

        wants_tuple = kwargs.pop("return_dict", None) is False  # PEFT passes None
        output, pooled = self._read(args, kwargs, call)
        if generation is not None:
            generation.add(pooled)
            return output.to_tuple() if wants_tuple else output

        safety = self._classify(pooled)
        fields: dict[str, Tensor | None] = dict(safety)
        if safety_labels is not None:
            stock_loss = output.get("loss")
            guard_loss = _guard_loss(safety["img_safety_logits"], safety["img_safety_valid"], safety_labels)
            weighted = self.config.safety_loss_lambda * guard_loss
            fields |= {"loss": weighted if stock_loss is None else stock_loss + weighted}
            fields |= {"lm_loss": stock_loss, "safety_loss": guard_loss}
        guarded = guarded_output(output, **fields)
        return guarded.to_tuple() if wants_tuple else guarded

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: dict[str, Any]) -> tuple[ModelOutput, Pooled]:
        """One stock forward with the decoder tapped. Raises RuntimeError when the image positions cannot be told."""
        decoder = text_decoder(self)
        tap = arm(decoder, SOURCES[self.config.safety_pool])
        try:
            output = super().forward(*args, return_dict=True, **kwargs)
        finally:
            disarm(decoder)
        if tap.features is None:
            raise RuntimeError(f"the guard saw no call of {type(decoder).__name__}, so it has nothing to pool")
        return output, self._pool(tap.features, sequence(call))

    def _pool(self, features: Tensor, asked: Tensor | None) -> Pooled:
        """Pool what the decoder saw over the image positions of what the caller asked, ids or embeddings."""
        tokens = image_token_ids(self.config)
        if asked is None:
            mask = None
        elif asked.is_floating_point():
            mask = pooling.image_mask_from_embeddings(asked, self.get_input_embeddings(), tokens)
        else:
            mask = pooling.image_mask(asked, tokens)
        if mask is None or mask.shape != features.shape[:2]:
            saw, gave = tuple(features.shape[:2]), None if mask is None else tuple(mask.shape)
            raise RuntimeError(f"the guard cannot tell the image positions: decoder {saw}, call {gave}")
        return pooling.pool(features, mask)

    def _classify(self, pooled: Pooled) -> Safety:
        logits: Tensor = getattr(self, HEAD)(pooled.mean)
        return Safety(
            img_safety_logits=logits,
            img_safety_probs=logits.float().softmax(dim=-1),
            img_safety_valid=pooled.valid.to(logits.device),
        )

    def generate(self, *args: Any, do_safety: bool | None = None, **kwargs: Any) -> Any:
        """As stock, with the guard read in the same prefill: in `last_safety`, one row a sample whatever the beams, and
        in the returned output under `return_dict_in_generate`. `do_safety=False` switches it off."""
        generation = _Generation(wanted=do_safety is not False)
        asked = sequence({**kwargs, "inputs": args[0]} if args else kwargs)
        decoder = text_decoder(self)
        tap = arm(decoder, SOURCES[self.config.safety_pool]) if generation.wanted else None
        self.last_safety = None
        self.__dict__["_guard_generation"] = generation
        try:
            result = super().generate(*args, **kwargs)  # type: ignore[misc]  # the stock class's
        finally:
            self.__dict__["_guard_generation"] = None
            disarm(decoder)
        pooled = generation.pooled
        if pooled is None and tap is not None and tap.features is not None and asked is not None:
            # BLIP-2's generate calls its language model past this model's forward: read what the decoder saw first.
            pooled = self._pool(tap.features, asked.repeat_interleave(len(tap.features) // len(asked), dim=0))
        if pooled is None:
            return result
        with torch.no_grad():
            self.last_safety = self._classify(pooled.every(len(pooled.count) // len(asked) if asked is not None else 1))
        if isinstance(result, ModelOutput):
            for name, value in self.last_safety.items():
                result[name] = value
        return result

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        before_weights_are_collected(self, kwargs.get("prefix", args[1] if len(args) > 1 else ""))
        return super().state_dict(*args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "_hf_peft_config_loaded", False):  # only an adapter is written then
            check_adapters_keep_head(self)
        return super().save_pretrained(*args, **kwargs)

    @property
    def peft_config(self) -> Any:
        """The adapters' settings, which PEFT puts here when it wraps the model; no such attribute before."""
        if "_guard_adapters" not in self.__dict__:
            raise AttributeError("peft_config")
        return self.__dict__["_guard_adapters"]

    @peft_config.setter
    def peft_config(self, configs: Any) -> None:
        record_settings_with_adapters(self, configs)
        self.__dict__["_guard_adapters"] = configs

    @peft_config.deleter
    def peft_config(self) -> None:
        self.__dict__.pop("_guard_adapters", None)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _rebuild, (self._guard_stock,), self.__dict__


def add_head(model: PreTrainedModel) -> None:
    """Give a model the head that its config describes, freshly initialised, where and in the dtype its input is."""
    settings = read_settings(model.config.to_dict(), model.config, where="config")
    head = SafetyHead(
        hidden_size(model.config), len(settings.labels), settings.hidden_scale, settings.hidden_layers, settings.dropout
    )
    embedding = next(model.get_input_embeddings().parameters())
    dtype = embedding.dtype if embedding.is_floating_point() else model.dtype
    model.add_module(HEAD, head.to(device=embedding.device, dtype=dtype))
    install(text_decoder(model))


_classes: dict[type[PreTrainedModel], type[PreTrainedModel]] = {}


def guarded_class(stock: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The guarded subclass of a stock class, made once. Its forward shows the stock signature with the guard's two
    arguments added, because generate, Trainer and accelerate look at it."""
    if stock in _classes:
        return _classes[stock]
    signature = inspect.signature(stock.forward)
    parameters = list(signature.parameters.values())
    guard = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in ("do_safety", "safety_labels")
    ]
    rest = [parameter for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]

    def forward(self: GuardedModel, *args: Any, **kwargs: Any) -> Any:
        return self._guarded_forward(*args, **kwargs)

    forward.__signature__ = signature.replace(parameters=[*named, *guard, *rest])  # type: ignore[attr-defined]
    forward.__doc__ = stock.forward.__doc__
    namespace = {
        "__module__": stock.__module__,
        "__qualname__": stock.__qualname__,
        "__doc__": stock.__doc__,
        "forward": forward,
        "_guard_stock": stock,
        "_guard_parameters": tuple(parameter.name for parameter in named if parameter.name != "self"),
    }
    _classes[stock] = type(stock.__name__, (GuardedModel, stock), namespace)
    return _classes[stock]


def _rebuild(stock: type[PreTrainedModel]) -> PreTrainedModel:
    """An empty instance to unpickle or copy into; the guarded class cannot be found by its name."""
    cls = guarded_class(stock)
    return cls.__new__(cls)


def _guard_loss(logits: Tensor, valid: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the samples that have an image and a label; 0 (with a gradient of 0) without any."""
    if labels.shape != logits.shape[:1]:
        raise ValueError(f"safety_labels must have one id a sample, {len(logits)} in all, not {tuple(labels.shape)}")
    labels = torch.where(valid, labels.to(logits.device), IGNORED_LABEL)
    total = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED_LABEL, reduction="sum")
    return total / (labels != IGNORED_LABEL).sum().clamp(min=1)
