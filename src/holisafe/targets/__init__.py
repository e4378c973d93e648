"""Targets: ways to ask a model. One file each; `open_target` finds them by the first word of their spec."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..records import GenerationSettings
from ..registry import targets
from ..specs import parse_spec
from .base import Target


def open_target(spec: str, settings: GenerationSettings) -> Target:
    """`hf/FOLDER,dtype=bfloat16` or `replay/FILE`. Raises InputError for an unknown kind or option, or a bad model."""
    folder = spec.partition(",")[0]
    if Path(folder).is_dir() and folder.partition("/")[0] not in targets.entries():
        raise InputError(f"a model in a folder is written hf/{folder}", where=folder)
    kind, name, options = parse_spec(spec)
    target: Target = targets.get(kind).load(name, options, settings)
    return target
