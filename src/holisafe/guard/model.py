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
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from .. import taxonomy
from . import pooling, turns
from .adapters import before_weights_are_collected, check_adapters_keep_head, record_settings_with_adapters
from .calls import cached_positions, is_decode_step, packed_segments, sequence, text_mask
from .families import hidden_size, image_token_ids, text_decoder
from .head import HEAD, SafetyHead, of_sample
from .outputs import Safety, guarded_output
from .pooling import Positions, Reading, Side, parts_of
from .settings import read_settings
from .tap import Tap, arm, disarm, install

IGNORED_LABEL = -100

if TYPE_CHECKING:
    Stock = PreTrainedModel
else:
    Stock = object


class _Generation:
    """One call of generate: whether its prefill is to be read, and the reading, which grows when it comes in chunks."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.reading: Reading | None = None

    def wants(self, call: dict[str, Any]) -> bool:
        """Whether this forward belongs to the prefill. Without a cache every token repeats it: once is enough."""
        return self.wanted and (self.reading is None or cached_positions(call) > 0)


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
        self,
        *args: Any,
        do_safety: bool | None = None,
        safety_labels: Tensor | None = None,
        safety_segments: Tensor | None = None,
        safety_images: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The stock forward and, on a prefill, the guard's fields.

        do_safety       None: yes, except on a decode step (one new token after a cache); False: the stock output
        safety_labels   [B] ids of the samples' labels, -100 where there is none; adds the guard's loss to the stock
                        loss. With unit "image" also [B, M]: those of each sample's first M images
        safety_segments [B, S] for packed sequences: which conversation a position belongs to, below 0: none. Each is a
                        sample of its own, in order. None: read from `position_ids` that start anew, as transformers
                        does, which is when neither attention mask nor cache is given
        safety_images   [B, S] with unit "image": which image, from 1, a position belongs to. None: each run of image
                        positions is one
        """
        call = {**dict(zip(self._guard_parameters, args, strict=False)), **kwargs}
        call |= {"safety_segments": safety_segments, "safety_images": safety_images}
        generation: _Generation | None = self.__dict__.get("_guard_generation")
        if do_safety is False and safety_labels is not None:
            raise ValueError("safety_labels need the guard, but do_safety is False")
        if do_safety is False or is_decode_step(call) or (generation is not None and not generation.wants(call)):
            return super().forward(*args, **kwargs)

        wants_tuple = kwargs.pop("return_dict", None) is False  # PEFT passes None
        output, reading = self._read(args, kwargs, call)
        if generation is not None:
            generation.reading = reading
            return output.to_tuple() if wants_tuple else output

        safety = self._classify(reading)
        fields: dict[str, Tensor | None] = dict(safety)
        if safety_labels is not None:
            stock_loss = output.get("loss")
            guard_loss = self._loss(safety, safety_labels)
            weighted = self.config.safety_loss_lambda * guard_loss
            fields |= {"loss": weighted if stock_loss is None else stock_loss + weighted}
            fields |= {"lm_loss": stock_loss, "safety_loss": guard_loss}
        guarded = guarded_output(output, **fields)
        return guarded.to_tuple() if wants_tuple else guarded

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: dict[str, Any]) -> tuple[ModelOutput, Reading]:
        """One stock forward with the decoder tapped, and what it adds to the reading of the conversation's cache."""
        cache, asked = call.get("past_key_values"), sequence(call)
        before = turns.reading_of(cache, len(asked)) if cache is not None and asked is not None else None
        decoder = text_decoder(self)
        tap = arm(decoder, self._guard_sides())
        try:
            output = super().forward(*args, return_dict=True, **kwargs)
        finally:
            disarm(decoder)
        reading = self._pool(tap, call, before)
        turns.keep(output.get("past_key_values"), reading)
        return output, reading

    def _guard_sides(self) -> set[Side]:
        return {side for side, _ in parts_of(self.config.safety_pool)}

    def _pool(self, tap: Tap, call: dict[str, Any], before: Reading | None = None) -> Reading:
        """Pool what the decoder saw. Raises RuntimeError when it saw nothing or the positions cannot be told."""
        parts, asked = parts_of(self.config.safety_pool), sequence(call)
        if missing := [side for side in self._guard_sides() if side not in tap.features]:
            raise RuntimeError(f"the guard saw no {missing[0]} of the text decoder, so it has nothing to pool")
        features = dict(tap.features)
        shape = next(iter(features.values())).shape[:2]
        if asked is None or asked.shape[:2] != shape:
            gave = None if asked is None else tuple(asked.shape[:2])
            raise RuntimeError(f"the guard cannot tell the image positions: decoder {tuple(shape)}, call {gave}")

        image = self._positions_of(asked, image_token_ids(self.config))
        masks: dict[Positions, Tensor] = {"image": image}
        kinds = {positions for _, positions in parts}
        token = self.config.safety_token_id if "token" in kinds else None
        if token is not None:
            masks["token"] = self._positions_of(asked, (token,))
        if "text" in kinds:
            masks["text"] = text_mask(call, image)
        numbers = call.get("safety_images")
        if (packed := packed_segments(call)) is not None:
            spans = pooling.segments(packed)
            features = {side: pooling.split_at(spans, tensor) for side, tensor in features.items()}
            masks = {kind: pooling.split_at(spans, mask) for kind, mask in masks.items()}
            numbers = None if numbers is None else pooling.split_at(spans, numbers)
        per_image = self.config.safety_unit == "image"
        return pooling.read(features, masks, parts, per_image=per_image, image_numbers=numbers, before=before)

    def _positions_of(self, asked: Tensor, tokens: Sequence[int]) -> Tensor:
        """Where these tokens stand in what the caller asked, ids or embeddings."""
        if asked.is_floating_point():
            return pooling.image_mask_from_embeddings(asked, self.get_input_embeddings(), tokens)
        return pooling.image_mask(asked, tokens)

    def _classify(self, reading: Reading) -> Safety:
        """One row a sample; with unit "image" a row an image beside it, and the sample's is made of them."""
        logits: Tensor = getattr(self, HEAD)(reading.features)
        probabilities, valid = logits.float().softmax(dim=-1), reading.valid.to(logits.device)
        if self.config.safety_unit == "sample":
            return Safety(logits[:, 0], probabilities[:, 0], valid[:, 0])
        labels = list(self.config.safety_categories)
        safe = labels.index(taxonomy.SAFE) if taxonomy.SAFE in labels else 0
        sample = of_sample(logits, probabilities, valid, self.config.safety_verdict, safe)
        return Safety(*sample, valid.any(dim=1), logits, probabilities, valid)

    def _loss(self, safety: Safety, labels: Tensor) -> Tensor:
        if labels.dim() < 2 or safety.img_safety_image_logits is None:
            return _guard_loss(safety["img_safety_logits"], safety["img_safety_valid"], labels)
        logits, valid = safety["img_safety_image_logits"], safety["img_safety_image_valid"]
        if len(labels) != len(logits):
            raise ValueError(f"safety_labels must have one row a sample, {len(logits)} in all, not {len(labels)}")
        labels = F.pad(labels, (0, max(0, logits.shape[1] - labels.shape[1])), value=IGNORED_LABEL)
        labels = labels[:, : logits.shape[1]]
        return _guard_loss(logits.flatten(0, 1), valid.flatten(), labels.flatten())

    def generate(self, *args: Any, do_safety: bool | None = None, **kwargs: Any) -> Any:
        """As stock, with the guard read in the same prefill: in `last_safety`, one row a sample whatever the beams, and
        in the returned output under `return_dict_in_generate`. `do_safety=False` switches it off. On the cache of an
        earlier turn the reading of that turn's images goes on."""
        generation = _Generation(wanted=do_safety is not False)
        call = {**kwargs, "inputs": args[0]} if args else kwargs
        asked = sequence(call)
        decoder = text_decoder(self)
        tap = arm(decoder, self._guard_sides()) if generation.wanted else None
        self.last_safety = None
        self.__dict__["_guard_generation"] = generation
        try:
            result = super().generate(*args, **kwargs)  # type: ignore[misc]  # the stock class's
        finally:
            self.__dict__["_guard_generation"] = None
            disarm(decoder)
        reading = generation.reading
        if reading is None and tap is not None and tap.features and asked is not None:
            # BLIP-2's generate calls its language model past this model's forward: read what the decoder saw first.
            times = len(next(iter(tap.features.values()))) // len(asked)
            names = ("input_ids", "inputs", "inputs_embeds", "attention_mask")
            repeated = {n: call[n].repeat_interleave(times, dim=0) for n in names if torch.is_tensor(call.get(n))}
            reading = self._pool(tap, repeated)
        if reading is None:
            return result
        with torch.no_grad():
            rows = len(reading.images) // len(asked) if asked is not None else 1
            self.last_safety = self._classify(reading.every(rows))
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
    for field, value in settings.as_fields().items():  # an older folder's under today's names
        setattr(model.config, field, value)
    width = hidden_size(model.config) * len(parts_of(settings.pool))
    head = SafetyHead(width, len(settings.labels), settings.hidden_scale, settings.hidden_layers, settings.dropout)
    embedding = next(model.get_input_embeddings().parameters())
    dtype = embedding.dtype if embedding.is_floating_point() else model.dtype
    model.add_module(HEAD, head.to(device=embedding.device, dtype=dtype))
    install(text_decoder(model))


_classes: dict[type[PreTrainedModel], type[PreTrainedModel]] = {}


def guarded_class(stock: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The guarded subclass of a stock class, made once. Its forward shows the stock signature with the guard's
    arguments added, because generate, Trainer and accelerate look at it."""
    if stock in _classes:
        return _classes[stock]
    signature = inspect.signature(stock.forward)
    parameters = list(signature.parameters.values())
    guard = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        for name in ("do_safety", "safety_labels", "safety_segments", "safety_images")
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
