"""What a tuning step costs, and what the Trainer, the vision cache, the attention kernel and packing add or save.

    python benches/bench_tuning.py [--base pictovlm] [--steps 30] [--rounds 3] [--batch 32]

Each setting runs in turn, round after round, on the same batches, so that a busy machine slows all of them; printed are
the median CPU milliseconds a step after the first epoch, and the ratio to the bare loop of the same round (median,
lowest and highest). Before them, the share of padding in the batches: what packing takes out.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import nullcontext

import torch
from transformers import set_seed
from transformers.utils import logging

from holisafe.guard import load_processor
from holisafe.tuning.assembly import make_trainer
from holisafe.tuning.collator import Collator
from holisafe.tuning.data import load_examples, select
from holisafe.tuning.parts import set_trainable
from holisafe.tuning.recipe import load_recipe
from holisafe.tuning.train import _load_base, with_guard

EPOCH = 20
"""Steps in which every image is seen once: they fill the caches and are not counted."""

CASES = {
    "bare loop": [],
    "Trainer": [],
    "Trainer, vision tower in every step": ["compute.cache_vision=false"],
    "Trainer, sdpa attention": ["compute.attention=sdpa"],
    "Trainer, packed": ["compute.packing=true"],
    "Trainer, sdpa attention, packed": ["compute.attention=sdpa", "compute.packing=true"],
    "Trainer, float32": ["compute.bf16=false"],
    "Trainer, no guard": ["guard.enabled=false"],
}


def step_seconds(base: str, case: str, examples: list, steps: int, batch: int) -> list[float]:
    """CPU seconds of each step after the first epoch."""
    recipe = load_recipe("demo").with_settings(
        [f"optimiser.max_steps={EPOCH + steps}", f"optimiser.batch_size={batch}", *CASES[case]]
    )
    set_seed(0)
    model = _load_base(base, recipe)
    model = set_trainable(with_guard(model, recipe) if recipe.guard.enabled else model, recipe)
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        trainer = make_trainer(
            model, load_processor(base), examples, recipe, scratch, lambda *_: marks.append(time.process_time())
        )
        with trainer.collator.vision.on() if trainer.collator.vision else nullcontext():
            if case == "bare loop":
                bare_loop(trainer, recipe, marks)
            else:
                trainer.train()
    return [after - before for before, after in zip(marks[EPOCH:], marks[EPOCH + 1 :], strict=False)]


def padding_share(base: str, examples: list, size: int) -> float:
    """Positions of the padded batches that hold padding, in the order of a bare loop's first epoch."""
    set_seed(0)
    processor = load_processor(base)
    collate = Collator(processor, ends=[processor.tokenizer.eos_token_id])
    order = torch.randperm(len(examples)).tolist()
    masks = [
        collate([examples[i] for i in order[at : at + size]])["attention_mask"] for at in range(0, len(order), size)
    ]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def bare_loop(trainer, recipe, marks: list[float]) -> None:
    """The same work without the Trainer: collate, forward, backward, clip, step, schedule."""
    model, optimiser, size = trainer.model, trainer.create_optimizer(), recipe.optimiser.batch_size
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.optimiser.max_steps)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.train()
    for step in range(recipe.optimiser.max_steps):
        order = torch.randperm(len(trainer.examples)).tolist() if step % EPOCH == 0 else order  # noqa: F821
        place = size * (step % EPOCH)
        batch = trainer.collator([trainer.examples[i] for i in order[place : place + size]])
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.compute.bf16):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, recipe.optimiser.max_grad_norm)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        marks.append(time.process_time())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="pictovlm")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    examples = select(load_examples("pictosafe"), {}, given.batch * EPOCH)
    print(
        f"padding: {padding_share(given.base, examples, given.batch):.1%} of the positions in batches of {given.batch}"
    )
    times: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(given.rounds):
        for case in CASES:
            times[case].append(statistics.median(step_seconds(given.base, case, examples, given.steps, given.batch)))
    for case, values in times.items():
        ratios = [value / bare for value, bare in zip(values, times["bare loop"], strict=True)]
        print(
            f"{case:38}{1000 * statistics.median(values):7.0f} ms   "
            f"x {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
