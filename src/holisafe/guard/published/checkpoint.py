"""What the loader is given for a folder or hub id: a stock config and, where keys differ, the weights by stock keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import CONFIG_MAPPING, AutoConfig

from ..errors import one_line
from ..settings import describes_guard
from .configs import stock_family, stock_fields
from .layouts import ORIGINAL_LLAVA
from .llava import read_llava


@dataclass(frozen=True)
class Checkpoint:
    """`weights` None: the files' keys are ones that transformers renames by itself. `generation`: fields that the
    generation config must have on top of its file's."""

    config: Any
    weights: dict[str, Tensor] | None = None
    generation: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(
    source: str, fields: Mapping[str, Any], *, vision_tower: str | None, trust_remote_code: bool
) -> Checkpoint:
    """Read a folder's or hub id's config, whose JSON is `fields`, without running code of its repository.

    vision_tower: a folder or hub id that holds the tower, for LLaVA releases without one.
    Raises InputError naming what is missing or unknown.
    """
    if any(name in fields for name in ORIGINAL_LLAVA):
        llava, weights, generation = read_llava(source, fields, vision_tower)
        return Checkpoint(_config(llava, source), weights, generation)
    if fields.get("model_type") not in CONFIG_MAPPING and not trust_remote_code:
        family = stock_family(fields, where=source)
    elif describes_guard(fields) and fields.get("auto_map"):
        family = fields["model_type"]
    else:
        with one_line(source):
            return Checkpoint(AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code))
    return Checkpoint(_config(stock_fields(fields, family, where=source), source))


def _config(fields: dict[str, Any], source: str) -> Any:
    with one_line(source):
        config = CONFIG_MAPPING[fields["model_type"]].from_dict(fields)
    config._name_or_path = source
    return config
