"""Rewrite the config of a checkpoint with custom names, flat or nested, as its stock family's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

from transformers import CONFIG_MAPPING, PreTrainedConfig

from ...errors import InputError
from .layouts import FAMILY_MARKS

ROPE: Final = ("rope_theta", "rope_scaling", "rope_parameters")
OF_THE_RELEASE: Final = ("auto_map", "architectures", "_name_or_path", "transformers_version")
"""Fields about the files that came with the config; `auto_map` names code that is not run."""


def stock_family(fields: Mapping[str, Any], where: str) -> str:
    """The stock model type that a config's names stand for. Raises InputError when they stand for none."""
    names = [str(fields.get("model_type", "")), *map(str, fields.get("architectures") or ())]
    for name in names:
        plain = re.sub(r"[^a-z0-9]", "", name.lower())
        for mark, family in FAMILY_MARKS.items():
            if mark in plain:
                return family
    raise InputError(
        f"{fields.get('model_type')!r} is no model type that transformers or holisafe knows",
        where=where,
        field="model_type",
    )


def stock_fields(fields: Mapping[str, Any], family: str, where: str) -> dict[str, Any]:
    """The config of the stock `family`: the text model's fields moved into `text_config` where they lie at the top,
    custom names of the parts dropped, everything else kept. Raises InputError naming what is missing."""
    config = {name: value for name, value in fields.items() if name not in OF_THE_RELEASE}
    config["model_type"] = family
    text = part_fields(config.get("text_config"))
    if not text:
        text = flat_text(config, CONFIG_MAPPING[family].sub_configs["text_config"])
        config = {name: value for name, value in config.items() if name not in text}
    if "hidden_size" not in text:
        raise InputError("is missing, at the top and in text_config", where=where, field="hidden_size")
    if not config.get("vision_config"):
        raise InputError("is missing", where=where, field="vision_config")
    return {**config, "text_config": text, "vision_config": part_fields(config["vision_config"])}


def part_fields(part: Mapping[str, Any] | None) -> dict[str, Any]:
    """A part's fields without a model type that transformers does not know: the family's own then applies."""
    fields = dict(part or {})
    if fields.get("model_type") not in CONFIG_MAPPING:
        fields.pop("model_type", None)
    return {name: value for name, value in fields.items() if name not in OF_THE_RELEASE}


def flat_text(fields: Mapping[str, Any], text_class: Any) -> dict[str, Any]:
    """What of a flat config belongs to the text model. Fields that every config has stay at the top."""
    own = {*inspect.signature(text_class.__init__).parameters, *ROPE} - {
        *inspect.signature(PreTrainedConfig.__init__).parameters
    }
    return {name: fields[name] for name in fields if name in own}
