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

from transformers import PROCESSOR_MAPPING, AutoConfig, AutoProcessor, ProcessorMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.utils.hub import PushToHubMixin
from transformers.utils.import_utils import is_torchvision_available

from ..errors import InputError
from .errors import one_line
from .folders import find_file, locate, read_object
from .meta_token import teach_processor
from .published.processor import is_original_llava, llava_processor

VIDEO = "video_processor"

_CLASS_IS_NAMED_IN = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)


def load_processor(path: str | Path, *, trust_remote_code: bool = False) -> Any:
    """The processor of a model folder or hub id, as AutoProcessor gives it; images only where torchvision is missing.

    Raises InputError, in one line, when there is none or it cannot be loaded.
    """
    source = locate(path)
    files = [name for name in (*_CLASS_IS_NAMED_IN, "tokenizer.json") if find_file(source, name)]
    adapter = None if files else find_file(source, "adapter_config.json")
    if adapter:  # its base model has the processor
        base = str(read_object(adapter).get("base_model_name_or_path"))
        processor = load_processor(base, trust_remote_code=trust_remote_code)
        settings = find_file(source, "guard.json")
        token = read_object(settings).get("safety_token_id") if settings else None
        return processor if token is None else teach_processor(processor, token, source)
    if not files:
        raise InputError("holds no processor: processor_config.json is missing", where=source)
    config = find_file(source, "config.json")
    fields = read_object(config) if config and _CLASS_IS_NAMED_IN[0] not in files else {}
    if is_original_llava(fields):
        return llava_processor(source, fields)
    with one_line(source):
        cls = _processor_class(source, trust_remote_code)
        if cls is not None and VIDEO in cls.get_attributes() and not is_torchvision_available():
            return _load_without_video(cls, source, trust_remote_code)
        processor = AutoProcessor.from_pretrained(source, trust_remote_code=trust_remote_code)
    if not isinstance(processor, ProcessorMixin):
        raise InputError(f"holds no processor, only a {type(processor).__name__}", where=source)
    return processor


def _processor_class(source: str, trust_remote_code: bool) -> Any:
    """The transformers class of the processor: as one of its files names it, else the one of the model's config."""
    for name in _CLASS_IS_NAMED_IN:
        file = find_file(source, name)
        named = read_object(file).get("processor_class") if file else None
        if named:
            return processor_class_from_name(named)
    if not find_file(source, "config.json"):
        return None
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    return PROCESSOR_MAPPING.get(type(config), None)


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
