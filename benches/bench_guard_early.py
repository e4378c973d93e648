"""How early the guard can be read, and what that saves.

    python benches/bench_guard_early.py          some minutes on one core; prints the tables of docs/guard_cost.md
    python benches/bench_guard_early.py --device cuda --shape qwen-7b --only speed

Speed: a verdict of 8 tokens by the stock model over a reading by the guard alone, in turns on the same weights, for
each place it can read; medians of the rounds' ratios with 95 % intervals. Quality, on PictoVLM: heads of the guard's
shape on what each place holds of PictoSafe's training pictures, three seeds, choices on the validation split; AUROC of
unsafe against safe pictures, 20 labels and two, with the spread over seeds and the interval of the first.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

import holisafe
from bench_guard import MODELS, VERDICT_TOKENS, paired

SEEDS = (0, 1, 2)
EPOCHS, RATE, BATCH = 30, 2e-3, 64
SETS = {
    "train": ("pictosafe", "train"),
    "validation": ("pictosafe", "validation"),
    "development style": ("pictosafe-development", "validation"),
    "seen": ("pictosafe", "test"),
    "unseen": ("pictosafe-unseen", "test"),
}


def places(layers: int) -> list[str]:
    """Where to read: before the decoder, after some layers of it, after all."""
    early = sorted({1, 2, layers // 4, layers // 2, 3 * layers // 4} - {0, layers})
    return ["projected", *(f"hidden@{number}" for number in early if number < layers), "last_hidden"]


def speed(shape: str, rounds: int, rows: int, device: str) -> None:
    model, batch = MODELS[shape](device, rows)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    layers = model.config.get_text_config().num_hidden_layers
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    print(f"\n| {shape}, {layers} layers, {rows} x {batch['input_ids'].shape[1]} tokens | verdict / guard alone | ms |")
    print("|---|---|---|")
    for place in places(layers):
        guarded = holisafe.attach_guard(copy.deepcopy(model, dict(shared)), pool=place).to(model.device).eval()
        read = torch.inference_mode()(lambda guarded=guarded: guarded(**batch, do_safety="alone"))
        verdict = torch.inference_mode()(
            lambda: model.generate(**batch, max_new_tokens=VERDICT_TOKENS, do_sample=False)
        )
        found = paired(read, verdict, rounds, device)
        print(
            f"| `{place}` | {found['ratio']:.2f} [{found['low']:.2f}, {found['high']:.2f}], n={found['pairs']} "
            f"| {found['first_ms']:.1f} |",
            flush=True,
        )


@torch.inference_mode()
def states(model: Any, processor: Any, benchmark: str, split: str) -> tuple[dict[str, Tensor], list[str]]:
    """Of every picture, for each place the mean over its positions [N, H]; and its label."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.guard.conversation import image_batch, image_prompt
    from holisafe.guard.predict import QUESTION

    opened = open_benchmark(benchmark, split=split)
    labelled = {sample.images[0]: sample for sample in opened.samples if sample.images and sample.image_label}
    names, found = list(labelled), dict[str, list[Tensor]]()
    prompt = image_prompt(processor, QUESTION)
    for start in range(0, len(names), 64):
        pictures = [opened.pictures(labelled[name])[0].open() for name in names[start : start + 64]]
        inputs = image_batch(processor, model, [prompt] * len(pictures), pictures)
        hidden = model(**inputs, output_hidden_states=True, use_cache=False, logits_to_keep=1).hidden_states
        image = (inputs["input_ids"] == model.config.image_token_id).unsqueeze(-1)
        for place, state in zip(where(len(hidden) - 1), hidden, strict=True):
            found.setdefault(place, []).append((state * image).sum(1) / image.sum(1))
    return {place: torch.cat(parts).clone() for place, parts in found.items()}, [
        str(labelled[name].image_label) for name in names
    ]


def where(layers: int) -> list[str]:
    return ["projected", *(f"hidden@{number}" for number in range(1, layers)), "last_hidden"]


def trained(read: Tensor, labels: Tensor, classes: int, seed: int) -> Any:
    from holisafe.guard.head import SafetyHead

    torch.manual_seed(seed)
    head = SafetyHead(read.shape[1], classes)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=0.05, betas=(0.9, 0.98))
    steps = EPOCHS * len(torch.arange(len(labels)).split(BATCH))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.1)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(BATCH):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(head(read[rows]), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def quality() -> None:
    """AUROC of 1 - P(safe) by place, style and seed; the interval is of one seed's, over pictures (bootstrap)."""
    from sklearn.metrics import roc_auc_score

    from holisafe.guard import load_model, load_processor
    from holisafe.taxonomy import IMAGE_LABELS, SAFE

    model, processor = load_model("pictovlm").eval(), load_processor("pictovlm")
    held = {name: states(model, processor, *named) for name, named in SETS.items()}
    ids = {label: number for number, label in enumerate(IMAGE_LABELS)}
    learnt = torch.tensor([ids[label] for label in held["train"][1]])
    styles = [style for style in held if style != "train"]
    numbers = ", ".join(f"{style} {len(held[style][1])}" for style in styles)
    print(f"\nAUROC, %: mean over seeds {SEEDS} [95 % interval of seed 0]; pictures: {numbers}\n")
    print(f"| read at | {' | '.join(styles)} |\n" + "|---" * (len(styles) + 1) + "|")
    for place in where(model.config.get_text_config().num_hidden_layers):
        cells = []
        with torch.enable_grad():
            heads = [trained(held["train"][0][place], learnt, len(IMAGE_LABELS), seed) for seed in SEEDS]
        for style in styles:
            read, labels = held[style][0][place], np.array([label != SAFE for label in held[style][1]])
            scores = [(1 - head(read).double().softmax(-1)[:, ids[SAFE]]).numpy() for head in heads]
            mean = np.mean([roc_auc_score(labels, score) for score in scores])
            drawn = np.random.default_rng(0).integers(0, len(labels), (500, len(labels)))
            low, high = np.quantile([roc_auc_score(labels[rows], scores[0][rows]) for rows in drawn], [0.025, 0.975])
            cells.append(f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]")
        print(f"| `{place}` | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", nargs="+", choices=list(MODELS), default=["pictovlm", "qwen"])
    parser.add_argument("--only", choices=["speed", "quality"])
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only != "quality":
        for shape in given.shape:
            speed(shape, given.rounds, given.rows, given.device)
    if given.only != "speed":
        quality()


if __name__ == "__main__":
    main()
