"""The Visual Guard Module: attach, load, save, read. Importing this package loads torch and transformers."""

from __future__ import annotations

from .attach import attach_guard, is_guarded, labels_of
from .head import SafetyHead
from .loading import load_guarded, load_model
from .outputs import Safety
from .processors import load_processor
from .saving import save_guarded

__all__ = [
    "Safety", "SafetyHead", "attach_guard", "is_guarded", "labels_of", "load_guarded", "load_model", "load_processor",
    "save_guarded",
]  # fmt: skip
