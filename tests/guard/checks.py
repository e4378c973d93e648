"""What must hold for every family. Each check takes a Case and raises AssertionError; CHECKS lists them all."""

from __future__ import annotations

import copy
import functools
import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, PreTrainedModel

import holisafe
from holisafe.guard import is_guarded, load_model, save_guarded
from holisafe.guard.families import decoder_layers, text_decoder

from . import oracle
from .tiny_families import IMAGE, TOKEN, VIDEO, Family, answer_labels, build, collate, samples

SAFETY_LABELS = torch.tensor([3, 7, 0])
GREEDY: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False, "suppress_tokens": [IMAGE, VIDEO]}
"""A random model would else answer with image placeholders, which without a cache asks for images."""
HEAD_KEYS = {f"img_safety_head.mlp.{layer}.{kind}" for layer in (0, 3) for kind in ("weight", "bias")}


@dataclass
class Case:
    """One family, built twice from one seed: stock and guarded. Checks that change weights work on copies."""

    name: str
    family: Family
    stock: PreTrainedModel
    guarded: Any

    @classmethod
    def of(cls, name: str, family: Family) -> Case:
        return cls(name, family, build(family), with_head(family))

    def batch(self, side: str = "right", images: tuple[int, ...] = (1, 2, 0), seed: int = 1) -> dict[str, Tensor]:
        return collate(self.family, samples(self.family, images, seed), side)

    def oracle(self, head: nn.Module | None = None, pool: str | None = None) -> list[Tensor]:
        head = self.guarded.img_safety_head if head is None else head
        return oracle.logits(self.stock, self.family, head, samples(self.family), pool or self.family.pool)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-4) -> None:
    difference, size = (a - b).abs().max().item(), max(1.0, b.abs().max().item())
    assert difference <= tolerance * size, f"differ by {difference:.2e} at size {size:.2e}"


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    """Bit by bit. (Numbers computed from loaded weights may differ in the last bit: they lie elsewhere in memory.)"""
    one, other = a.state_dict(), b.state_dict()
    assert one.keys() == other.keys()
    assert not [name for name in one if not torch.equal(one[name], other[name])]


def count_calls(module: nn.Module, work: Callable[[], Any]) -> tuple[Any, int]:
    calls: list[int] = []
    hook = module.register_forward_hook(lambda *_: calls.append(1))
    try:
        return work(), len(calls)
    finally:
        hook.remove()


def without_dropout(model: nn.Module) -> None:
    """Training mode that is deterministic, so that two runs can be compared."""
    model.train()
    for module in model.modules():
        for name in ("p", "dropout", "attention_dropout", "hidden_dropout", "drop_path"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def gradients(model: nn.Module, **inputs: Any) -> tuple[Any, dict[str, Tensor]]:
    model.zero_grad()
    output = model(**inputs)
    output.loss.backward()
    return output, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@torch.no_grad()
def language_model_is_untouched(case: Case) -> None:
    batch = case.batch()
    stock, guarded = case.stock(**batch), case.guarded(**batch)
    assert torch.equal(stock.logits, guarded.logits)
    assert isinstance(guarded, type(stock))
    assert isinstance(case.guarded, type(case.stock))
    assert type(case.guarded).__name__ == type(case.stock).__name__
    off = case.guarded(**batch, do_safety=False)
    assert type(off) is type(stock)
    as_tuple = case.guarded(**batch, return_dict=False)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], stock.logits)


@torch.no_grad()
def guard_equals_loop(case: Case) -> None:
    expected = case.oracle()
    spread = (expected[0] - expected[1]).abs().max()
    assert spread > 0.05, "vacuous: two samples look the same to the guard"
    for side in ("right", "left"):
        output = case.guarded(**case.batch(side))
        assert output.img_safety_logits.shape == (3, 20)
        assert output.img_safety_valid.tolist() == [True, True, False]
        for row, wanted in zip(output.img_safety_logits, expected, strict=False):
            close(row, wanted)
        close(output.img_safety_probs, output.img_safety_logits.softmax(-1))
        assert output.img_safety_probs.isfinite().all()


def with_head(family: Family, **settings: Any) -> Any:
    """A guarded model with a head whose weights are large enough to tell its inputs apart."""
    model = holisafe.attach_guard(build(family), **settings)
    torch.manual_seed(5)
    for parameter in model.img_safety_head.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@torch.no_grad()
def every_pool_equals_loop(case: Case) -> None:
    """Projected features, a token, the pair, and a concatenation; two and three labels."""
    seen = [case.guarded(**case.batch()).img_safety_logits[:2, :2]]
    for pool in ("last_hidden", "projected", "token", "image_and_text", "projected+token"):
        if pool == case.family.pool:
            continue
        labels = ("safe", "unsafe") if pool == "token" else ("safe", "odd", "worse")
        model = with_head(case.family, labels=labels, pool=pool, token_id=TOKEN)
        expected = case.oracle(model.img_safety_head, pool)
        for side in ("right", "left"):
            output = model(**case.batch(side))
            assert output.img_safety_valid.tolist() == [True, True, False]
            for row, wanted in zip(output.img_safety_logits, expected, strict=False):
                close(row, wanted)
        model.generate(**case.batch("left"), **GREEDY)
        close(model.last_safety.img_safety_logits[:2], output.img_safety_logits[:2], 1e-5)
        seen.append(output.img_safety_logits[:2, :2])
        assert not torch.allclose(seen[-1], seen[-2]), "vacuous: two pools agree"


@torch.no_grad()
def read_alone_it_stops_early(case: Case) -> None:
    """The same reading from the tower, from the first layer, or from the whole decoder, and nothing run beyond it."""
    for pool, ran in (("projected", [0, 0, 0]), ("hidden@1+image_and_text@1", [1, 0, 0]), ("last_hidden", [1, 1, 0])):
        model = with_head(case.family, pool=pool)
        layers, last = decoder_layers(model), model.get_output_embeddings()
        if len(layers) < 2 and "@" in pool:
            continue
        later = (layers[0], layers[-1], last)
        calls = [0, 0, 0]
        hooks = [one.register_forward_hook(functools.partial(_count, calls, n)) for n, one in enumerate(later)]
        alone = model(**case.batch(), do_safety="alone")
        assert calls == ran, (pool, calls)
        for hook in hooks:
            hook.remove()
        for row, wanted in zip(alone.img_safety_logits, case.oracle(model.img_safety_head, pool), strict=False):
            close(row, wanted)
        whole = model(**case.batch())
        assert torch.equal(alone.img_safety_logits, whole.img_safety_logits)
        assert torch.equal(whole.logits, case.stock(**case.batch()).logits), "the next call is whole again"


def _count(calls: list[int], number: int, *_: Any) -> None:
    calls[number] = 1


@torch.no_grad()
def each_image_equals_loop(case: Case) -> None:
    rows = samples(case.family)
    for verdict in ("worst", "mean"):
        model = with_head(case.family, unit="image", verdict=verdict, pool=case.family.pool)
        expected = oracle.image_logits(case.stock, case.family, model.img_safety_head, rows, case.family.pool)
        output = model(**case.batch("left"))
        assert output.img_safety_image_valid.tolist() == [[True, False], [True, True], [False, False]]
        assert output.img_safety_valid.tolist() == [True, True, False]
        for row, (found, wanted) in enumerate(zip(output.img_safety_image_logits, expected, strict=True)):
            for here, there in zip(found, wanted, strict=False):
                close(here, there)
            if wanted:
                each = torch.stack(wanted).softmax(-1)
                of_sample = each[each[:, 0].argmin()] if verdict == "worst" else each.mean(0)
                close(output.img_safety_probs[row], of_sample)
        close(output.img_safety_logits[:2].softmax(-1), output.img_safety_probs[:2])


@torch.no_grad()
def keeps_its_verdict_over_turns(case: Case) -> None:
    batch = case.batch("left")
    first = case.guarded(**batch, use_cache=True)
    case.guarded.generate(**next_turn(first, batch), **GREEDY)
    second = case.guarded.last_safety
    assert second.img_safety_valid.tolist() == first.img_safety_valid.tolist() == [True, True, False]
    assert torch.equal(second.img_safety_logits, first.img_safety_logits)


def next_turn(output: Any, batch: dict[str, Tensor]) -> dict[str, Any]:
    """Three more tokens on the cache of an earlier call, without the images."""
    ids = torch.cat([batch["input_ids"], torch.full((3, 3), 7)], dim=1)
    mask = torch.cat([batch["attention_mask"], torch.ones(3, 3, dtype=torch.long)], dim=1)
    return {"input_ids": ids, "attention_mask": mask, "past_key_values": output.past_key_values}


def no_image_at_all(case: Case) -> None:
    batch = case.batch(images=(0, 0))
    output = case.guarded(**batch)
    assert output.img_safety_valid.tolist() == [False, False]
    assert output.img_safety_logits.isfinite().all()
    model = copy.deepcopy(case.guarded)
    without_dropout(model)
    output, grads = gradients(model, **batch, labels=answer_labels(batch), safety_labels=torch.tensor([1, 2]))
    assert output.safety_loss.item() == 0.0
    assert output.loss.item() == output.lm_loss.item()
    assert all((grads[key] == 0).all() for key in HEAD_KEYS), "every rank must reach the head, and learn nothing here"


@torch.no_grad()
def generates_as_stock(case: Case) -> None:
    batch = case.batch("left")
    forward = case.guarded(**batch)
    tokens, calls = count_calls(text_decoder(case.stock), lambda: case.stock.generate(**batch, **GREEDY))
    guarded, guarded_calls = count_calls(text_decoder(case.guarded), lambda: case.guarded.generate(**batch, **GREEDY))
    assert torch.equal(tokens, guarded)
    assert calls == guarded_calls == 4
    reading = case.guarded.last_safety
    close(reading.img_safety_logits, forward.img_safety_logits, 1e-5)
    assert reading["img_safety_valid"].tolist() == [True, True, False]

    off, off_calls = count_calls(
        text_decoder(case.guarded), lambda: case.guarded.generate(**batch, **GREEDY, do_safety=False)
    )
    assert torch.equal(off, tokens)
    assert off_calls == 4
    assert case.guarded.last_safety is None


@torch.no_grad()
def generates_beams_and_samples(case: Case) -> None:
    batch = case.batch("left")
    forward = case.guarded(**batch)
    for options in ({"num_beams": 2, "num_return_sequences": 2}, {"do_sample": True, "num_return_sequences": 3}):
        asked = {**GREEDY, **options, "return_dict_in_generate": True}
        torch.manual_seed(0)
        stock = case.stock.generate(**batch, **asked)
        torch.manual_seed(0)
        guarded = case.guarded.generate(**batch, **asked)
        assert torch.equal(stock.sequences, guarded.sequences)
        assert guarded.img_safety_logits.shape == (3, 20)
        close(guarded["img_safety_logits"], forward.img_safety_logits, 1e-5)


@torch.no_grad()
def generates_without_cache(case: Case) -> None:
    batch = case.batch("left")
    forward = case.guarded(**batch)
    tokens = case.guarded.generate(**batch, **GREEDY, use_cache=False)
    assert torch.equal(tokens, case.stock.generate(**batch, **GREEDY, use_cache=False))
    close(case.guarded.last_safety.img_safety_logits, forward.img_safety_logits, 1e-5)


@torch.no_grad()
def prefills_in_chunks(case: Case) -> None:
    batch = case.batch("left")
    forward = case.guarded(**batch)
    tokens = case.guarded.generate(**batch, **GREEDY, prefill_chunk_size=5)
    assert torch.equal(tokens, case.stock.generate(**batch, **GREEDY, prefill_chunk_size=5))
    close(case.guarded.last_safety.img_safety_logits, forward.img_safety_logits, 1e-4)


def joint_loss(case: Case) -> None:
    model = copy.deepcopy(case.guarded)
    model.config.safety_loss_lambda = 0.7
    without_dropout(model)
    batch = case.batch()
    labels = answer_labels(batch)
    output, grads = gradients(model, **batch, labels=labels, safety_labels=SAFETY_LABELS)

    head = copy.deepcopy(case.guarded.img_safety_head)
    stock = copy.deepcopy(case.stock)
    without_dropout(stock)
    guard = oracle.cross_entropy(
        oracle.logits(stock, case.family, head, samples(case.family), case.family.pool), [3, 7]
    )
    language = stock(**batch, labels=labels).loss
    close(output.safety_loss, guard)
    close(output.lm_loss, language, 1e-6)
    close(output.loss, language + 0.7 * guard)

    (language + 0.7 * guard).backward()
    for name, parameter in [*stock.named_parameters(), *head.named_parameters(prefix="img_safety_head")]:
        if parameter.grad is not None:
            close(grads[name], parameter.grad, 2e-3)
    vision = [name for name in grads if ("vis" in name or "image_tower" in name) and grads[name].abs().sum() > 0]
    assert vision, "nothing reaches the vision tower"


def accumulates_gradients(case: Case) -> None:
    """Two micro-batches of equal size move the head as one batch of both does."""
    rows = samples(case.family, (1, 2, 1, 1))
    labels = torch.tensor([3, 7, 0, 5])
    model = copy.deepcopy(case.guarded)
    without_dropout(model)
    _, whole = gradients(model, **collate(case.family, rows), safety_labels=labels)
    halves = [
        gradients(model, **collate(case.family, rows[part]), safety_labels=labels[part])[1]
        for part in (slice(0, 2), slice(2, 4))
    ]
    for key in HEAD_KEYS:
        assert whole[key].abs().max() > 1e-4
        close((halves[0][key] + halves[1][key]) / 2, whole[key], 1e-4)


def stock_gradient_checkpointing(case: Case) -> None:
    model = copy.deepcopy(case.stock)
    model.train()
    model.gradient_checkpointing_enable()
    batch = case.batch()
    gradients(model, **batch, labels=answer_labels(batch))


def gradient_checkpointing(case: Case) -> None:
    model = copy.deepcopy(case.guarded)
    without_dropout(model)
    batch = case.batch()
    inputs = {**batch, "labels": answer_labels(batch), "safety_labels": SAFETY_LABELS}
    _, plain = gradients(model, **inputs)
    model.gradient_checkpointing_enable()
    _, checkpointed = gradients(model, **inputs)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        close(checkpointed[name], gradient, 1e-3)


@torch.no_grad()
def saves_and_loads(case: Case) -> None:
    batch = case.batch()
    here = case.guarded(**batch)
    with tempfile.TemporaryDirectory() as folder:
        case.guarded.save_pretrained(folder)
        keys = set(load_file(Path(folder, "model.safetensors")))
        assert {key for key in keys if "safety" in key} == HEAD_KEYS
        again = holisafe.load_guarded(folder)
        assert again.config.architectures == [type(case.stock).__name__]
        assert_same_weights(again, case.guarded)
        close(again(**batch).img_safety_logits, here.img_safety_logits, 1e-5)
        assert is_guarded(load_model(folder))
        stock, report = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
        assert not report["missing_keys"]
        assert set(report["unexpected_keys"]) == HEAD_KEYS
        assert not is_guarded(stock)
        assert_same_weights(stock, case.stock)
        close(stock.eval()(**batch).logits, again(**batch).logits, 1e-6)


def lora_and_head(case: Case) -> None:
    from peft import LoraConfig, get_peft_model

    batch = case.batch()
    inputs = {**batch, "labels": answer_labels(batch), "safety_labels": SAFETY_LABELS}
    with tempfile.TemporaryDirectory() as folder:
        base, adapter, merged = (str(Path(folder, name)) for name in ("base", "adapter", "merged"))
        case.stock.save_pretrained(base)
        model = holisafe.attach_guard(AutoModelForImageTextToText.from_pretrained(base))
        lora = LoraConfig(
            r=4,
            target_modules=r".*(language_model|text_model).*\.(q_proj|v_proj|query_key_value)",
            modules_to_save=["img_safety_head"],
            task_type="CAUSAL_LM",
        )
        wrapped = get_peft_model(model, lora)
        trained = {name for name, p in wrapped.named_parameters() if p.requires_grad}
        assert any("img_safety_head.modules_to_save" in name for name in trained)
        without_dropout(wrapped)
        optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=1e-3)
        losses = []
        for _ in range(4):
            loss = wrapped(**inputs).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        wrapped.eval()
        with torch.no_grad():
            here = wrapped(**batch)
            save_guarded(wrapped, adapter)
            again = holisafe.load_guarded(adapter)
            close(again(**batch).img_safety_logits, here.img_safety_logits, 1e-5)
            close(again(**batch).logits, here.logits, 1e-5)
            again.generate(**case.batch("left"), **GREEDY)
            close(again.last_safety.img_safety_logits, again(**case.batch("left")).img_safety_logits, 1e-5)
            whole = again.merge_and_unload()
            close(whole(**batch).img_safety_logits, here.img_safety_logits)
            save_guarded(whole, merged)
            assert_same_weights(holisafe.load_guarded(merged), whole)


def bfloat16(case: Case) -> None:
    model = copy.deepcopy(case.guarded).to(torch.bfloat16)
    batch = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in case.batch().items()}
    without_dropout(model)
    output, grads = gradients(model, **batch, labels=answer_labels(batch), safety_labels=SAFETY_LABELS)
    assert output.loss.isfinite()
    assert output.img_safety_logits.dtype == torch.bfloat16
    assert output.img_safety_probs.dtype == torch.float32
    assert all(gradient.isfinite().all() for gradient in grads.values())
    assert grads["img_safety_head.mlp.0.weight"].abs().sum() > 0


@torch.no_grad()
def copies_and_pickles(case: Case) -> None:
    batch = case.batch()
    before = case.guarded(**batch).img_safety_logits
    twin = copy.deepcopy(case.guarded)
    twin.img_safety_head.mlp[3].bias.add_(1)
    close(twin(**batch).img_safety_logits, before + 1, 1e-5)
    assert torch.equal(case.guarded(**batch).img_safety_logits, before)
    fresh = holisafe.attach_guard(
        build(case.family)
    )  # once hidden states were asked for, a stock model has local hooks
    fresh.img_safety_head.load_state_dict(case.guarded.img_safety_head.state_dict())
    thawed = pickle.loads(pickle.dumps(fresh)).eval()
    assert torch.equal(thawed(**batch).img_safety_logits, before)
    output = pickle.loads(pickle.dumps(case.guarded(**batch)))
    assert torch.equal(output.img_safety_logits, before)


CHECKS: dict[str, Callable[[Case], None]] = {
    check.__name__: check
    for check in (
        language_model_is_untouched,
        guard_equals_loop,
        every_pool_equals_loop,
        read_alone_it_stops_early,
        each_image_equals_loop,
        keeps_its_verdict_over_turns,
        no_image_at_all,
        generates_as_stock,
        generates_beams_and_samples,
        generates_without_cache,
        prefills_in_chunks,
        joint_loss,
        accumulates_gradients,
        gradient_checkpointing,
        saves_and_loads,
        lora_and_head,
        bfloat16,
        copies_and_pickles,
    )
}


def stock_prefill(case: Case, batch: dict[str, Tensor], every: int = 1, **options: Any) -> Tensor:
    """What the stock model's decoder made of the prompt in generate, in one piece or several: [B, S, H]."""
    pieces: list[Tensor] = []
    decoder = text_decoder(case.stock)
    hook = decoder.register_forward_hook(lambda _module, _args, output: pieces.append(output[0][::every]))
    try:
        case.stock.generate(**batch, **{**GREEDY, **options})
    finally:
        hook.remove()
    return torch.cat(pieces, dim=1)[:, : batch["input_ids"].shape[1]]


@torch.no_grad()
def stock_same_states(case: Case, every: int = 1, **options: Any) -> None:
    """The stock model's own states of the prompt do not depend on how it is asked to generate."""
    batch = case.batch("left")
    real = batch["attention_mask"].bool()
    close(stock_prefill(case, batch, every, **options)[real], stock_prefill(case, batch)[real], 1e-4)


@torch.no_grad()
def stock_next_turn(case: Case) -> None:
    batch = case.batch("left")
    case.stock.generate(**next_turn(case.stock(**batch, use_cache=True), batch), **GREEDY)


STOCK_REPRODUCTIONS: dict[str, Callable[[Case], Any]] = {
    "gradient_checkpointing": stock_gradient_checkpointing,
    "no_image_at_all": lambda case: case.stock(**case.batch(images=(0, 0))),
    "prefills_in_chunks": lambda case: stock_same_states(case, prefill_chunk_size=5),
    "generates_beams_and_samples": lambda case: stock_same_states(case, every=2, num_beams=2),
    "keeps_its_verdict_over_turns": stock_next_turn,
}
"""The same demand on the stock model, which must fail wherever a family is exempt from a check."""


def outcome(case: Case, check: str) -> str:
    """ "passes", or "stock: " and why the stock model cannot, once that was seen. Raises what the check raises."""
    reason = case.family.exempt.get(check)
    if reason is None:
        CHECKS[check](case)
        return "passes"
    try:
        STOCK_REPRODUCTIONS[check](case)
    except Exception:  # noqa: BLE001 - however the stock model fails, it is not the guard
        return f"stock: {reason}"
    raise AssertionError(f"{case.name}: exempt from {check}, but the stock model can")
