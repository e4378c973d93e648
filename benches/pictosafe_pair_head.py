"""What a pair head on the frozen PictoVLM could read, on the validation split alone: how its recipe was chosen.

    python benches/pictosafe_pair_head.py        some minutes on one core; prints the table of docs/guard_results.md

Heads of the guard's shape on pooled features of the frozen model, all of PictoSafe's training pairs, one seed; AUROC of
SSU pairs against the SSS pairs of their truth tables, in the seen style and in EmojiOne, the style for choices.
"""

from __future__ import annotations

from math import cos, pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SETS = {"train": ("pictosafe", "train"), "seen": ("pictosafe", "validation")}
SETS |= {"EmojiOne": ("pictosafe-development", "validation")}
RATE, DECAY, BATCH = 2e-3, 0.05, 32

PARTS = ("projected", "words", "image", "text", "last")
"""The mean of the decoder's input at image and at text positions, of its output there, and its last prompt position."""

TRIED: tuple[tuple[str, tuple[str, ...], int, float, int], ...] = (
    ("`projected`", ("projected",), 1, 0.5, 3),
    ("`last_hidden`", ("image",), 1, 0.5, 3),
    ("last hidden, last prompt token", ("last",), 1, 0.5, 10),
    ("last hidden, text", ("text",), 1, 0.5, 10),
    ("`image_and_text`", ("image", "text"), 1, 0.5, 3),
    ("`image_and_text`", ("image", "text"), 1, 0.5, 10),
    ("projected, and words before the decoder", ("projected", "words"), 2, 1, 15),
    ("`projected+image_and_text`", ("projected", "image", "text"), 1, 0.5, 3),
    ("`projected+image_and_text`", ("projected", "image", "text"), 2, 1, 15),
    ("`projected+image_and_text`", ("projected", "image", "text"), 2, 1, 30),
)
"""What is read, its parts, hidden layers, hidden scale, epochs."""


@torch.inference_mode()
def features(benchmark: str, split: str, model: Any, processor: Any) -> tuple[list[Any], dict[str, Tensor]]:
    """The samples, and of each part [N, H]."""
    from holisafe.benchmarks import open_benchmark
    from holisafe.guard.conversation import encode, prompt_text
    from holisafe.records import Message

    opened = open_benchmark(benchmark, split=split)
    samples, found = list(opened.samples), list[Tensor]()
    for start in range(0, len(samples), 64):
        batch = samples[start : start + 64]
        pictures = [opened.pictures(sample) for sample in batch]
        said = [(Message("user", sample.query, own),) for sample, own in zip(batch, pictures, strict=True)]
        prompts = [prompt_text(processor, messages) for messages in said]
        inputs = encode(processor, prompts, [[one.open() for one in own] for own in pictures], side="left")
        states = model(**inputs, output_hidden_states=True, use_cache=False, logits_to_keep=1).hidden_states
        image = inputs["input_ids"] == model.config.image_token_id
        text = ~image & inputs["attention_mask"].bool()

        def mean(state: Tensor, mask: Tensor) -> Tensor:
            return (state * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)

        means = [mean(state, mask) for state in (states[0], states[-1]) for mask in (image, text)]
        found.append(torch.stack([*means, states[-1][:, -1]]))
    return samples, dict(zip(PARTS, torch.cat(found, dim=1).clone(), strict=True))


def trained(read: Tensor, unsafe: Tensor, layers: int, scale: float, epochs: int) -> Any:
    """A head on features [N, W], by AdamW with the demo's warm-up and cosine."""
    from holisafe.guard.head import SafetyHead

    torch.manual_seed(0)
    head = SafetyHead(read.shape[1], 2, scale, layers)
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY, betas=(0.9, 0.98))
    steps = epochs * len(torch.arange(len(unsafe)).split(BATCH))

    def share(step: int) -> float:
        done = step / steps
        return done / 0.1 if done < 0.1 else 0.5 * (1 + cos(pi * (done - 0.1) / 0.9))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, share)
    for _ in range(epochs):
        for rows in torch.randperm(len(unsafe)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(head(read[rows]), unsafe[rows]).backward()
            optimiser.step()
            schedule.step()
    return head.eval()


@torch.no_grad()
def against_its_table(head: Any, read: Tensor, samples: list[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    tables = {sample.cluster for sample in samples if sample.combination == "SSU"}
    rows = [row for row, sample in enumerate(samples) if sample.cluster in tables]
    logits = head(read[rows])
    return float(roc_auc_score([samples[row].combination == "SSU" for row in rows], logits[:, 1] - logits[:, 0]))


def main() -> None:
    from holisafe.guard import load_model, load_processor

    model, processor = load_model("pictovlm").eval(), load_processor("pictovlm")
    held = {name: features(*named, model, processor) for name, named in SETS.items()}
    unsafe = torch.tensor([sample.expected == "refuse" for sample in held["train"][0]]).long()
    print("| what the head reads | hidden layers | hidden scale | epochs | seen | EmojiOne |\n" + "|---" * 6 + "|")
    for name, parts, layers, scale, epochs in TRIED:
        read = {style: torch.cat([one[part] for part in parts], dim=1) for style, (_, one) in held.items()}
        head = trained(read["train"], unsafe, layers, scale, epochs)
        found = [100 * against_its_table(head, read[style], held[style][0]) for style in ("seen", "EmojiOne")]
        print(f"| {name} | {layers} | {scale:g} | {epochs} | {found[0]:.1f} | {found[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main()
