"""Safety tuning through transformers' Trainer: next-token loss on the answers plus the guard's loss on the images.

    base model ─ attach guard ─ freeze / LoRA ─ Trainer(examples, collator) ─ merge ─ OUT

OUT holds model and processor, recipe.yaml, training_log.jsonl (the loss curve) and tuning.json (what went in).
It appears whole when all is done, or not at all.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from ..errors import InputError
from ..guard import attach_guard, is_guarded, load_model, load_processor, save_guarded
from ..guard.quiet import quiet
from ..store import write_json
from .data import Example, load_examples, select
from .parts import set_trainable
from .recipe import Recipe, load_recipe, save_recipe
from .trainer import Progress, SafetyTrainer, make_trainer


def tune(
    base: str | Path,
    data: str | Sequence[str] | Sequence[Example],
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Tune `base` (hub id, folder or `pictovlm`) on `data` and save the result as the folder `out`, which it returns.

    `data` is what `load_examples` reads, several of them, or examples. `recipe` is one, or the name or file of one;
    `seed` overrides its seed. With the same seed on the same machine the weights come out the same.
    `holisafe.load_guarded(out)` opens the result (stock transformers does too), and `hf/OUT` measures it.

    Raises InputError for anything wrong with base, data, recipe or `out` (which must be absent or empty), and when
    the loss stops being a number. Nothing is written to `out` then.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = recipe if seed is None else recipe.model_copy(update={"seed": seed})
    out = Path(out)
    _check_out(out)
    sources, examples = _gather(data)
    examples = select(examples, recipe.data.shares, recipe.data.max_examples)
    with quiet():
        _tune(base, sources, examples, recipe, out, progress)
    return out


def _tune(
    base: str | Path, sources: list[str], examples: list[Example], recipe: Recipe, out: Path, progress: Progress | None
) -> None:
    """Load, train, save."""
    started = time.perf_counter()
    processor, model = load_processor(base), _load_base(base, recipe)
    set_seed(recipe.seed)
    if recipe.guard.enabled:
        model = with_guard(model, recipe)
    model = set_trainable(model, recipe)
    with tempfile.TemporaryDirectory() as scratch, _config_kept(model):
        trainer = make_trainer(model, processor, examples, recipe, scratch, progress)
        with trainer.collator.vision.on() if trainer.collator.vision else nullcontext():
            trainer.train()
    report = {
        "base": str(base),
        "data": sources,
        "seed": recipe.seed,
        "examples": dict(sorted(Counter(example.kind for example in examples).items())),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "steps": trainer.state.global_step,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": {name: version(name) for name in ("holisafe", "torch", "transformers", "peft")}
        | {"python": platform.python_version()},
    }
    if trainer.is_world_process_zero():
        _save(model, load_processor(base), trainer, report, out)  # a fresh one: use leaves traces in a tokenizer


def with_guard(model: Any, recipe: Recipe) -> Any:
    """The model with a guard of the recipe's shape; one it already has is kept, and only weighted anew."""
    settings = recipe.guard
    if is_guarded(model):
        model.config.safety_loss_lambda = settings.loss_weight
        return model
    return attach_guard(
        model,
        hidden_scale=settings.hidden_scale,
        hidden_layers=settings.hidden_layers,
        dropout=settings.dropout,
        loss_weight=settings.loss_weight,
    )


def _gather(data: str | Sequence[str] | Sequence[Example]) -> tuple[list[str], list[Example]]:
    """The names of the sources and all their examples."""
    parts = [data] if isinstance(data, str) else list(data)
    sources = [part for part in parts if isinstance(part, str)]
    loaded = [example for source in sources for example in load_examples(source)]
    return sources, loaded + [part for part in parts if isinstance(part, Example)]


def _load_base(base: str | Path, recipe: Recipe) -> Any:
    """The model to start from; one that is an adapter on another is merged first."""
    model, compute, lora = (
        load_model(base, dtype=getattr(torch, recipe.compute.dtype)),
        recipe.compute,
        recipe.trainable,
    )
    if hasattr(model, "merge_and_unload"):
        if lora.method == "lora" and lora.lora.save == "adapter":
            raise InputError("is an adapter itself, so the result must be saved merged", where=base)
        model = model.merge_and_unload()
    if compute.attention is not None:
        try:
            model.set_attn_implementation(compute.attention)
        except (ValueError, ImportError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(reason, where="recipe", field="compute.attention") from None
    return model


@contextmanager
def _config_kept(model: Any) -> Iterator[None]:
    """Undo Trainer's switching the cache off in the configs, which would be saved and slow every later user down."""
    configs = [model.config, model.config.get_text_config()]
    before = [vars(config).get("use_cache") for config in configs]
    yield
    for config, value in zip(configs, before, strict=True):
        if value is None:
            vars(config).pop("use_cache", None)
        else:
            config.use_cache = value


def _check_out(out: Path) -> None:
    """Raise InputError unless a folder can be made there."""
    if out.is_dir() and any(out.iterdir()):
        raise InputError("the folder is not empty", where=out)
    if out.exists() and not out.is_dir():
        raise InputError("is a file", where=out)
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError("cannot be created: no right to write there", where=out)


def _save(model: Any, processor: Any, trainer: SafetyTrainer, report: dict[str, Any], out: Path) -> None:
    """Everything into a sibling folder, which is then renamed: `out` is whole or absent."""
    recipe = trainer.recipe
    if recipe.trainable.method == "lora" and recipe.trainable.lora.save == "merged":
        model = model.merge_and_unload()
    unfinished = out.parent / f".{out.name}.{os.getpid()}.unfinished"
    unfinished.mkdir(parents=True)
    try:
        if is_guarded(model):
            save_guarded(model, unfinished)
        else:
            model.save_pretrained(unfinished)
        processor.save_pretrained(unfinished)
        save_recipe(recipe, unfinished / "recipe.yaml")
        lines = "".join(json.dumps(line) + "\n" for line in trainer.lines)
        (unfinished / "training_log.jsonl").write_text(lines, encoding="utf-8")
        write_json(unfinished / "tuning.json", report)
        for file in unfinished.iterdir():  # safetensors writes for the owner alone, whatever the umask
            file.chmod((unfinished / "recipe.yaml").stat().st_mode)
        unfinished.replace(out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
