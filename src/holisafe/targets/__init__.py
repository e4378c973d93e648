"""Targets: ways to ask a model. One file each; `open_target` finds them by the first word of their spec."""

from __future__ import annotations

from ..records import GenerationSettings
from ..registry import targets
from ..specs import parse_spec
from .base import Target


def open_target(spec: str, settings: GenerationSettings) -> Target:
    """`hf/FOLDER,dtype=bfloat16` or `replay/FILE`. Raises InputError for an unknown kind or option, or a bad model."""
    kind, name, options = parse_spec(spec)
    target: Target = targets.get(kind).load(name, options, settings)
    return target
