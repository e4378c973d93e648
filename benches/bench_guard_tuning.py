"""Throughput and peak memory of tuning a Qwen2.5-VL shape of 1 to 7 B parameters, with the guard and without.

    python benches/bench_guard_tuning.py --shape 3b --device cuda [--method lora] [--steps 30] [--json]
    python benches/bench_guard_tuning.py --shape tiny                            # does it run at all

Weights are random: neither speed nor memory asks what they are. Both settings run in blocks of `--block` steps, block
after block in changing order, on the same batches, both models on the device; printed are samples
and tokens a second, the ratio over pairs of blocks with its 95 % interval, and the peak memory of each. bf16 weights,
gradient checkpointing and LoRA (or every weight of the language model) as in the recipes.
"""

from __future__ import annotations

import argparse
import gc
import json
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

import holisafe
from bench_guard import paired, peak_bytes, qwen_config
from holisafe.guard.head import HEAD

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {
        "layers": 2,
        "width": 128,
        "heads": 4,
        "groups": 2,
        "inner": 256,
        "vocabulary": 512,
        "depth": 2,
        "vision": 64,
    },
    "1b": {
        "layers": 24,
        "width": 1536,
        "heads": 12,
        "groups": 2,
        "inner": 6144,
        "vocabulary": 151936,
        "depth": 16,
        "vision": 1024,
    },
    "3b": {
        "layers": 36,
        "width": 2048,
        "heads": 16,
        "groups": 2,
        "inner": 11008,
        "vocabulary": 151936,
        "depth": 32,
        "vision": 1280,
    },
    "7b": {
        "layers": 28,
        "width": 3584,
        "heads": 28,
        "groups": 4,
        "inner": 18944,
        "vocabulary": 152064,
        "depth": 32,
        "vision": 1280,
    },
}
GRID = {"tiny": 8, "1b": 24, "3b": 24, "7b": 24}
"""Patches along a side of the image; a quarter of their number are image tokens."""


def build(shape: str, device: str, method: str, *, guarded: bool) -> Any:
    torch.manual_seed(0)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(qwen_config(**SHAPES[shape]), dtype=dtype)
    if guarded:
        holisafe.attach_guard(model)
    if method == "lora":
        pattern = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
        config = LoraConfig(r=16, target_modules=pattern, modules_to_save=[HEAD] if guarded else None)
        model = get_peft_model(model, config)
        model.enable_input_require_grads()
    else:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("visual" not in name)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def batch_of(model: Any, shape: str, rows: int, text: int, device: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    side = GRID[shape]
    words = torch.randint(10, SHAPES[shape]["vocabulary"], (rows, text), generator=generator)
    ids = torch.cat([torch.full((rows, side * side // 4), model.config.image_token_id), words], dim=1)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == model.config.image_token_id).long(),
        "pixel_values": torch.randn(rows * side * side, 3 * 2 * 14 * 14, generator=generator).to(model.dtype),
        "image_grid_thw": torch.tensor([[1, side, side]] * rows),
        "labels": ids.masked_fill(ids == model.config.image_token_id, -100),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()}


def stepper(model: Any, batch: dict[str, torch.Tensor], device: str, *, guarded: bool) -> Any:
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    rows = len(batch["input_ids"])
    extra = {"safety_labels": torch.arange(rows, device=device) % 20} if guarded else {}

    def step() -> None:
        model(**batch, **extra, use_cache=False).loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Peaks with each model alone on the device; then both side by side, block by block, for speed."""
    peaks: dict[str, int] = {}
    parameters: dict[str, int] = {}
    tokens = 0
    for name, guarded in (("stock", False), ("guarded", True)):
        model = build(given.shape, given.device, given.method, guarded=guarded)
        batch = batch_of(model, given.shape, given.rows, given.text, given.device)
        tokens = batch["input_ids"].numel()
        step = stepper(model, batch, given.device, guarded=guarded)
        step()  # the optimiser's state is there from now on
        peaks[name] = peak_bytes(step, given.device)
        parameters[name] = sum(parameter.numel() for parameter in model.parameters())
        del model, batch, step
        gc.collect()
        if given.device != "cpu":
            torch.cuda.empty_cache()

    models = {name: build(given.shape, given.device, given.method, guarded=name == "guarded") for name in peaks}
    steps = {
        name: stepper(
            model,
            batch_of(model, given.shape, given.rows, given.text, given.device),
            given.device,
            guarded=name == "guarded",
        )
        for name, model in models.items()
    }

    def block(name: str) -> None:
        for _ in range(given.block):
            steps[name]()

    speed = paired(lambda: block("stock"), lambda: block("guarded"), max(given.steps // given.block, 3), given.device)
    rate = {
        name: given.rows * given.block * 1000 / speed[key]
        for name, key in (("stock", "first_ms"), ("guarded", "second_ms"))
    }
    return {
        "shape": given.shape,
        "method": given.method,
        "device": torch.cuda.get_device_name() if given.device != "cpu" else "cpu",
        "parameters": parameters,
        "rows": given.rows,
        "tokens_a_step": tokens,
        "samples_a_second": rate,
        "tokens_a_second": {name: value * tokens / given.rows for name, value in rate.items()},
        "time_ratio": {key: speed[key] for key in ("ratio", "low", "high", "pairs")},
        "peak_bytes_of_a_step": peaks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=list(SHAPES), default="tiny")
    parser.add_argument("--method", choices=["lora", "full"], default="lora")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--text", type=int, default=128, help="text tokens a row")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--block", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.device == "cpu":
        torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    result = measure(given)
    if given.json:
        print(json.dumps(result, indent=1))
        return
    ratio, peak = result["time_ratio"], result["peak_bytes_of_a_step"]
    print(f"{given.shape}, {given.method}, {result['device']}: {result['tokens_a_step']} tokens a step")
    for name in peak:
        print(
            f"  {name:8} {result['samples_a_second'][name]:8.2f} samples/s"
            f"  {result['tokens_a_second'][name]:9.0f} tokens/s"
            f"  peak {peak[name] / 2**30:.3f} GiB beyond weights and optimiser"
        )
    print(f"  time guarded / stock: {ratio['ratio']:.4f} [{ratio['low']:.4f}, {ratio['high']:.4f}], n={ratio['pairs']}")


if __name__ == "__main__":
    main()
