"""Safety tuning through transformers' Trainer: next-token loss on the answers plus the guard's loss on the images.

    base model ─ attach guard ─ freeze / LoRA ─ Trainer(examples, collator) ─ merge ─ OUT

OUT holds model and processor, recipe.yaml, training_log.jsonl (the loss curve), examples.jsonl (what was drawn) and
tuning.json (what went in). It appears whole when all is done, or not at all; checkpoints lie beside it until then.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from ..errors import InputError
from ..guard import attach_guard, is_guarded, labels_of, load_model, load_processor, save_guarded
from ..guard.meta_token import add_meta_token, reads_token, teach_processor
from ..guard.pooling import sources
from ..guard.quiet import quiet
from ..guard.thresholds_kept import forget
from ..journal import read_json, whole_folder, write_json
from ..records import digest
from .assembly import make_trainer
from .data import hold_back, load_examples, select
from .distort import distort
from .examples import Example
from .mix import draw_mix
from .overlap import Overlap, find_overlaps, refuse
from .packing import check_packable
from .parts import set_trainable
from .quantise import load_quantised
from .recipe import Guard, Recipe, load_recipe, save_recipe
from .resume import LOG, CompleteCheckpoints, unfinished, unfinished_run
from .spans import Spans, spans_of
from .steps import processes
from .trainer import SafetyTrainer
from .training_log import TRAINING_LOG, Progress

LEARNT_FROM = "examples learnt from"


@dataclass(frozen=True)
class Gathered:
    """What is trained on: the sources' names, the examples of an epoch, how the mix was drawn, what a benchmark asks
    too, how much of what was left out, since it teaches nothing, and how much was mended."""

    sources: list[str]
    examples: list[Example]
    mix: list[dict[str, Any]]
    overlaps: list[Overlap]
    left_out: Counter[str]
    repaired: Counter[str]


def tune(
    base: str | Path | None,
    data: str | Sequence[str] | Sequence[Example] | None,
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Tune `base` (hub id, folder or `pictovlm`) on `data` and save the result as the folder `out`, which it returns.

    `data` is what `load_examples` reads, several of them, or examples; None: the recipe's mix. `base` None: the
    recipe's. `recipe` is one, or the name or file of one; `seed` overrides its seed. With the same seed on the same
    machine the weights come out the same. `holisafe.load_guarded(out)` opens the result (stock transformers does too),
    and `hf/OUT` measures it.

    A run that was stopped in whatever way goes on from its last checkpoint (`compute.save_every`) when the same call is
    made again; until it is done, these and the log lie in `OUT.unfinished`.

    Raises InputError for anything wrong with base, data, recipe or `out` (which must be absent or empty); when
    training data occur in a benchmark that the recipe names; when another run's checkpoints are in the way; and when
    the loss stops being a number. Nothing is written to `out` then.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = recipe if seed is None else recipe.model_copy(update={"seed": seed})
    out = Path(out)
    _check_out(out)
    base = base_of(base, recipe)
    gathered = gather(data, recipe)
    refuse(gathered.overlaps, recipe.data)
    with quiet():
        _tune(base, gathered, recipe, out, progress)
    return out


def base_of(base: str | Path | None, recipe: Recipe) -> str | Path:
    """The named model, or the recipe's. Raises InputError when neither is there."""
    if base is None and recipe.base is None:
        raise InputError("names no base model, and no --base is given", where="recipe", field="base")
    return base if base is not None else str(recipe.base)


def gather(data: str | Sequence[str] | Sequence[Example] | None, recipe: Recipe) -> Gathered:
    """Read, draw and compare with the benchmarks. Raises InputError for whatever is wrong with the data."""
    if bool(data) == bool(recipe.data.mix):
        problem = "name the data, or give the recipe a mix" if not data else "the recipe has a mix: name no other data"
        raise InputError(problem, where="recipe", field="data.mix")
    mix: list[dict[str, Any]] = []
    labels, left_out, repaired = recipe.guard.data_labels, Counter[str](), Counter[str]()
    if not data:
        loaded, mix = draw_mix(recipe.data, labels, left_out, repaired)
        sources = [part.source if part.path is None else f"{part.source}:{part.path}" for part in recipe.data.mix]
    else:
        parts = [data] if isinstance(data, str) else list(data)
        sources = [part for part in parts if isinstance(part, str)]
        loaded = [one for source in sources for one in load_examples(source, labels, left_out, repaired)]
        loaded += [part for part in parts if isinstance(part, Example)]
    if recipe.data.marks is None:
        loaded = [replace(one, thought=None, understanding=None) if one.thought else one for one in loaded]
    examples = select(loaded, recipe.data.shares, recipe.data.max_examples)
    overlaps = find_overlaps(examples, recipe.data)
    examples = distort(examples, recipe.data.distort, recipe.data.draw_seed)
    return Gathered(sources, examples, mix, overlaps, left_out, repaired)


def _tune(base: str | Path, gathered: Gathered, recipe: Recipe, out: Path, progress: Progress | None) -> None:
    """Load, train, save."""
    started = time.perf_counter()
    examples, folder = gathered.examples, unfinished(out)
    train, held_back = hold_back(examples, recipe.validation.share)
    run = {
        "base": str(base),
        "data": gathered.sources,
        "examples": digest([[example.id, *example.learnt, example.rejected] for example in examples]),
        "processes": processes(),
        "recipe": recipe.model_dump(mode="json"),
    }
    with unfinished_run(folder, run) as checkpoint:
        processor, model = load_processor(base), _load_base(base, recipe)
        set_seed(recipe.seed)
        model = prepared(model, recipe, processor)
        with _config_kept(model):
            trainer = make_trainer(model, processor, train, recipe, folder, progress, held_back)
            trainer.add_callback(CompleteCheckpoints(trainer.training_log.state))
            if checkpoint is not None:
                trainer.training_log.restore(read_json(checkpoint / LOG), trainer.args.device)
                _write_lines(folder / TRAINING_LOG, trainer.training_log.lines)
            with trainer.collator.vision.on() if trainer.collator.vision else nullcontext():
                trainer.remember_reference()
                trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    report = {
        "base": str(base),
        "data": gathered.sources,
        "mix": gathered.mix,
        "left_out": dict(gathered.left_out),
        "repaired": dict(gathered.repaired),
        "thoughts": sum(example.thought is not None for example in examples),
        **({"safekey": dict(parts_found(examples, recipe))} if recipe.safekey.enabled else {}),
        "overlaps": dict(sorted(Counter(f"{o.half} in {o.benchmark}" for o in gathered.overlaps).items())),
        "seed": recipe.seed,
        "examples": dict(sorted(Counter(example.kind for example in examples).items())),
        "held_back": len(held_back),
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "steps": trainer.state.global_step,
        "seconds": round(time.perf_counter() - started, 1),
        "versions": {name: version(name) for name in ("holisafe", "torch", "transformers", "peft")}
        | {"python": platform.python_version()},
    }
    model = _unsharded(model, trainer, base)
    if trainer.is_world_process_zero():
        fresh = load_processor(base)  # use leaves traces in a tokenizer
        core = model.get_base_model() if hasattr(model, "get_base_model") else model
        if reads_token(core.config):
            teach_processor(fresh, core.config.safety_token_id, base)
        _save(model, fresh, trainer, report, gathered, out)
        shutil.rmtree(folder, ignore_errors=True)


def parts_found(examples: Sequence[Example], recipe: Recipe) -> Counter[str]:
    """How many examples SafeKey's losses learn from, and how many not for which reason. Raises InputError for none."""
    found = [spans_of(example, recipe.safekey.understanding_sentences) for example in examples]
    parts = Counter(LEARNT_FROM if isinstance(one, Spans) else one for one in found)
    if not parts[LEARNT_FROM]:
        why = "; ".join(f"{number:,} {kind}" for kind, number in parts.items())
        raise InputError(f"no example has a thought to learn from ({why})", where="recipe", field="safekey.enabled")
    return parts


def parts_missed(out: str | Path) -> dict[str, int]:
    """How many examples of a tuned model SafeKey's losses left out, for each reason; none where they were off."""
    parts = read_json(Path(out, "tuning.json")).get("safekey", {})
    return {why: number for why, number in parts.items() if why != LEARNT_FROM}


def prepared(model: Any, recipe: Recipe, processor: Any = None) -> Any:
    """The model with the recipe's guard, its weights frozen or wrapped with adapters as the recipe says.

    Raises InputError where the recipe does not fit the model.
    """
    if recipe.compute.packing:
        check_packable(model.config)
    return set_trainable(with_guard(model, recipe, processor) if recipe.guard.enabled else model, recipe)


def _unsharded(model: Any, trainer: SafetyTrainer, base: str | Path) -> Any:
    """The trained model whole: itself, or, where FSDP or DeepSpeed cut it up among the ranks, built anew on the first
    rank from the gathered weights. Every rank must call it."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return model
    if trainer.is_deepspeed_enabled:
        weights = _trained_weights(trainer)
    else:
        weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return rebuilt(base, trainer.recipe, weights) if trainer.is_world_process_zero() else model


def _trained_weights(trainer: SafetyTrainer) -> dict[str, Any]:
    """What DeepSpeed trained, in full precision: what it saves by itself is rounded to bfloat16, finer than which a
    step often is. Empty but on the first rank."""
    from deepspeed.utils import safe_get_full_fp32_param
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    weights: dict[str, Any] = {}
    first = trainer.is_world_process_zero()
    for name, parameter in trainer.accelerator.unwrap_model(trainer.model_wrapped).named_parameters():
        if parameter.requires_grad:
            whole = safe_get_full_fp32_param(parameter)  # of every rank's part
            weights |= {name: whole.cpu()} if first else {}
    unset_hf_deepspeed_config()  # or transformers cuts up the model that is built anew, and waits for the other ranks
    return weights


def rebuilt(base: str | Path, recipe: Recipe, weights: Any) -> Any:
    """The base prepared as for training, with these weights in place of its own. Raises RuntimeError for one that it
    does not have."""
    model = prepared(_load_base(base, recipe), recipe, load_processor(base) if reads_token_of(recipe) else None)
    model.load_state_dict({**model.state_dict(), **weights})
    return model


def reads_token_of(recipe: Recipe) -> bool:
    """Whether the recipe's guard reads the Safety Meta Token, which model and processor must be taught first."""
    return recipe.guard.enabled and recipe.guard.reads_token


def with_guard(model: Any, recipe: Recipe, processor: Any = None) -> Any:
    """The model with the recipe's guard; one it already has is kept, and only weighted anew.

    `processor` is needed, and taught the token, for a guard that reads the Safety Meta Token. Raises InputError when
    the guard it has names other labels, pools something else or has another unit than the recipe asks for.
    """
    settings = recipe.guard
    if is_guarded(model):
        _check_kept(model, settings)
        model.config.safety_loss_lambda = settings.loss_weight
        return model
    return attach_guard(
        model,
        settings.label_names,
        pool=settings.source,
        unit=settings.unit,
        token_id=add_meta_token(model, processor) if reads_token_of(recipe) else None,
        hidden_scale=settings.hidden_scale,
        hidden_layers=settings.hidden_layers,
        dropout=settings.dropout,
        loss_weight=settings.loss_weight,
    )


def _check_kept(model: Any, settings: Guard) -> None:
    """Raise InputError unless the model's own guard is the one that the recipe asks for."""
    wanted: dict[str, Any] = {"labels": settings.label_names, "unit": settings.unit}
    has: dict[str, Any] = {"labels": labels_of(model), "unit": model.config.safety_unit}
    if settings.pool is not None:
        wanted["pool"], has["pool"] = "+".join(sources(settings.pool)), model.config.safety_pool
    for name, value in has.items():
        if wanted[name] != value:
            says, asked = (one if isinstance(one, str) else ", ".join(one) for one in (value, wanted[name]))
            problem = f"the base's own guard has {says}, not {asked}; set it so, or start from a base without a guard"
            raise InputError(problem, where="recipe", field=f"guard.{name}")


def _load_base(base: str | Path, recipe: Recipe) -> Any:
    """The model to start from; one that is an adapter on another is merged first."""
    compute, lora = recipe.compute, recipe.trainable
    dtype = getattr(torch, compute.dtype)
    if compute.quantise:
        model = load_quantised(base, dtype)
    else:
        # Ranks each get their device from the Trainer; loaded without this, all would begin on the first one.
        model = load_model(base, dtype=dtype, device="cpu" if processes() > 1 else None)
        forget(model)
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


def _save(
    model: Any, processor: Any, trainer: SafetyTrainer, report: dict[str, Any], gathered: Gathered, out: Path
) -> None:
    """Write all of `out`, whole or not at all."""
    recipe = trainer.recipe
    keeps_adapter = recipe.trainable.method == "lora" and recipe.trainable.lora.save == "adapter"
    if hasattr(model, "merge_and_unload") and not keeps_adapter:
        model = model.merge_and_unload()
    with whole_folder(out) as whole:
        if is_guarded(model):
            save_guarded(model, whole)
        else:
            model.save_pretrained(whole)
        processor.save_pretrained(whole)
        save_recipe(recipe, whole / "recipe.yaml")
        _write_lines(whole / TRAINING_LOG, trainer.training_log.lines)
        _write_lines(whole / "examples.jsonl", _drawn(gathered.examples))
        if gathered.overlaps:
            _write_lines(whole / "overlaps.jsonl", (overlap._asdict() for overlap in gathered.overlaps))
        write_json(whole / "tuning.json", report)


def _drawn(examples: Sequence[Example]) -> Iterator[dict[str, Any]]:
    """Every example of an epoch once, with how often it is shown in it."""
    times = Counter((example.source, example.id, example.kind) for example in examples)
    return (
        {"id": identity, "source": source, "kind": kind, "times": count}
        for (source, identity, kind), count in times.items()
    )


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
