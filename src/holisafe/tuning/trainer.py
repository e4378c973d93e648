"""transformers' Trainer, set up for safety tuning. Nothing below the loss is our own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainingArguments

from ..errors import InputError
from ..guard.head import HEAD, guard_loss
from .collator import Collator
from .examples import Example
from .frozen import FrozenReadings
from .objectives import Scored, margins, preference_loss, reference_scores, scored
from .parts import vision_tower
from .recipe import Recipe
from .safekey import SafeKeyLosses
from .steps import LikeLengths, processes, steps_per_epoch
from .training_log import TRAINING_LOG, Notes, Progress, TrainingLog

WEIGHTS: Final = "model.safetensors"


class SafetyTrainer(Trainer):
    """transformers' Trainer with the guard's learning rate, the two losses kept apart, and a frozen tower left in
    evaluation mode."""

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
        self.examples = list(examples)
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
        file = Path(str(self.args.output_dir), TRAINING_LOG) if self.is_world_process_zero() else None
        self.training_log = TrainingLog(file)
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
            self.training_log.add(outputs)
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
