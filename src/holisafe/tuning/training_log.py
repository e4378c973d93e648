"""The log of a training run: means of the losses every few steps, in memory and in `training_log.jsonl`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from transformers import TrainerCallback

from ..errors import InputError
from .safekey import DUAL_PATH, QUERY_MASK

if TYPE_CHECKING:
    from .trainer import SafetyTrainer

TRAINING_LOG: Final = "training_log.jsonl"
LOSSES = ("loss", "lm_loss", "safety_loss", "margin", DUAL_PATH, QUERY_MASK)

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every optimiser step with the step, the number of steps and the latest losses."""


class TrainingLog:
    """`lines`: one dict of step, epoch, losses and seconds every `log_every` steps; also in a file, where one is given.

    Between lines the losses of each batch are summed.
    """

    def __init__(self, file: Path | None) -> None:
        self.file, self.lines = file, list[dict[str, float]]()
        self._sums, self._counts = dict[str, Tensor](), dict[str, int]()
        self._began = time.perf_counter()

    def add(self, outputs: Mapping[str, Any]) -> None:
        """Add the losses of one batch, each a tensor of no dimensions."""
        for name in LOSSES:
            value = outputs.get(name)
            if value is not None:
                self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()
                self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Of the losses since the means were last asked for."""
        found = {name: round(float(value) / self._counts[name], 6) for name, value in self._sums.items()}
        self._sums, self._counts = {}, {}
        return found

    def write(self, state: Any, values: Mapping[str, float]) -> dict[str, float]:
        """Add a line, here and on disk. Raises InputError when its loss is no number."""
        place = {"step": state.global_step, "epoch": round(float(state.epoch or 0.0), 4)}
        line = {**place, **values, "seconds": round(time.perf_counter() - self._began, 2)}
        self.lines.append(line)
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        if not math.isfinite(line.get("loss", 0.0)):
            problem = f"the loss is no number any more at step {line['step']}; lower optimiser.learning_rate"
            raise InputError(problem, where="recipe")
        return line

    def state(self) -> dict[str, Any]:
        """The log, and the sums since its last line, as JSON holds them without loss."""
        sums = {name: float(value) for name, value in self._sums.items()}
        spent = time.perf_counter() - self._began
        return {"lines": self.lines, "sums": sums, "counts": self._counts, "seconds": spent}

    def restore(self, held: Mapping[str, Any], device: torch.device) -> None:
        """Go on with the log that `state` gave."""
        self.lines[:], self._counts = held["lines"], held["counts"]
        self._sums = {name: torch.tensor(value, device=device) for name, value in held["sums"].items()}
        self._began = time.perf_counter() - held["seconds"]


class Notes(TrainerCallback):
    """Writes the log's lines, tells the caller how far it is, and lets nothing but the checkpointed layers keep a
    graph."""

    def __init__(self, trainer: SafetyTrainer, progress: Progress | None) -> None:
        self.trainer, self.progress = trainer, progress
        self.latest: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
        # With checkpointing, transformers makes every embedding's output require a gradient. Checkpoints that are not
        # re-entrant have no use for it; it makes a frozen tower keep its activations, and fails on a Swin's tuple.
        getattr(model, "disable_input_require_grads", lambda: None)()

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any) -> None:
        loss = round(float(metrics["eval_loss"]), 6)
        self.trainer.training_log.write(state, {"validation_loss": loss})
        self.latest = {**self.latest, "validation_loss": loss}

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self.trainer.safekey is not None:  # which the Trainer, knowing the model alone, does not empty
            self.trainer.safekey.heads.zero_grad()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step % self.trainer.recipe.compute.log_every == 0 or state.global_step == state.max_steps:
            trainer = self.trainer
            means = {**trainer.training_log.means(), "learning_rate": trainer._get_learning_rate()}
            trainer.log(means)  # to whom `report_to` names
            line = trainer.training_log.write(state, means)
            self.latest |= {name: line[name] for name in LOSSES if name in line}
        if self.progress is not None:
            self.progress(state.global_step, state.max_steps, self.latest)
