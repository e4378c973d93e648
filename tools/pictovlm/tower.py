"""Train the tiny VLM's vision tower to name the pictogram in every cell of a scene.

    python -m tools.pictovlm.tower node_modules/@iconify-json --minutes 60 --out build/tower.pt

A Swin transformer of 3 M parameters reads 96 x 96 pixels and gives one feature a cell. Its progress is watched on the
development style only; the unseen style is not read here.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SwinConfig, SwinModel

from holisafe.benchmarks.pictosafe.catalog import concepts
from holisafe.benchmarks.pictosafe.scenes import GRID, STYLES, Scene, render

from .sprite_bank import SpriteBank, collect_sprites

CELLS = GRID * GRID
PIXEL_MEAN, PIXEL_SPREAD = 0.5, 0.25
PLACE_WEIGHT = 0.2


def swin_config() -> SwinConfig:
    """Three stages of 12 x 12, 6 x 6 and 3 x 3 tokens; the window divides each of them."""
    return SwinConfig(
        image_size=96,
        patch_size=8,
        embed_dim=80,
        depths=[2, 2, 2],
        num_heads=[2, 4, 8],
        window_size=3,
        mlp_ratio=3.0,
        drop_path_rate=0.0,
        use_absolute_embeddings=True,
    )


def pixel_values(images: Tensor) -> Tensor:
    """[0, 1] -> what the processor of the tiny VLM feeds its tower."""
    return (images - PIXEL_MEAN) / PIXEL_SPREAD


class Namer(nn.Module):
    """The tower with two linear heads for every cell: what stands there, and which place it is.

    The second keeps the place in the feature: from naming alone it vanishes, and no model could say where things are.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        config = swin_config()
        self.tower = SwinModel(config, add_pooling_layer=False)
        self.head = nn.Linear(config.hidden_size, classes + 1)
        self.place = nn.Linear(config.hidden_size, CELLS)
        for name, parameter in self.tower.named_parameters():
            if parameter.dim() >= 2:
                nn.init.trunc_normal_(parameter, std=0.03 if "patch" in name else 0.05)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 96, 96) -> logits of the pictogram (B, 9, classes + 1) and of the place (B, 9, 9)."""
        features = self.tower(pixels).last_hidden_state
        return self.head(features), self.place(features)


def naming_set(style: str, scenes: int = 200, filled: int = 6, seed: int = 11) -> tuple[Tensor, Tensor]:
    """Clean benchmark scenes of random concepts: pixels in [0, 1] and labels (scenes, 9), -1 where empty."""
    names = concepts()
    draw = random.Random(seed)
    images, labels = [], torch.full((scenes, CELLS), -1)
    for row in range(scenes):
        placed = sorted(zip(draw.sample(range(CELLS), filled), draw.sample(names, filled), strict=True))
        for cell, name in placed:
            labels[row, cell] = names.index(name)
        image = render(Scene(tuple(placed), style, f"naming-{seed}-{row}"))
        images.append(torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(96, 96, 3))
    return torch.stack(images).permute(0, 3, 1, 2).float() / 255, labels


@torch.no_grad()
def naming_accuracy(model: Namer, style: str, scenes: int = 200) -> tuple[float, dict[str, float]]:
    """Share of pictograms named rightly among the benchmark's concepts, and the same for each concept."""
    model.eval()
    images, labels = naming_set(style, scenes)
    own = len(concepts())
    guess = torch.cat([model(pixel_values(part))[0][..., :own].argmax(-1) for part in images.split(100)])
    shown, right = labels >= 0, (guess == labels)
    each = {name: right[labels == k].float().mean().item() for k, name in enumerate(concepts()) if (labels == k).any()}
    model.train()
    return right[shown].float().mean().item(), each


def train(model: Namer, bank: SpriteBank, minutes: float, rate: float, out: Path, batch: int = 64) -> Namer:
    """AdamW with warm-up and a cosine over a fixed wall-clock time; keeps the averaged weights of the second half."""
    wide = [p for p in model.parameters() if p.dim() >= 2]
    thin = [p for p in model.parameters() if p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": wide, "weight_decay": 0.05}, {"params": thin, "weight_decay": 0.0}], lr=rate, betas=(0.9, 0.98)
    )
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    cells: list[tuple[Tensor, Tensor]] = []
    start, step, next_report = time.monotonic(), 0, 0.1
    while (done := (time.monotonic() - start) / (minutes * 60)) < 1:
        factor = done / 0.04 if done < 0.04 else 0.5 * (1 + math.cos(math.pi * (done - 0.04) / 0.96)) + 1e-3
        for group in optimiser.param_groups:
            group["lr"] = rate * factor
        images, labels = fresh_or_replayed(bank, cells, batch, step)
        loss = step_loss(model, images, labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        step += 1
        if done > 0.5:
            average.update_parameters(model)
        if done > next_report:
            next_report += 0.1
            scores = {style: round(naming_accuracy(model, style)[0], 4) for style in ("seen", "development")}
            print(
                json.dumps({"done": round(done, 2), "step": step, "loss": round(loss.item(), 3), **scores}), flush=True
            )
            torch.save(model.state_dict(), out.with_suffix(".partial.pt"))
    averaged: Namer = average.module  # type: ignore[assignment]
    return averaged


def fresh_or_replayed(
    bank: SpriteBank, cells: list[tuple[Tensor, Tensor]], batch: int, step: int
) -> tuple[Tensor, Tensor]:
    """A new batch every fifth step, else single cells of earlier batches shuffled into new scenes (drawing is dear)."""
    keep = 200
    if step % 5 == 0 or len(cells) < 24:
        images, labels = bank.batch(batch)
        split = images.view(batch, 3, GRID, 32, GRID, 32).permute(0, 2, 4, 1, 3, 5).reshape(-1, 3, 32, 32)
        entry = ((split * 255).byte(), labels.reshape(-1))
        if len(cells) < keep:
            cells.append(entry)
        else:
            cells[random.randrange(keep)] = entry
        return images, labels
    sources = [cells[random.randrange(len(cells))] for _ in range(6)]
    share = batch * CELLS // 6
    picks = [torch.randperm(len(labels))[:share] for _, labels in sources]
    order = torch.randperm(share * 6)
    pixels = torch.cat([p[k] for (p, _), k in zip(sources, picks, strict=True)])[order].float() / 255
    labels = torch.cat([y[k] for (_, y), k in zip(sources, picks, strict=True)])[order].view(batch, CELLS)
    pixels = pixels * (1 + 0.3 * (torch.rand(len(pixels), 3, 1, 1) - 0.5))
    grid = pixels.view(batch, GRID, GRID, 3, 32, 32).permute(0, 3, 1, 4, 2, 5).reshape(batch, 3, 96, 96)
    return torch.roll(grid, (random.randint(-1, 1), random.randint(-1, 1)), (2, 3)).clamp(0, 1), labels


def step_loss(model: Namer, images: Tensor, labels: Tensor) -> Tensor:
    """Smoothed cross-entropy over cells; one batch in five is mixed with a shuffled copy of itself."""
    mixed = random.random() < 0.2
    share = random.betavariate(0.6, 0.6) if mixed else 1.0
    order = torch.randperm(len(images))
    if mixed:
        images = images * share + images[order] * (1 - share)
    with torch.autocast("cpu", torch.bfloat16):
        named, placed = (logits.float().flatten(0, 1) for logits in model(pixel_values(images)))
    loss = F.cross_entropy(named, labels.flatten(), label_smoothing=0.05) * share
    if mixed:
        loss = loss + F.cross_entropy(named, labels[order].flatten(), label_smoothing=0.05) * (1 - share)
    places = torch.arange(CELLS).repeat(len(images))
    return loss + PLACE_WEIGHT * F.cross_entropy(placed, places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/tower.pt"))
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    bank = SpriteBank(collect_sprites(options.packages, options.out.with_name("sprites.npz")))
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    model = Namer(bank.classes)
    if options.start:
        model.load_state_dict(torch.load(options.start, weights_only=True))
    model = train(model, bank, options.minutes, options.rate, options.out)
    report = {style: naming_accuracy(model, style, 400) for style in STYLES if style != "unseen"}
    print(json.dumps({style: round(score, 4) for style, (score, _) in report.items()}))
    worst = sorted(report["development"][1].items(), key=lambda item: item[1])[:12]
    print("worst in the development style:", ", ".join(f"{name} {score:.2f}" for name, score in worst))
    torch.save(model.state_dict(), options.out)


if __name__ == "__main__":
    main()
