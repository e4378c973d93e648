"""A tuning run that was killed goes on: checkpoints beside OUT, and what they are checkpoints of.

    OUT.unfinished/run.json              base, data, every setting: the run that may go on here
    OUT.unfinished/training_log.jsonl    the loss curve as it goes
    OUT.unfinished/checkpoint-40/        transformers' checkpoint: weights, optimiser, schedule, random numbers
    OUT.unfinished/checkpoint-40/log.json  the training log so far; written last, so a checkpoint with it is whole

The folder is removed when OUT stands.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from ..errors import InputError
from ..journal import read_json, write_json
from .recipe import Recipe

RUN, LOG = "run.json", "log.json"


def unfinished(out: Path) -> Path:
    """Where the checkpoints of a run that will become `out` lie."""
    return out.with_name(f"{out.name}.unfinished")


def check_same_run(folder: Path, run: Mapping[str, Any]) -> None:
    """Raise InputError, saying what differs, when the folder holds checkpoints of another run. A setting that there was
    not yet when it began was as it is by default."""
    if last_checkpoint(folder) is None:
        return
    before, now = dict(_leaves(read_json(folder / RUN))), dict(_leaves(run))
    default = _leaves(Recipe.model_validate({}).model_dump(mode="json"))
    before = {name: value for name, value in default if name in now} | before
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    if names:
        changes = "; ".join(f"{name} was {before.get(name)}, is {now.get(name)}" for name in names[:3])
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(
            f"holds the beginning of another run: {changes}{more}; remove it, or name another --out", where=folder
        )


@contextmanager
def unfinished_run(folder: Path, run: Mapping[str, Any]) -> Iterator[Path | None]:
    """Within it a run keeps its beginnings in `folder`; gives the checkpoint to go on from, if there is one. A run that
    ends early leaves the folder where a checkpoint is in it, and nothing otherwise.

    Raises InputError as `check_same_run`; and KeyboardInterrupt, when interrupted, with what the same call would do.
    """
    check_same_run(folder, run)
    checkpoint, first = last_checkpoint(folder), os.environ.get("RANK", "0") == "0"
    if first:
        if checkpoint is None:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before it kept anything
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RUN, run)
    try:
        yield checkpoint
    except BaseException as stop:
        last = last_checkpoint(folder)
        if first and last is None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(stop, KeyboardInterrupt):
            again = "begins anew: nothing was kept yet" if last is None else f"goes on from {last.name}"
            raise KeyboardInterrupt(f"stopped; the same command {again}") from None
        raise


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that is whole."""
    steps = {path.parent: path.parent.name.rpartition("-")[2] for path in folder.glob(f"checkpoint-*/{LOG}")}
    whole = [path for path, step in steps.items() if step.isascii() and step.isdecimal()]
    return max(whole, key=lambda path: int(steps[path]), default=None)


class CompleteCheckpoints(TrainerCallback):
    """Keeps the training log, as `TrainingLog.state` gives it, with every checkpoint."""

    def __init__(self, log_state: Callable[[], dict[str, Any]]) -> None:
        self.log_state = log_state

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.is_world_process_zero:
            write_json(Path(args.output_dir, f"checkpoint-{state.global_step}", LOG), self.log_state())


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its dotted name."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name.removeprefix("recipe."), value
