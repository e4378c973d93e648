"""Load a processor for image-text use, also where torchvision is missing and only its video half needs it.

    processor = image processor (PIL variant) + tokenizer + chat template [+ video processor: needs torchvision]

Qwen-VL, InternVL, SmolVLM and others refuse to load without their video processor. Here its place is taken by a
stand-in that keeps the video settings, so that saving loses nothing, and that complains when a video comes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from transformers import CONFIG_MAPPING, PROCESSOR_MAPPING, AutoProcessor, ProcessorMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils.hub import PushToHubMixin
from transformers.utils.import_utils import is_torchvision_available

from ..errors import InputError
from .bounded import begin
from .errors import one_line
from .folders import find_file, locate, locate_named, read_object, require_config
from .meta_token import teach_processor
from .published.configs import stock_family
from .published.layouts import PROCESSORS
from .published.processor import is_original_llava, llava_processor
from .settings import describes_guard

VIDEO = "video_processor"

_CLASS_IS_NAMED_IN = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)


def load_processor(path: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The processor of a model folder or hub id, as AutoProcessor gives it; images only where torchvision is missing.

    A published Safe-VLM checkpoint that was asked for by hub id and holds none has its base model's. A local folder
    never makes a download happen: there the base model is named.

    Raises InputError, in one line, when there is none or it cannot be loaded.
    """
    source = locate(path)
    begin()
    files = [name for name in (*_CLASS_IS_NAMED_IN, "tokenizer.json") if find_file(source, name)]
    adapter = None if files else find_file(source, "adapter_config.json")
    if adapter:  # its base model has the processor
        base = locate_named(read_object(adapter).get("base_model_name_or_path"), source, adapter)
        processor = load_processor(base, trust_remote_code=trust_remote_code)
        settings = find_file(source, "guard.json")
        token = read_object(settings).get("safety_token_id") if settings else None
        return processor if token is None else teach_processor(processor, token, source)
    fields = require_config(source) if find_file(source, "config.json") else {}
    if _CLASS_IS_NAMED_IN[0] in files:
        fields = {}
    if not files:
        fitting = _processor_of_base(fields)
        if fitting and not Path(source).is_dir():
            return load_processor(fitting)
        its = f"; its base model's fits: {fitting}" if fitting else ""
        raise InputError(f"holds no processor: processor_config.json is missing{its}", where=source)
    if is_original_llava(fields):
        return llava_processor(source, fields)
    with one_line(source):
        cls = _processor_class(source, trust_remote_code)
        if cls is not None and VIDEO in cls.get_attributes() and not is_torchvision_available():
            return _load_without_video(cls, source, trust_remote_code)
        loader = AutoProcessor if cls is None or trust_remote_code else cls
        processor = loader.from_pretrained(source, trust_remote_code=trust_remote_code)
    if not isinstance(processor, ProcessorMixin):
        raise InputError(f"holds no processor, only a {type(processor).__name__}", where=source)
    return processor


def _processor_class(source: str, trust_remote_code: bool) -> Any:
    """The transformers class of the processor: as one of its files names it, else the one of the model's family. None
    where neither is known, or where code of the repository decides."""
    for name in _CLASS_IS_NAMED_IN:
        file = find_file(source, name)
        named = read_object(file).get("processor_class") if file else None
        cls = processor_class_from_name(named) if named else None
        if cls is not None:
            return cls
        if named and trust_remote_code:
            return None
    config = find_file(source, "config.json")
    family = _family(read_object(config)) if config else None
    return PROCESSOR_MAPPING.get(CONFIG_MAPPING[family], None) if family else None


def _family(fields: Mapping[str, Any]) -> str | None:
    """The stock model type of a config, also of one with names of its own; None where it is known to nobody."""
    kind = fields.get("model_type")
    if isinstance(kind, str) and kind in CONFIG_MAPPING:
        return kind
    try:
        return stock_family(fields, where="config.json")
    except InputError:
        return None


def _processor_of_base(fields: Mapping[str, Any]) -> str | None:
    """The hub model whose processor a published checkpoint takes; None for other models."""
    return PROCESSORS.get(_family(fields) or "") if describes_guard(fields) else None


class VideoStandIn(PushToHubMixin):  # ProcessorMixin saves what derives from it
    """Takes the place of a video processor: its settings can be read and saved, but it processes nothing."""

    _auto_class = None

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "settings":
            raise AttributeError(name)
        return self.settings.get(name)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise InputError("videos need torchvision, which is not installed")

    def to_dict(self) -> dict[str, Any]:
        return dict(self.settings)


def _load_without_video(cls: Any, source: str, trust_remote_code: bool) -> Any:
    """`cls.from_pretrained` with a stand-in for the video processor."""
    settings, options = cls.get_processor_dict(source)
    others = [name for name in cls.get_attributes() if name != VIDEO]

    class WithoutVideo(cls):  # type: ignore[misc]
        @classmethod
        def get_attributes(cls) -> list[str]:
            return others

    class WithStandIn(cls):  # type: ignore[misc]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            if isinstance(argument, VideoStandIn):
                return VideoStandIn
            return super().check_argument_for_proper_class(argument_name, argument)

    loaded = WithoutVideo._get_arguments_from_pretrained(source, settings, trust_remote_code=trust_remote_code)
    parts = {**dict(zip(others, loaded, strict=True)), VIDEO: VideoStandIn(_video_settings(source, settings))}
    _spell_numbers_without_library(cls)
    processor = WithStandIn.from_args_and_dict([parts[name] for name in cls.get_attributes()], settings, **options)
    processor.__class__ = cls
    return processor


def _video_settings(source: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Where transformers looks for them, in that order."""
    if isinstance(settings.get(VIDEO), Mapping):
        return dict(settings[VIDEO])
    files = (find_file(source, name) for name in ("video_preprocessor_config.json", "preprocessor_config.json"))
    return next((read_object(file) for file in files if file), {})


def _spell_numbers_without_library(cls: Any) -> None:
    """SmolVLM spells a video's number of frames with num2words and refuses to load without it; images need none."""
    module = sys.modules[cls.__module__]
    if getattr(module, "num2words", str) is None:
        setattr(module, "num2words", str)  # noqa: B010 - transformers' module has no such typed attribute
