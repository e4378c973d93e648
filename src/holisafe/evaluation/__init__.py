"""The only place that wires the stages together. `evaluate` measures a target, `judge_run` judges a run again."""

from __future__ import annotations

from .pairs import evaluate, judge_run
from .progress import Progress

__all__ = ["Progress", "evaluate", "judge_run"]
