"""A trainer put together from a recipe: its collator, its caches, its losses and transformers' arguments."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from ..errors import InputError
from ..guard import labels_of
from ..guard.conversation import give_pad_token
from ..thoughts import THINK
from .balance import inverse_frequency
from .collator import Collator, end_tokens
from .examples import Example
from .frozen import FrozenReadings, HeadAlone
from .packing import pack
from .parts import vision_tower
from .recipe import Recipe
from .safekey import SafeKeyLosses
from .spans import spans_of
from .steps import processes
from .trainer import SafetyTrainer
from .training_log import Progress
from .vision_cache import VisionCache


def make_trainer(
    model: Any,
    processor: Any,
    examples: Sequence[Example],
    recipe: Recipe,
    folder: Path,
    progress: Progress | None = None,
    held_back: Sequence[Example] = (),
) -> SafetyTrainer:
    """A Trainer that is ready to run. Its checkpoints and its log go to `folder`; with every checkpoint it works out
    the loss on the examples that are held back."""
    compute, steps, patience = recipe.compute, recipe.optimiser, recipe.validation.patience
    give_pad_token(processor)
    learns_pairs = recipe.objective.kind != "supervised"
    if learns_pairs and not any(example.rejected for example in examples):
        problem = "none of the data names a rejected answer"
        raise InputError(problem, where="recipe", field="objective.kind")
    inner = model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model
    labels = labels_of(model) if recipe.guard.enabled else None
    safekey = None
    if recipe.safekey.enabled:
        if processes() > 1:
            raise InputError("safekey works in one process alone", where="recipe", field="safekey.enabled")
        safekey = SafeKeyLosses(inner, recipe.safekey)
    vision = None
    if compute.cache_vision:
        tower = vision_tower(inner)
        if tower is None:
            raise InputError("this model's vision tower is not known", where="recipe", field="compute.cache_vision")
        once = {id(example): example for example in (*examples, *held_back)}
        pictures = sum(len(one.pictures) * (2 if learns_pairs and one.rejected else 1) for one in once.values())
        vision = VisionCache(tower, pictures, compute.cache_megabytes * 2**20)
    collator = Collator(
        processor,
        ends=end_tokens(inner, processor),
        labels=labels,
        pairs=recipe.guard.labels == "pair",
        vision=vision,
        cache_bytes=compute.cache_megabytes * 2**20,
        always_image=processes() > 1,
        pack=functools.partial(pack, inner, segments=labels is not None) if compute.packing else None,
        preferences=learns_pairs,
        marks=recipe.data.marks or THINK,
        spans=functools.partial(spans_of, sentences=recipe.safekey.understanding_sentences) if safekey else None,
    )
    weights = None
    if labels is not None:
        label_ids = [collator.label_id(example) for example in examples]
        if recipe.guard.class_balance == "inverse":
            weights = inverse_frequency(label_ids, len(labels), recipe.guard.class_balance_cap)
    cached = recipe.guard.cache and processes() == 1
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=steps.epochs,
        max_steps=steps.max_steps or -1,
        per_device_train_batch_size=steps.batch_size,
        per_device_eval_batch_size=steps.batch_size,
        gradient_accumulation_steps=steps.gradient_accumulation,
        learning_rate=steps.learning_rate,
        lr_scheduler_type=steps.schedule if steps.schedule != "constant" else "constant_with_warmup",
        warmup_steps=steps.warmup_ratio,
        weight_decay=steps.weight_decay,
        adam_beta1=steps.betas[0],
        adam_beta2=steps.betas[1],
        max_grad_norm=steps.max_grad_norm,
        seed=recipe.seed,
        data_seed=recipe.seed,
        bf16=compute.bf16,
        use_cpu=not torch.accelerator.is_available(),
        **_checkpointing(compute.gradient_checkpointing and not cached),
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=["labels", "safety_labels"],
        logging_strategy="no",
        save_strategy="steps" if compute.save_every else "no",
        save_steps=compute.save_every or 500,
        save_total_limit=2,
        eval_strategy="steps" if held_back else "no",
        eval_steps=compute.save_every,
        load_best_model_at_end=patience is not None,
        metric_for_best_model=None if patience is None else "loss",
        restore_callback_states_from_checkpoint=True,
        report_to=list(compute.report_to),
        disable_tqdm=True,
    )
    network: Any = HeadAlone(model) if cached else model
    give = FrozenReadings(model, collator, autocast=compute.bf16) if cached else collator
    try:
        return SafetyTrainer(network, arguments, examples, held_back, give, recipe, progress, weights, safekey)
    except (ValueError, RuntimeError) as error:
        if not compute.report_to:
            raise
        raise InputError(str(error).splitlines()[0], where="recipe", field="compute.report_to") from None


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """The arguments for gradient checkpointing, which transformers is about to rename."""
    if not wanted:
        return {}
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}
