"""What the guard costs, on the same weights as the stock model and in turns with it.

    python benches/bench_guard.py [--model pictovlm qwen] [--rounds 60] [--device cpu] [--json]

Prefill, generate and a training step: each round runs the stock model, the stock model followed by the guard's head on
features that are already pooled, and the guarded model directly after each other, in changing order. Printed are the
medians of the rounds' ratios to the stock model and their 95 % intervals (bootstrap over rounds). The second is the
floor: no guard with this head can cost less. Time is the process's CPU time on a CPU (other work on the machine counts
less) and synchronised wall time on a GPU. Training is with fused AdamW, as Trainer's.

Operations: how many torch operators a prefill and a training step call, views left out; this does not depend on the
machine's load. Memory: the peak of what torch allocates during a prefill, guarded less stock, beside the size of one
pooled tensor. The verdict: one reading of the guard alone, against an answer of 8 tokens that says safe or unsafe.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

import holisafe
from holisafe.guard import load_model

Work = Callable[[], Any]
IMAGE = 3
"""The image token in the synthetic Qwen2.5-VL; PictoVLM has its own."""

VERDICT_TOKENS = 8


def pictovlm(device: str, rows: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """The shipped model with one image and a question a row: 9 image tokens of 40."""
    model = load_model("pictovlm", device=device)
    return model, prompts(model, rows, image=9, text=31, pixels={"pixel_values": torch.randn(rows, 3, 96, 96)})


def qwen(device: str, rows: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """A Qwen2.5-VL of 8 layers, width 512, with random weights; 64 image tokens of 128, from 16 x 16 patches."""
    config = qwen_config(layers=8, width=512, heads=8, groups=2, inner=1408, vocabulary=8192, depth=4, vision=256)
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration._from_config(config).eval().to(device)
    pixels = {
        "pixel_values": torch.randn(rows * 256, 3 * 2 * 14 * 14),
        "image_grid_thw": torch.tensor([[1, 16, 16]] * rows),
    }
    return model, prompts(model, rows, image=64, text=64, pixels=pixels)


def qwen_7b(device: str, rows: int) -> tuple[Any, dict[str, torch.Tensor]]:
    """Qwen2.5-VL-7B's shape with random weights in bfloat16; 256 image tokens of 320, from 32 x 32 patches."""
    config = qwen_config(
        layers=28, width=3584, heads=28, groups=4, inner=18944, vocabulary=152064, depth=32, vision=1280
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16).eval()
    pixels = {
        "pixel_values": torch.randn(rows * 1024, 3 * 2 * 14 * 14, dtype=torch.bfloat16),
        "image_grid_thw": torch.tensor([[1, 32, 32]] * rows),
    }
    return model, prompts(model, rows, image=256, text=64, pixels=pixels)


MODELS = {"pictovlm": pictovlm, "qwen": qwen, "qwen-7b": qwen_7b}


def qwen_config(
    *, layers: int, width: int, heads: int, groups: int, inner: int, vocabulary: int, depth: int, vision: int
) -> Any:
    """A Qwen2.5-VL of any size."""
    quarter = width // heads // 8
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [quarter * 2, quarter, quarter]}
    return Qwen2_5_VLConfig(
        text_config={
            "hidden_size": width,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": groups,
            "vocab_size": vocabulary,
            "max_position_embeddings": 4096,
            "rope_parameters": rope,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
        vision_config={
            "depth": depth,
            "hidden_size": vision,
            "intermediate_size": 2 * vision,
            "num_heads": 4,
            "out_hidden_size": width,
            "fullatt_block_indexes": [depth - 1],
        },
        image_token_id=IMAGE,
        video_token_id=4,
        vision_start_token_id=5,
        vision_end_token_id=6,
        tie_word_embeddings=True,
    )


def prompts(
    model: Any, rows: int, *, image: int, text: int, pixels: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """`rows` samples of `image` placeholders followed by `text` random tokens."""
    generator = torch.Generator().manual_seed(1)
    token = model.config.image_token_id
    words = torch.randint(10, model.config.get_text_config().vocab_size, (rows, text), generator=generator)
    ids = torch.cat([torch.full((rows, image), token), torch.where(words == token, token + 1, words)], dim=1)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **pixels}
    if model.config.model_type == "qwen2_5_vl":
        batch["mm_token_type_ids"] = (ids == token).long()
    return {name: tensor.to(model.device) for name, tensor in batch.items()}


def guarded_twin(stock: Any) -> Any:
    """A guarded model that shares every weight with the stock one: only the guard can tell them apart."""
    shared = {id(tensor): tensor for tensor in (*stock.parameters(), *stock.buffers())}
    return holisafe.attach_guard(copy.deepcopy(stock, shared)).to(stock.device).eval()


def seconds(work: Work, device: str) -> float:
    if device == "cpu":
        start = time.process_time()
        work()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(works: Sequence[Work], rounds: int, device: str) -> Any:
    """Seconds [rounds, works]; the order changes from round to round."""
    for work in (*works, *works):  # warm
        work()
    taken = np.empty((rounds, len(works)))
    orders = list(itertools.permutations(range(len(works))))
    for number in range(rounds):
        for index in orders[number % len(orders)]:
            taken[number, index] = seconds(works[index], device)
    return taken


def ratio(first: Any, second: Any) -> dict[str, Any]:
    """Seconds of the same rounds -> the median of second / first with its 95 % interval, both medians in ms."""
    ratios = second / first
    draws = np.random.default_rng(0).integers(0, len(ratios), (4000, len(ratios)))
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return {
        "ratio": float(np.median(ratios)),
        "low": float(low),
        "high": float(high),
        "pairs": len(ratios),
        "first_ms": 1000 * float(np.median(first)),
        "second_ms": 1000 * float(np.median(second)),
    }


def paired(one: Work, other: Work, rounds: int, device: str) -> dict[str, Any]:
    """`other` over `one`."""
    return ratio(*in_turns([one, other], rounds, device).T)


def against_stock(works: Sequence[Work], rounds: int, device: str) -> dict[str, Any]:
    """Stock, stock and the head, guarded -> the last two as ratios to the first."""
    stock, floor, guarded = in_turns(works, rounds, device).T
    return {"guarded": ratio(stock, guarded), "floor": ratio(stock, floor)}


class Operations(TorchDispatchMode):
    """How many operators were called that make a new tensor: views, and conversions that had nothing to do, are not
    counted."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        made = [t for t in tree_leaves(result) if isinstance(t, torch.Tensor)]
        self.count += not (made and all(tensor.untyped_storage().data_ptr() in given for tensor in made))
        return result


def operations(work: Work) -> int:
    with Operations() as counted:
        work()
    return counted.count


class Allocated(TorchDispatchMode):
    """Bytes of the storages that operators return and that still live, and their peak; what a kernel uses inside is
    not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._known:
                    self._known[storage] = storage.nbytes()
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self._freed, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _freed(self, size: int) -> None:
        self.now -= size


def peak_bytes(work: Work, device: str) -> int:
    """The most memory that was allocated beyond what was there before."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)
    with Allocated() as counted:
        work()
    return counted.peak


def pooled_features(model: Any, rows: int) -> torch.Tensor:
    """Something for the head to read where nothing was pooled [B, H]."""
    return torch.randn(rows, model.img_safety_head.mlp[0].in_features, device=model.device)


def training_step(model: Any, batch: dict[str, torch.Tensor], head: Any = None, **labels: torch.Tensor) -> Work:
    """Forward, backward, AdamW with a learning rate of 0: the shared weights stay as they are.

    head    beside a stock model: it takes its own step on features that are already pooled
    """
    weights = [*model.parameters(), *(head.img_safety_head.parameters() if head else ())]
    optimiser = torch.optim.AdamW([w for w in weights if w.requires_grad], lr=0.0, weight_decay=0.0, fused=True)
    classes = labels.pop("safety_labels") if head else None
    features = pooled_features(head, len(classes)).requires_grad_() if head else None

    def step() -> None:
        loss = model(**batch, **labels).loss
        if head:
            loss = loss + F.cross_entropy(head.img_safety_head(features), classes)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def measure(name: str, rounds: int, rows: int, new_tokens: int, device: str, train: bool = True) -> dict[str, Any]:
    """Every figure of one model; without `train` none of a training step, whose AdamW takes four times the weights."""
    stock, batch = MODELS[name](device, rows)
    guarded = guarded_twin(stock)
    for model in (stock, guarded):
        model.generation_config.eos_token_id = None  # answers of the same length
        model.generation_config.pad_token_id = 0
    labels = batch["input_ids"].masked_fill(batch["input_ids"] == stock.config.image_token_id, -100)
    features = pooled_features(guarded, rows)

    def generate(model: Any, tokens: int) -> Work:
        return torch.inference_mode()(lambda: model.generate(**batch, max_new_tokens=tokens, do_sample=False))

    def prefill(model: Any, **options: Any) -> Work:
        return torch.inference_mode()(lambda: model(**batch, **options))

    def and_head(work: Work) -> Work:
        return torch.inference_mode()(lambda: (work(), guarded.img_safety_head(features).softmax(-1)))

    for model in (stock, guarded):
        model(**batch)  # whatever is allocated once
    peaks = [peak_bytes(prefill(model), device) for model in (stock, guarded)]
    counts = {"prefill": [operations(prefill(model)) for model in (stock, guarded)]}
    few = max(rounds // 3, 4)
    prefills, answers = (
        [work(stock), and_head(work(stock)), work(guarded)]
        for work in (prefill, lambda model: generate(model, new_tokens))
    )
    verdicts = [prefill(guarded, use_cache=False, logits_to_keep=1), generate(stock, VERDICT_TOKENS)]
    result: dict[str, Any] = {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in stock.parameters()),
        "rows": rows,
        "tokens": batch["input_ids"].shape[1],
        "prefill": against_stock(prefills, rounds, device),
        f"generate {new_tokens}": against_stock(answers, few, device),
        "memory": {
            "stock_peak": peaks[0],
            "guarded_peak": peaks[1],
            "delta": peaks[1] - peaks[0],
            "pooled_tensor": rows * stock.config.get_text_config().hidden_size * 4,
        },
        f"verdict by {VERDICT_TOKENS} tokens / by the guard": {"ratio": paired(*verdicts, few, device)},
    }
    result["operations"] = {work: {"stock": one, "guarded": two} for work, (one, two) in counts.items()}
    if not train:
        return result
    safety_labels = torch.arange(rows, device=device) % 20
    steps = [
        training_step(stock.train(), batch, labels=labels),
        training_step(stock, batch, guarded.train(), labels=labels, safety_labels=safety_labels),
        training_step(guarded, batch, labels=labels, safety_labels=safety_labels),
    ]
    counts["training step"] = [operations(steps[0]), operations(steps[2])]
    result["training step"] = against_stock(steps, max(rounds // 2, 4), device)
    result["operations"] = {work: {"stock": one, "guarded": two} for work, (one, two) in counts.items()}
    return result


def shown(result: dict[str, Any]) -> None:
    print(
        f"{result['model']}: {result['parameters'] / 1e6:.1f} M parameters, "
        f"{result['rows']} x {result['tokens']} tokens"
    )
    for name, figures in result.items():
        for what, value in figures.items() if isinstance(figures, dict) else ():
            if isinstance(value, dict) and "ratio" in value:
                print(
                    f"  {name + ', ' + what:46} x {value['ratio']:.4f}  [{value['low']:.4f}, {value['high']:.4f}]  "
                    f"n={value['pairs']}, {value['first_ms']:.2f} -> {value['second_ms']:.2f} ms"
                )
    for work, counted in result["operations"].items():
        print(f"  operators, {work:35} {counted['stock']} -> {counted['guarded']}")
    memory = result["memory"]
    print(
        f"  peak memory of a prefill                       {memory['delta']:+,} bytes of {memory['stock_peak']:,}; "
        f"one pooled tensor is {memory['pooled_tensor']:,}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", nargs="+", choices=list(MODELS), default=["pictovlm", "qwen"])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-training", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    train = not given.no_training
    results = [measure(name, given.rounds, given.rows, given.new_tokens, given.device, train) for name in given.model]
    if given.json:
        print(json.dumps({"device": given.device, "torch": torch.__version__, "results": results}, indent=1))
    else:
        for result in results:
            shown(result)


if __name__ == "__main__":
    main()
