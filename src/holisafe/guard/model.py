"""The guarded class: a stock image-text-to-text class with the guard read in the same pass.

For each stock class one subclass is made, with the stock class's name and module: `save_pretrained` then writes the
stock architecture, transformers' own key conversion stays on, and stock AutoModel opens what was saved.

    input_ids, pixel_values ─> stock forward ─> logits, loss
                                    │ tap on the text decoder: Reader
                                    v
                       features at image positions ─ mean ─> img_safety_head ─> img_safety_*

Letters in shapes: B samples, S positions in a row, H the decoder's width, P parts that are pooled, M images of a sample
at most, K labels, N packed conversations, L the longest of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from . import pooling
from .adapters import before_weights_are_collected, check_adapters_keep_head, record_settings_with_adapters
from .calls import (
    cached_positions,
    is_decode_step,
    keep_reading,
    only_read,
    packed_segments,
    reading_of,
    repeated,
    segment_spans,
    sequence,
    split_at,
    text_mask,
)
from .errors import GuardError
from .families import decoder_layers, hidden_size, image_token_ids, text_decoder
from .generation import Generation
from .head import HEAD, IGNORED, SafetyHead, guard_loss
from .outputs import Safety, guarded_output
from .pooling import Positions, layers_of, parts_of
from .reading import Enough, Reader, Reading
from .settings import read_settings
from .tap import arm, disarm, install
from .verdict import classified

if TYPE_CHECKING:
    Stock = PreTrainedModel
else:
    Stock = object


class GuardedModel(Stock):
    """Mixed in before the stock class. Forward and generate differ from it; saving refuses to lose the head."""

    accepts_loss_kwargs = False
    """Trainer would otherwise stop dividing by the number of accumulation steps, which multiplies the guard's loss."""

    last_safety: Safety | None = None
    """The guard's reading of the last generate; None before, when it was switched off or saw no prefill."""

    _guard_decoder: str
    """Where the text decoder is. Its name, since a copy or a replica has a decoder of its own."""

    _guard_stock: type[PreTrainedModel]
    _guard_parameters: tuple[str, ...]

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        add_head(self)

    def _guarded_forward(
        self,
        *args: Any,
        do_safety: bool | Literal["alone"] | None = None,
        safety_labels: Tensor | None = None,
        safety_segments: Tensor | None = None,
        safety_images: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The stock forward and, on a prefill, the guard's fields.

        do_safety       None: yes, except on a decode step (one new token after a cache); False: the stock output;
                        "alone": the guard's fields and nothing else, a Safety, from no more of the model than they need
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
        generation: Generation | None = self.__dict__.get("_guard_generation")
        if do_safety is False and safety_labels is not None:
            raise ValueError("safety_labels need the guard, but do_safety is False")
        if do_safety is False or is_decode_step(call) or (generation is not None and not generation.wants(call)):
            return super().forward(*args, **kwargs)

        wants_tuple = kwargs.pop("return_dict", None) is False  # PEFT passes None
        if do_safety == "alone":
            return Safety(**self._classify(self._read_alone(args, kwargs, call)))
        output, reading = self._read(args, kwargs, call)
        if generation is not None:
            generation.reading = reading
            return output.to_tuple() if wants_tuple else output

        fields = self._classify(reading)
        if safety_labels is not None:
            stock_loss = output.get("loss")
            of_guard = self._loss(fields, safety_labels)
            weighted = self.config.safety_loss_lambda * of_guard
            if stock_loss is not None:
                fields["lm_loss"] = stock_loss
            fields |= {"safety_loss": of_guard, "loss": weighted if stock_loss is None else stock_loss + weighted}
        guarded = guarded_output(output, **fields)
        return guarded.to_tuple() if wants_tuple else guarded

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: dict[str, Any]) -> tuple[ModelOutput, Reading]:
        """One stock forward with the decoder tapped, and what it adds to the reading of the conversation's cache."""
        cache, asked = call.get("past_key_values"), sequence(call)
        before = reading_of(cache, len(asked)) if cache is not None and asked is not None else None
        reader, decoder = self._reader(call, before), self._decoder()
        arm(decoder, reader)
        try:
            output = super().forward(*args, return_dict=True, **kwargs)
        finally:
            disarm(decoder)
        reading = reader.reading()
        keep_reading(output.get("past_key_values"), reading)
        return output, reading

    def _read_alone(self, args: tuple[Any, ...], kwargs: dict[str, Any], call: dict[str, Any]) -> Reading:
        """The reading of a forward that ends when the last feature has come: before the decoder where only projected
        features are pooled, between two of its layers, or before the output layer."""
        reader, decoder = self._reader(call, alone=not _offloaded(self)), self._decoder()
        arm(decoder, reader)
        try:
            super().forward(*args, return_dict=True, **{**kwargs, **only_read(self)})
        except Enough:
            pass
        finally:
            disarm(decoder)
        return reader.reading()

    def _decoder(self) -> nn.Module:
        """As `families.text_decoder`, whose search takes longer than pooling."""
        return attrgetter(self._guard_decoder)(self)  # type: ignore[no-any-return]

    def _reader(self, call: dict[str, Any], before: Reading | None = None, alone: bool = False) -> Reader:
        """What will pool a call's features. Raises RuntimeError when the positions cannot be told."""
        parts, asked = parts_of(self.config.safety_pool), sequence(call)
        if asked is None:
            raise RuntimeError("the guard cannot tell the image positions: the call has neither ids nor embeddings")
        # asked [B, S] or [B, S, H]; every mask [B, S]
        image = self._positions_of(asked, image_token_ids(self.config))
        masks: dict[Positions, Tensor] = {"image": image}
        kinds = {positions for _, positions in parts}
        if "token" in kinds:
            masks["token"] = self._positions_of(asked, (self.config.safety_token_id,))
        if "text" in kinds:
            masks["text"] = text_mask(call, image)
        numbers, cut_from = call.get("safety_images"), None
        if (segments := packed_segments(call)) is not None:
            # each conversation a row of its own: [B, S] -> [N, L]; cut_from [N, L] says where it stood
            spans = segment_spans(segments)
            masks = {kind: split_at(spans, mask) for kind, mask in masks.items()}
            numbers = None if numbers is None else split_at(spans, numbers)
            cut_from = split_at(spans, torch.arange(image.numel(), device=image.device).view_as(image))
        return Reader(
            asked.shape[:2],
            masks,
            parts,
            per_image=self.config.safety_unit == "image",
            image_numbers=numbers,
            cut_from=cut_from,
            before=before,
            alone=alone,
        )

    def _positions_of(self, asked: Tensor, tokens: Sequence[int]) -> Tensor:
        """Where these tokens stand in what the caller asked, ids or embeddings."""
        if asked.is_floating_point():
            return pooling.image_mask_from_embeddings(asked, self.get_input_embeddings(), tokens)
        return pooling.image_mask(asked, tokens)

    def _classify(self, reading: Reading) -> dict[str, Tensor]:
        return classified(getattr(self, HEAD), reading, self.config)

    def _loss(self, safety: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """A number, from labels [B], or [B, <= M] with unit "image"."""
        if labels.dim() < 2 or "img_safety_image_logits" not in safety:
            return guard_loss(safety["img_safety_logits"], safety["img_safety_valid"], labels)
        logits, valid = safety["img_safety_image_logits"], safety["img_safety_image_valid"]
        if len(labels) != len(logits):
            raise ValueError(f"safety_labels must have one row a sample, {len(logits)} in all, not {len(labels)}")
        # labels [B, any] -> [B, M]
        labels = F.pad(labels, (0, max(0, logits.shape[1] - labels.shape[1])), value=IGNORED)
        labels = labels[:, : logits.shape[1]]
        return guard_loss(logits.flatten(0, 1), valid.flatten(), labels.flatten())  # [B * M, K], [B * M] twice

    def generate(self, *args: Any, do_safety: bool | None = None, **kwargs: Any) -> Any:
        """As stock, with the guard read in the same prefill: in `last_safety`, one row a sample whatever the beams, and
        in the returned output under `return_dict_in_generate`. `do_safety=False` switches it off. On the cache of an
        earlier turn the reading of that turn's images goes on."""
        call = {**kwargs, "inputs": args[0]} if args else kwargs
        asked = sequence(call)
        rows = 1 if asked is None else len(asked)
        generation = Generation(
            wanted=do_safety is not False,
            reading=reading_of(call.get("past_key_values"), rows),
            reader_for=lambda seen: self._reader(repeated(call, seen // rows)),
        )
        decoder = self._decoder()
        if generation.wanted and asked is not None and not cached_positions(call):
            arm(decoder, generation)
        self.last_safety = None
        self.__dict__["_guard_generation"] = generation
        try:
            result = super().generate(*args, **kwargs)  # type: ignore[misc]  # the stock class's
        finally:
            self.__dict__["_guard_generation"] = None
            disarm(decoder)
        reading = generation.read()
        if reading is None:
            return result
        with torch.no_grad():
            times = 1 if asked is None else len(reading) // rows  # each sample stands there once for every beam
            self.last_safety = Safety(**self._classify(reading.every(times)))
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
    decoder = text_decoder(model)
    model._guard_decoder = next(name for name, module in model.named_modules() if module is decoder)
    install(decoder, {after: _layer_after(model, after) for after in layers_of(settings.pool)})


def _layer_after(model: PreTrainedModel, after: int) -> nn.Module:
    """The layer that the state after so many goes into. Raises GuardError where there is none."""
    layers = decoder_layers(model)
    if after >= len(layers):
        raise GuardError(f"guard settings: hidden@{after}, but of {len(layers)} layers; the last state is last_hidden")
    return layers[after]


def _offloaded(model: Any) -> bool:
    """Whether accelerate moves weights in and out around modules: a forward must then run to its end."""
    return bool({"cpu", "disk"} & {str(place) for place in (getattr(model, "hf_device_map", None) or {}).values()})


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

    names = frozenset(parameter.name for parameter in guard)

    def forward(self: GuardedModel, *args: Any, **kwargs: Any) -> Any:
        if is_decode_step(kwargs) and names.isdisjoint(kwargs):  # what generate repeats for every token
            return stock.forward(self, *args, **kwargs)
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
