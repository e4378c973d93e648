"""Checkpoints in layouts that transformers' Auto classes do not open: the published Safe-VLM models and their kind.

Their repositories bring code of their own, which is not run: the config is rewritten as the stock family's, and the
weights are renamed to its keys. What a folder holds is told by its config alone:

    model type or architecture named after a family   configs.py   SafeQwen2.5-VL, SafeGem; flat or nested fields
    fields `mm_*` beside flat LLaMA fields            llava.py     SafeLLaVA, and LLaVA as its authors release it
"""

from __future__ import annotations

from .checkpoint import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "read_checkpoint"]
