"""transformers' Trainer, set up for safety tuning. Nothing below the loss is our own."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from ..errors import InputError
from ..guard import labels_of
from ..guard.conversation import give_pad_token
from ..guard.head import HEAD, guard_loss
from ..thoughts import THINK
from .balance import inverse_frequency
from .collator import Collator, end_tokens
from .examples import Example
from .frozen import FrozenReadings, HeadAlone
from .objectives import Scored, margins, preference_loss, reference_scores, scored
from .packing import pack
from .parts import vision_tower
from .recipe import Recipe
from .safekey import DUAL_PATH, QUERY_MASK, SafeKeyLosses
from .spans import spans_of
from .vision_cache import VisionCache

WEIGHTS: Final = "model.safetensors"
TRAINING_LOG: Final = "training_log.jsonl"
LOSSES = ("loss", "lm_loss", "safety_loss", "margin", DUAL_PATH, QUERY_MASK)

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every optimiser step with the step, the number of steps and the latest losses."""


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


def steps_per_epoch(examples: int, recipe: Recipe) -> int:
    """Optimiser steps that see every example once, on all processes together."""
    batches = -(-examples // (recipe.optimiser.batch_size * processes()))
    return max(1, -(-batches // recipe.optimiser.gradient_accumulation))


def processes() -> int:
    """How many processes work on the run together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _checkpointing(wanted: bool) -> dict[str, Any]:
    """The arguments for gradient checkpointing, which transformers is about to rename."""
    if not wanted:
        return {}
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


class SafetyTrainer(Trainer):
    """transformers' Trainer with the guard's learning rate, the two losses kept apart, and a frozen tower left in
    evaluation mode. `lines` is the training log: one dict every `log_every` steps."""

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        examples: Sequence[Example],
        held_back: Sequence[Example],
        collator: Collator | FrozenReadings,
        recipe: Recipe,
        progress: Progress | None,
        label_weights: Tensor | None = None,
        safekey: SafeKeyLosses | None = None,
    ) -> None:
        self.recipe, self.collator, self.label_weights, self.safekey = recipe, collator, label_weights, safekey
        self.examples, self.lines = list(examples), list[dict[str, float]]()
        self._sums: dict[str, Tensor] = {}
        self._counts, self._began = dict[str, int](), time.perf_counter()
        self._tower = (
            None if recipe.trainable.vision else vision_tower(getattr(model, "get_base_model", lambda: model)())
        )
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=self.examples,
            eval_dataset=list(held_back) or None,
            data_collator=collator,
        )
        if safekey is not None:
            safekey.heads.to(self.args.device)
        self.model_accepts_loss_kwargs = False  # micro-batches count alike, with a guard and without
        self.remove_callback(PrinterCallback)
        self.add_callback(Notes(self, progress))
        if recipe.validation.patience is not None:
            self.add_callback(EarlyStoppingCallback(recipe.validation.patience))

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Shuffled; or alike lengths together, by characters and pictures."""
        if not self.recipe.compute.group_by_length:
            return super()._get_train_sampler(train_dataset)
        lengths = [
            sum(map(len, (*(message.text for message in example.messages), *example.learnt)))
            + 1000 * len(example.pictures)
            for example in self.examples
        ]
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LikeLengths(size, lengths, self.args.seed)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; biases and norms do not decay, and the guard's head may have a learning rate of its own."""
        if self.optimizer is None:
            network: Any = self.model if model is None else model
            decaying = set(self.get_decay_parameter_names(network))
            groups: dict[tuple[bool, bool], list[Tensor]] = {}
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((name in decaying, f"{HEAD}." in name), []).append(parameter)
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, network)
            own = self.recipe.guard.learning_rate or self.args.learning_rate
            self.optimizer = kind(
                [
                    {
                        "params": parameters,
                        "weight_decay": self.args.weight_decay if decays else 0.0,
                        "lr": own if head else self.args.learning_rate,
                    }
                    for (decays, head), parameters in groups.items()
                ],
                **settings,
            )
            if self.safekey is not None:
                rate = self.recipe.safekey.learning_rate or self.args.learning_rate
                heads = {"params": list(self.safekey.heads.parameters()), "weight_decay": 0.0, "lr": rate}
                self.optimizer.add_param_group(heads)
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own joint loss, noted down on the way."""
        if self._tower is not None:
            self._tower.eval()
        parts = inputs.pop("spans", None), inputs.pop("refused", None)
        safekey = self.safekey if model.training and self._in_last_epochs() else None
        with ExitStack() as stack:
            hidden = stack.enter_context(safekey.listening()) if safekey else []
            if "partner" in inputs:
                loss, outputs = self._preferences(model, inputs)
            else:
                loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.label_weights is not None and outputs.get("safety_loss") is not None:
            logits, valid = outputs["img_safety_logits"], outputs["img_safety_valid"]
            weighted = guard_loss(logits, valid, inputs["safety_labels"], self.label_weights)
            loss = loss + self.recipe.guard.loss_weight * (weighted - outputs["safety_loss"])
            outputs["loss"], outputs["safety_loss"] = loss, weighted
        if safekey is not None:
            for name, weight, value in safekey(model, inputs, parts, hidden[0], outputs["logits"]):
                loss, outputs[name] = loss + weight * value, value
            outputs["loss"] = loss
        if model.training:
            for name in LOSSES:
                value = outputs.get(name)
                if value is not None:
                    self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()
                    self._counts[name] = self._counts.get(name, 0) + 1
        return (loss, outputs) if return_outputs else loss

    def _in_last_epochs(self) -> bool:
        """Whether no more epochs are left than SafeKey's losses are for."""
        left = self.state.max_steps - self.state.global_step
        return left <= self.recipe.safekey.last_epochs * steps_per_epoch(len(self.examples), self.recipe)

    def remember_reference(self) -> None:
        """Work out how likely the model as it is finds every pair of answers, where `dpo` has no adapter to leave off.

        Raises InputError where several processes would each have to.
        """
        if self.recipe.objective.kind != "dpo" or hasattr(self.model, "disable_adapter"):
            return
        if processes() > 1:
            problem = "dpo in several processes needs trainable.method lora, whose base is the reference"
            raise InputError(problem, where="recipe", field="objective.kind")
        collator: Any = self.collator
        held_back: Any = self.eval_dataset or []
        pairs = list({id(one): one for one in (*self.examples, *held_back) if one.rejected}.values())
        found: dict[int, tuple[float, float]] = {}
        for start in range(0, len(pairs), self.args.train_batch_size):
            part = pairs[start : start + self.args.train_batch_size]
            inputs = self._prepare_inputs(collator(part))
            del inputs["partner"]
            with self.compute_loss_context_manager():
                scores = reference_scores(self.model, inputs)
            rows, _ = collator.with_rejected(part)
            each = zip(rows, scores.sums.tolist(), scores.tokens.tolist(), strict=True)
            found |= {id(row): (total, tokens) for row, total, tokens in each}
        collator.reference = found

    def _preferences(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Any]:
        """The recipe's objective over a batch of chosen and rejected answers, and the guard's loss."""
        partner, held = inputs.pop("partner"), inputs.pop("reference", None)
        objective, margin = self.recipe.objective, None
        outputs = model(**inputs)
        policy = scored(outputs["logits"], inputs["labels"])
        if objective.kind == "dpo":
            with getattr(self.accelerator.unwrap_model(model), "disable_adapter", nullcontext)():
                before = reference_scores(model, inputs) if held is None else Scored(*held.unbind())
            margin = margins(objective, policy, before, partner)
            outputs["margin"] = margin.mean() if len(margin) else None
        loss = preference_loss(objective, policy, partner, margin)
        outputs["lm_loss"] = loss
        if (of_guard := outputs.get("safety_loss")) is not None:
            loss = loss + self.recipe.guard.loss_weight * of_guard
        outputs["loss"] = loss
        return loss, outputs

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Tensor, None, None]:
        """The loss on what is held back. Trainer's own asks for every kind of label, which not every recipe has."""
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.compute_loss(model, self._prepare_inputs(inputs)).detach(), None, None

    def note(self) -> dict[str, float]:
        """Means of the losses since the last note, added to the log. Raises InputError when one is not a number."""
        means = {name: round(float(value) / self._counts[name], 6) for name, value in self._sums.items()}
        rate = self._get_learning_rate()
        self.log({**means, "learning_rate": rate})  # to whom `report_to` names
        line = self.add_line({**means, "learning_rate": rate})
        if not math.isfinite(line["loss"]):
            raise InputError(
                f"the loss is no number any more at step {line['step']}; lower optimiser.learning_rate", where="recipe"
            )
        self._sums, self._counts = {}, {}
        return line

    def add_line(self, values: dict[str, float]) -> dict[str, float]:
        """Add a line to the log, here and on disk."""
        place = {"step": self.state.global_step, "epoch": round(float(self.state.epoch or 0.0), 4)}
        line = {**place, **values, "seconds": round(time.perf_counter() - self._began, 2)}
        self.lines.append(line)
        if self.is_world_process_zero():
            with Path(str(self.args.output_dir), TRAINING_LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return line

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """A checkpoint's weights under the names they have in memory.

        Trainer writes them under the names of older releases, as `save_pretrained` does, and on resuming looks for
        those of memory: LLaVA, Gemma 3 and Qwen-VL would go on from the base's weights, with no more than a warning.
        """
        if output_dir is not None and self.safekey is not None:
            Path(output_dir).mkdir(parents=True, exist_ok=True)
            self.safekey.save(output_dir)
        if state_dict is not None or output_dir is None or hasattr(self.model, "peft_config"):
            super()._save(output_dir, state_dict)
            return
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_model(self.accelerator.unwrap_model(self.model), str(Path(output_dir, WEIGHTS)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load what `_save` wrote. Raises RuntimeError when a weight is missing or has no place."""
        weights = Path(resume_from_checkpoint, WEIGHTS)
        if self.safekey is not None:
            self.safekey.load(resume_from_checkpoint)
        if self.is_fsdp_enabled or hasattr(self.model, "peft_config") or not weights.is_file():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        network: Any = self.model
        load_model(network, str(weights), strict=True)

    def log_state(self) -> dict[str, Any]:
        """The log, and the sums since its last line, as JSON holds them without loss."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return {
            "lines": self.lines,
            "sums": sums,
            "counts": self._counts,
            "seconds": time.perf_counter() - self._began,
        }

    def restore_log(self, held: dict[str, Any]) -> None:
        """Go on with the log that `log_state` gave."""
        self.lines[:], self._counts = held["lines"], held["counts"]
        self._sums = {name: torch.tensor(value, device=self.args.device) for name, value in held["sums"].items()}
        self._began = time.perf_counter() - held["seconds"]


class LikeLengths(LengthGroupedSampler):
    """Alike lengths together, in an order that seed and epoch decide: a resumed run finds its place again."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return order


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
        self.trainer.add_line({"validation_loss": loss})
        self.latest = {**self.latest, "validation_loss": loss}

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self.trainer.safekey is not None:  # which the Trainer, knowing the model alone, does not empty
            self.trainer.safekey.heads.zero_grad()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step % self.trainer.recipe.compute.log_every == 0 or state.global_step == state.max_steps:
            line = self.trainer.note()
            self.latest |= {name: line[name] for name in LOSSES if name in line}
        if self.progress is not None:
            self.progress(state.global_step, state.max_steps, self.latest)
