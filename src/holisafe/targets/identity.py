"""What identifies a model that judges or guards, apart from where it is and how it is reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPERATIONAL = {
    "attempts", "base_url", "batch_size", "device", "input_price", "key", "max_bytes", "max_in_flight",
    "output_price", "stream", "timeout", "tuned_from",
}  # fmt: skip
"""Options that say where a model is and how it is reached, but not what it says: no part of the name of who asks it."""


def written(kind: str, model: str, options: Mapping[str, str]) -> str:
    """The spec of a model with options, as it is typed."""
    return ",".join([f"{kind}/{model}", *(f"{name}={value}" for name, value in options.items())])


def telling(options: Mapping[str, str]) -> dict[str, str]:
    """The options that what a model says depends on, in the order of their names."""
    return {name: value for name, value in sorted(options.items()) if name not in OPERATIONAL}


def without_place(description: Any) -> Any:
    """A target's description without what only says where it is."""
    if isinstance(description, dict):
        return {name: without_place(value) for name, value in description.items() if name not in OPERATIONAL}
    return description
