"""Attaching: what is refused and why, what stays, and callers that come in by other doors."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    CONFIG_MAPPING,
    LlamaConfig,
    LlamaForCausalLM,
    MllamaConfig,
    MllamaForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

import holisafe
from holisafe import taxonomy
from holisafe.errors import InputError
from holisafe.guard import is_guarded, labels_of, pooling
from holisafe.guard.families import NO_IMAGE_POSITIONS, image_token_ids
from holisafe.guard.settings import read_settings

from .tiny_families import FAMILIES, IMAGE, TEXT, VIDEO, VISION, build, collate, samples


def test_importing_holisafe_loads_no_torch() -> None:
    code = "import holisafe, sys; holisafe.__version__; print('torch' in sys.modules, 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"] * 2


def test_settings_are_written_to_the_config(stock: Any) -> None:
    model = holisafe.attach_guard(
        stock, ("safe", "b", "c"), hidden_scale=2.0, hidden_layers=2, dropout=0.2, loss_weight=3
    )
    assert model is stock
    assert model.config.safety_categories == ["safe", "b", "c"]
    assert model.config.num_safety_categories == 3
    assert model.config.safety_head_hidden_scale == 2.0
    assert model.config.safety_num_hidden_layers == 2
    assert model.config.safety_loss_lambda == 3
    assert model.config.safety_pool == "last_hidden"
    assert model.config.safety_head_dropout == 0.2
    assert [tuple(p.shape) for p in model.img_safety_head.parameters() if p.dim() == 2] == [
        (128, 64),
        (128, 128),
        (3, 128),
    ]
    assert labels_of(model) == ("safe", "b", "c")
    assert model.img_safety_head.mlp[2].p == 0.2


def test_settings_of_an_older_folder() -> None:
    config = build(FAMILIES["llava-clip"]).config
    fields = {"safety_categories": ["safe", "b"], "safety_schema": 1}
    for old, new in (("hidden", "last_hidden"), ("visual", "projected"), (None, "last_hidden")):
        settings = read_settings({**fields, "safety_pool": old}, config, "config")
        assert (settings.pool, settings.unit, settings.token_id) == (new, "sample", None)
        written = settings.as_fields()
        assert (written["safety_schema"], written["safety_pool"], written["safety_unit"]) == (2, new, "sample")


def test_labels_in_the_model_cards_spelling(guarded: Any) -> None:
    assert labels_of(guarded) == taxonomy.IMAGE_LABELS
    guarded.config.safety_categories[1] = "gender_discrimination"
    assert labels_of(guarded) == taxonomy.IMAGE_LABELS


def test_only_a_guarded_model_is_guarded(stock: Any) -> None:
    assert not is_guarded(stock)
    with pytest.raises(InputError, match="has no guard"):
        labels_of(stock)
    assert is_guarded(torch.nn.Sequential()) is False


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"labels": ("safe",)}, "at least two labels"),
        ({"labels": ("safe", "safe")}, "occurs twice"),
        ({"labels": ("safe", "")}, "must be names"),
        ({"pool": "everything"}, "'everything' is none of last_hidden, projected, token, image_and_text"),
        ({"pool": "last_hidden+projected+last_hidden"}, "occurs twice"),
        ({"pool": "token"}, "needs the token's id"),
        ({"unit": "pixel"}, "'pixel' is none of sample, image"),
        ({"verdict": "best"}, "'best' is none of worst, mean"),
        ({"hidden_scale": 0}, "hidden_scale must be a number above 0"),
        ({"hidden_scale": 0.001}, "leaves no hidden unit"),
        ({"hidden_layers": 0}, "hidden_layers must be at least 1"),
        ({"dropout": 1.0}, "dropout must lie"),
        ({"loss_weight": -1}, "loss_weight must not be negative"),
    ],
)
def test_refuses_settings_that_make_no_head(stock: Any, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        holisafe.attach_guard(stock, **settings)
    assert not is_guarded(stock)
    assert not hasattr(stock.config, "safety_categories")


def test_refuses_models_that_cannot_carry_it(guarded: Any, stock: Any) -> None:
    from peft import LoraConfig, get_peft_model

    text = LlamaForCausalLM(LlamaConfig(**TEXT))
    encoder_decoder = T5ForConditionalGeneration(T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=2, vocab_size=32))
    encoder_decoder.config.image_token_id = 5
    mllama = MllamaForConditionalGeneration(
        MllamaConfig(
            text_config={**TEXT, "num_hidden_layers": 2, "cross_attention_layers": [1]},
            vision_config={
                **VISION,
                "num_global_layers": 1,
                "intermediate_layers_indices": [0],
                "vision_output_dim": 64,
            },
        )
    )
    wrapped = get_peft_model(stock, LoraConfig(target_modules=["q_proj"]))
    for model, reason in (
        (guarded, "already has a guard"),
        (wrapped, "before PEFT"),
        (wrapped.get_base_model(), "before adapters"),
        (torch.nn.Linear(2, 2), "no transformers model"),
        (text, "no token of its sequence stands for an image"),
        (mllama, "no token of its sequence stands for an image"),
        (encoder_decoder, "encoder-decoder"),
    ):
        with pytest.raises(InputError, match=reason) as caught:
            holisafe.attach_guard(model)
        assert isinstance(caught.value, ValueError)


def test_after_accelerate_put_its_hooks_on(stock: Any, batch: dict[str, torch.Tensor]) -> None:
    """`device_map` leaves a bound stock forward in the instance, which would go on hiding the guard's."""
    from accelerate.hooks import ModelHook, add_hook_to_module

    class Counting(ModelHook):
        calls = 0

        def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
            Counting.calls += 1
            return args, kwargs

    add_hook_to_module(stock, Counting())
    model = holisafe.attach_guard(stock).eval()
    assert model(**batch).img_safety_probs.shape == (3, 20)
    assert Counting.calls == 1


def test_embeddings_instead_of_ids(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    by_ids = guarded(**batch)
    embeddings = guarded.get_input_embeddings()(batch.pop("input_ids"))
    by_embeddings = guarded(**batch, inputs_embeds=embeddings)
    assert torch.equal(by_ids.img_safety_logits, by_embeddings.img_safety_logits)


def test_positional_arguments(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    positional = guarded(batch["input_ids"], batch["pixel_values"], batch["attention_mask"])
    assert torch.equal(positional.img_safety_logits, guarded(**batch).img_safety_logits)


def test_decode_steps_and_later_turns(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    first = guarded(**batch, use_cache=True)
    mask = torch.cat([batch["attention_mask"], torch.ones(3, 1, dtype=torch.long)], dim=1)
    step = guarded(
        input_ids=torch.full((3, 1), 7), attention_mask=mask, past_key_values=first.past_key_values, use_cache=True
    )
    assert "img_safety_logits" not in step
    mask = torch.cat([mask, torch.ones(3, 2, dtype=torch.long)], dim=1)
    turn = guarded(input_ids=torch.full((3, 2), 7), attention_mask=mask, past_key_values=step.past_key_values)
    assert turn.img_safety_valid.tolist() == [True, True, False]  # the first turn's images are in the cache
    assert torch.equal(turn.img_safety_logits, first.img_safety_logits)


def test_a_later_turns_image_joins_the_mean(guarded: Any) -> None:
    """The reading after two turns is that of one prefill over both, however the images stand in them."""
    rows = samples(FAMILIES["llava-swin"], images=(2, 2))
    whole = collate(FAMILIES["llava-swin"], rows, "left")
    for cut in range(9, 15):
        early, late = whole["input_ids"][:, :cut], whole["input_ids"][:, cut:]
        pixels = [[], []]  # type: ignore[var-annotated]
        fits = True
        for row, sample in enumerate(rows):
            first = int((early[row] == IMAGE).sum())
            fits &= first % 4 == 0
            for number, image in enumerate(sample.images):
                pixels[0 if number < first // 4 else 1].append(image["pixel_values"])
        if not (fits and pixels[0] and pixels[1]):
            continue
        one = guarded(
            input_ids=early, attention_mask=whole["attention_mask"][:, :cut], pixel_values=torch.cat(pixels[0])
        )
        two = guarded(
            input_ids=late,
            attention_mask=whole["attention_mask"],
            pixel_values=torch.cat(pixels[1]),
            past_key_values=one.past_key_values,
        )
        torch.testing.assert_close(two.img_safety_logits, guarded(**whole).img_safety_logits, rtol=1e-4, atol=1e-5)
        return
    pytest.fail("no cut between two images found")


def test_a_reset_cache_is_another_conversation(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    cache = guarded(**batch, use_cache=True).past_key_values
    cache.crop(2 - cache.get_seq_length())
    mask = torch.cat([batch["attention_mask"][:, :2], torch.ones(3, 3, dtype=torch.long)], dim=1)
    turn = guarded(input_ids=torch.full((3, 3), 7), attention_mask=mask, past_key_values=cache)
    assert turn.img_safety_valid.tolist() == [False] * 3


@pytest.mark.parametrize("given", [True, False])
def test_packed_sequences(given: bool) -> None:
    """Conversations in one row: each has the verdict that it has alone."""
    family = FAMILIES["llava-clip"]
    model = holisafe.attach_guard(build(family)).eval()
    rows = samples(family, images=(1, 2, 0))
    alone = [model(**collate(family, [row])).img_safety_logits[0] for row in rows]
    lengths = [len(row.ids) for row in rows]
    inputs = {
        "input_ids": torch.tensor([[token for row in rows for token in row.ids]]),
        "position_ids": torch.tensor([[place for length in lengths for place in range(length)]]),
        "pixel_values": torch.cat([image["pixel_values"] for row in rows for image in row.images]),
    }
    if given:
        inputs["safety_segments"] = torch.arange(3).repeat_interleave(torch.tensor(lengths)).unsqueeze(0)
    output = model(**inputs, safety_labels=torch.tensor([1, 2, 3]), use_cache=False)
    assert output.img_safety_valid.tolist() == [True, True, False]
    torch.testing.assert_close(output.img_safety_logits[:2], torch.stack(alone[:2]), rtol=1e-4, atol=1e-5)
    expected = torch.nn.functional.cross_entropy(torch.stack(alone[:2]), torch.tensor([1, 2]))
    torch.testing.assert_close(output.safety_loss, expected, rtol=1e-4, atol=1e-5)


def test_labels_of_images(stock: Any, batch: dict[str, torch.Tensor]) -> None:
    model = holisafe.attach_guard(stock, unit="image").eval()
    output = model(**batch, safety_labels=torch.tensor([[3, -100], [-100, 7], [1, 1]]))
    wanted = torch.stack([output.img_safety_image_logits[0, 0], output.img_safety_image_logits[1, 1]])
    torch.testing.assert_close(output.safety_loss, torch.nn.functional.cross_entropy(wanted, torch.tensor([3, 7])))
    of_samples = model(**batch, safety_labels=torch.tensor([3, 7, 1]))
    torch.testing.assert_close(
        of_samples.safety_loss,
        torch.nn.functional.cross_entropy(of_samples.img_safety_logits[:2], torch.tensor([3, 7])),
    )
    with pytest.raises(ValueError, match="one row a sample"):
        model(**batch, safety_labels=torch.tensor([[3, -100]]))


def test_images_by_number(stock: Any, batch: dict[str, torch.Tensor]) -> None:
    """An image in several runs (rows, tiles): the caller says which positions are whose."""
    model = holisafe.attach_guard(stock, unit="image").eval()
    numbers = (batch["input_ids"] == IMAGE).long()  # all of a sample's runs are one image
    output = model(**batch, safety_images=numbers)
    assert output.img_safety_image_valid.tolist() == [[True], [True], [False]]
    model.config.safety_unit = "sample"
    whole = model(**batch)
    torch.testing.assert_close(output.img_safety_logits[:2], whole.img_safety_logits[:2])


def test_the_answer_is_no_text_of_the_pair(stock: Any, batch: dict[str, torch.Tensor]) -> None:
    """A pair head trained on prompt and answer must not read the answer, which it will not have when asked."""
    model = holisafe.attach_guard(stock, ("safe", "unsafe"), pool="image_and_text").eval()
    prompt = model(**batch).img_safety_logits
    ids = torch.cat([batch["input_ids"], torch.full((3, 4), 9)], dim=1)
    mask = torch.cat([batch["attention_mask"], torch.ones(3, 4, dtype=torch.long)], dim=1)
    labels = torch.full_like(ids, -100)
    labels[:, -4:] = 9
    whole = {**batch, "input_ids": ids, "attention_mask": mask}
    torch.testing.assert_close(model(**whole, labels=labels).img_safety_logits, prompt)
    assert not torch.allclose(model(**whole).img_safety_logits, prompt)


def test_video_frames_count_as_images() -> None:
    """Published: the mean runs over the positions whose id is the image or the video token."""
    config = build(FAMILIES["qwen2_5_vl"]).config
    assert image_token_ids(config) == (IMAGE, VIDEO)
    assert image_token_ids(build(FAMILIES["llava-clip"]).config) == (IMAGE,)


@pytest.mark.parametrize("family", [*NO_IMAGE_POSITIONS, "udop"])
def test_families_without_image_positions(family: str) -> None:
    why = re.escape(NO_IMAGE_POSITIONS.get(family, "nothing can be pooled"))
    with pytest.raises(InputError, match=f"{family}: no token of its sequence stands for an image.*{why}"):
        image_token_ids(CONFIG_MAPPING[family]())


@pytest.mark.parametrize(("settings", "reads"), [({}, 1), ({"use_cache": False}, 1), ({"do_safety": False}, 0)])
def test_the_prefill_is_read_once(
    guarded: Any, batch: dict[str, torch.Tensor], settings: Any, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = pooling.pool, []
    monkeypatch.setattr(pooling, "pool", lambda *given: seen.append(1) or plain(*given))
    guarded.generate(**batch, max_new_tokens=3, **settings)
    assert len(seen) == reads


def test_labels_need_the_guard(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match="do_safety is False"):
        guarded(**batch, do_safety=False, safety_labels=torch.tensor([0, 0, 0]))
    with pytest.raises(ValueError, match="one id a sample"):
        guarded(**batch, safety_labels=torch.tensor([0, 0]))


def test_a_turn_of_one_token(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    """It looks like a decode step: nothing is read, and the verdict is that of the turns before."""
    first = guarded(**batch, use_cache=True)
    turn = {name: torch.nn.functional.pad(batch[name], (0, 1), value=1) for name in ("input_ids", "attention_mask")}
    guarded.generate(**turn, past_key_values=first.past_key_values, max_new_tokens=2)
    assert torch.equal(guarded.last_safety.img_safety_logits, first.img_safety_logits)
    unread = guarded(**batch, use_cache=True, do_safety=False).past_key_values
    guarded.generate(**turn, past_key_values=unread, max_new_tokens=2)
    assert guarded.last_safety is None


@pytest.mark.parametrize("pool", ["last_hidden", "projected"])
def test_makes_nothing_as_large_as_the_features(pool: str, stock: Any, batch: dict[str, torch.Tensor]) -> None:
    """The guard adds no tensor of [B, S, H] to a prefill."""
    size = batch["input_ids"].numel() * stock.config.text_config.hidden_size

    class Large(TorchDispatchMode):
        made = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)}
            for tensor in tree_leaves(result):
                if torch.is_tensor(tensor) and tensor.untyped_storage().data_ptr() not in given:
                    self.made += tensor.numel() >= size
            return result

    made = []
    for model in (stock.eval(), holisafe.attach_guard(copy.deepcopy(stock), pool=pool)):
        with torch.no_grad(), Large() as large:
            model(**batch)
        made.append(large.made)
    assert made[0] == made[1] > 0


def test_the_loss_comes_first(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    """Trainer takes the first of a tuple, also of one without the language model's loss."""
    asked = {"safety_labels": torch.tensor([3, 4, 0])}
    guarded.eval()
    assert torch.equal(guarded(**batch, **asked, return_dict=False)[0], guarded(**batch, **asked).safety_loss)


def test_left_out_labels(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    output = guarded(**batch, safety_labels=torch.tensor([-100, 4, 4]))
    expected = torch.nn.functional.cross_entropy(output.img_safety_logits[1:2], torch.tensor([4]))
    torch.testing.assert_close(output.safety_loss, expected)
    torch.testing.assert_close(output.loss, expected)
    assert output.lm_loss is None


def test_a_failed_generate_leaves_nothing_behind(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    guarded.generate(**batch, max_new_tokens=1)
    assert guarded.last_safety is not None
    with pytest.raises(ValueError, match="not_an_argument"):
        guarded.generate(**batch, max_new_tokens=1, not_an_argument=1)
    assert guarded.last_safety is None
    assert guarded(**batch).img_safety_logits is not None


def test_output_is_a_pytree(guarded: Any, batch: dict[str, torch.Tensor]) -> None:
    """DDP and FSDP walk through outputs; a dictionary with extra keys would lose the guard's there."""
    output = guarded(**batch)
    leaves, tree = torch.utils._pytree.tree_flatten(output)
    assert any(leaf is output.img_safety_logits for leaf in leaves)
    again = torch.utils._pytree.tree_unflatten(leaves, tree)
    assert type(again) is type(output)
    assert again.img_safety_logits is output.img_safety_logits
