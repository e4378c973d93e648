"""Replicas of the published layouts load whole, and compute what a forward that never saw the loader computes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

import holisafe
import holisafe.errors
from holisafe import taxonomy
from holisafe.guard import labels_of, load_model, save_guarded

from .checks import close
from .published_replicas import LABELS, WORDS, Replica, llava_replica, stock_replica, write_tower
from .test_loading import edit_json, edit_weights, refuses
from .tiny_families import FAMILIES

QWEN = FAMILIES["qwen2_5_vl"].config
SAFE_QWEN: dict[str, Any] = {
    "model_type": "safe_qwen2_5_vl",
    "architectures": ["SafeQwen2_5_VLForConditionalGeneration"],
    "auto_map": {"AutoModelForVision2Seq": "modeling.SafeQwen2_5_VLForConditionalGeneration"},
}
FLAT_QWEN: dict[str, Any] = {
    "text_config": ...,
    **{name: value for name, value in QWEN["text_config"].items() if name != "rope_parameters"},
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "rope_theta": 10000.0,
    "torch_dtype": "float32",
    "vision_config": {**QWEN["vision_config"], "model_type": "qwen2_5_vl"},
}
SAFE_GEM: dict[str, Any] = {
    "model_type": "safegem",
    "architectures": ["SafeGemForConditionalGeneration"],
    "auto_map": {"AutoModel": "x.Y"},
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "qwen, old keys, flat config, custom names": {
        "family": "qwen2_5_vl",
        "layout": "qwen2_5_vl",
        **SAFE_QWEN,
        **FLAT_QWEN,
    },
    "qwen, old keys, flat config, stock type, code named": {
        "family": "qwen2_5_vl",
        "layout": "qwen2_5_vl",
        **FLAT_QWEN,
        "auto_map": SAFE_QWEN["auto_map"],
    },
    "qwen, old keys, flat config, stock type": {"family": "qwen2_5_vl", "layout": "qwen2_5_vl", **FLAT_QWEN},
    "qwen, new keys, nested config, custom names": {
        "family": "qwen2_5_vl",
        "layout": "qwen2_5_vl, since 4.52",
        **SAFE_QWEN,
        "text_config": {**QWEN["text_config"], "model_type": "safe_qwen2_5_vl_text"},
    },
    "qwen, new keys, fields at the top and nested, custom names": {
        "family": "qwen2_5_vl",
        "layout": "qwen2_5_vl, since 4.52",
        **SAFE_QWEN,
        **FLAT_QWEN,
        "text_config": QWEN["text_config"],
    },
    "qwen, two files, deeper head": {
        "family": "qwen2_5_vl",
        "layout": "qwen2_5_vl",
        "head_layers": 3,
        "shards": 2,
        **SAFE_QWEN,
        **FLAT_QWEN,
    },
    "gemma, old keys, custom names": {"family": "gemma3", "layout": "gemma3", "pool": "projected", **SAFE_GEM},
    "gemma, old keys, stock names, three files": {
        "family": "gemma3",
        "layout": "gemma3",
        "pool": "projected",
        "shards": 3,
    },
    "llava, old keys, custom names": {
        "family": "llava-clip",
        "layout": "llava",
        "model_type": "safellava",
        "text_config": {**FAMILIES["llava-clip"].config["text_config"], "model_type": "safe_llama"},
    },
}


def must_compute(model: Any, replica: Replica) -> None:
    with torch.no_grad():
        output = model(**replica.batch, do_safety=True)
    words = replica.logits.shape[-1]
    close(output.logits[..., :words], replica.logits, 1e-4)
    close(output.img_safety_probs, replica.probabilities, 1e-5)
    assert replica.probabilities.std(dim=0).max() > 1e-4, "the replica's guard does not tell its images apart"


@pytest.mark.parametrize("name", LAYOUTS)
def test_stock_families(name: str, tmp_path: Path) -> None:
    options = copy.deepcopy(LAYOUTS[name])
    replica = stock_replica(tmp_path / "m", pool=options.pop("pool", "last_hidden"), **options)
    model = holisafe.load_guarded(replica.folder, device="cpu")
    must_compute(model, replica)
    loaded = model.state_dict()
    for key, tensor in replica.stock.state_dict().items():
        assert torch.equal(loaded.pop(key), tensor), key
    assert {key.split(".")[0] for key in loaded} == {"img_safety_head"}
    assert model.config.safety_categories == LABELS
    assert labels_of(model) == taxonomy.IMAGE_LABELS
    assert not hasattr(model.config, "auto_map")


@pytest.mark.parametrize("tower", ["inside", "clip", "vision", "llava", "folder in the folder"])
def test_original_llava(tower: str, tmp_path: Path) -> None:
    inside = tower == "inside"
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=inside)
    if tower == "folder in the folder":
        write_tower(replica.folder / "tower", "clip")
        edit_json(replica.folder, mm_vision_tower="tower")
        model = holisafe.load_guarded(replica.folder, device="cpu")
    else:
        place = write_tower(tmp_path / "tower", "vision" if inside else tower)
        model = holisafe.load_guarded(replica.folder, device="cpu", vision_tower=place)
    must_compute(model, replica)
    assert model.config.image_token_id == WORDS
    assert model.config.text_config.vocab_size == 512


def test_weights_of_the_tower_in_the_file_win(tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=True)
    place = write_tower(tmp_path / "tower", "vision")
    edit_weights(place, lambda tensors: [tensor.zero_() for tensor in tensors.values()])
    must_compute(holisafe.load_guarded(replica.folder, device="cpu", vision_tower=place), replica)


def test_where_safellava_reads_is_a_setting(tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "projected", tower_inside=False)
    place = write_tower(tmp_path / "tower", "clip")
    model = holisafe.load_guarded(replica.folder, device="cpu", vision_tower=place, pool="projected")
    must_compute(model, replica)
    save_guarded(model, tmp_path / "native")
    must_compute(holisafe.load_guarded(tmp_path / "native", device="cpu"), replica)  # it is recorded now
    refuses(
        tmp_path / "native",
        "trained with pool 'projected', not 'last_hidden'",
        load=lambda path: holisafe.load_guarded(path, pool="last_hidden"),
    )


@pytest.mark.parametrize(
    ("files", "number"),
    [
        ({"added_tokens.json": {"<image>": 503, "<pad>": 500}}, 503),
        ({"added_tokens.json": {"<pad>": 500}}, 501),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"500": {"content": "<image>"}}}}, 500),
        ({"tokenizer.json": {"added_tokens": [{"id": 505, "content": "<image>"}]}}, 505),
        ({}, 500),
    ],
)
def test_image_token(files: dict[str, Any], number: int, tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    for name, content in files.items():
        (replica.folder / name).write_text(json.dumps(content))
    place = write_tower(tmp_path / "tower", "clip")
    model = holisafe.load_guarded(replica.folder, device="cpu", vision_tower=place)
    assert model.config.image_token_id == number
    replica.batch["input_ids"][replica.batch["input_ids"] == WORDS] = number
    must_compute(model, replica)


def test_image_token_with_a_row_of_its_own(tmp_path: Path) -> None:
    """A token that the release trained: no row is added, and none is forbidden to generate."""
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False, image_token_index=499)
    model = holisafe.load_guarded(replica.folder, device="cpu", vision_tower=write_tower(tmp_path / "tower", "clip"))
    assert model.config.text_config.vocab_size == WORDS
    assert not model.generation_config.suppress_tokens
    replica.batch["input_ids"][replica.batch["input_ids"] == WORDS] = 499
    must_compute(model, replica)


def test_half_precision_stays_as_released(tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    place = write_tower(tmp_path / "tower", "clip")
    model = holisafe.load_guarded(replica.folder, device="cpu", dtype="auto", vision_tower=place)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}


def test_padded_ids_are_never_generated(tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)

    def prefer_padding(tensors: dict[str, torch.Tensor]) -> None:
        tensors["lm_head.weight"][:] = torch.randn(WORDS, 64, generator=torch.Generator().manual_seed(0))

    edit_weights(replica.folder, prefer_padding)
    model = holisafe.load_guarded(replica.folder, device="cpu", vision_tower=write_tower(tmp_path / "t", "clip"))
    with torch.no_grad():
        model.lm_head.weight[WORDS:] *= 1000  # what greedy decoding would otherwise take
        model.lm_head.weight[WORDS + 1 :] *= -1
    tokens = model.generate(**replica.batch, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
    assert tokens[:, replica.batch["input_ids"].shape[1] :].max() < WORDS


def harness(model: Any, inputs: dict[str, torch.Tensor]) -> list[float]:
    """As evaluation harnesses for the published models do it."""
    with torch.no_grad():
        outputs = model(**inputs, do_safety=True)
    safe = model.config.safety_categories.index("safe")
    return [1.0 - row[safe].item() for row in outputs.img_safety_probs]


def test_a_harness_drives_loaded_models(tmp_path: Path) -> None:
    replica = stock_replica(tmp_path / "m", "qwen2_5_vl", "qwen2_5_vl", "last_hidden", **SAFE_QWEN, **FLAT_QWEN)
    model = holisafe.load_guarded(replica.folder, device="cpu")
    expected = (1 - replica.probabilities[:, 0]).tolist()
    assert harness(model, replica.batch) == pytest.approx(expected, abs=1e-5)
    save_guarded(model, tmp_path / "native")
    assert harness(holisafe.load_guarded(tmp_path / "native", device="cpu"), replica.batch) == pytest.approx(
        expected, abs=1e-5
    )
    stock = AutoModelForImageTextToText.from_pretrained(tmp_path / "native")
    close(stock(**replica.batch).logits, replica.logits, 1e-4)
    assert "auto_map" not in json.loads((tmp_path / "native" / "config.json").read_text())


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    folder, tower = replica.folder, write_tower(tmp_path / "tower", "clip")

    def load(path: Path | str) -> Any:
        return load_model(path, device="cpu", vision_tower=tower)

    refuses(
        folder, "vision tower's weights are not in the folder", "openai/clip-vit-large-patch14-336", "vision_tower="
    )
    edit_weights(folder, lambda tensors: tensors.pop("model.mm_projector.2.bias"))
    refuses(folder, "weights are missing", "model.multi_modal_projector.linear_2.bias", load=load)
    edit_weights(folder, lambda tensors: tensors.update({"model.mm_projector.2.bias": torch.zeros(64)}))
    edit_weights(folder, lambda tensors: tensors.update({"model.image_newline": torch.zeros(64)}))
    refuses(folder, "no place in this model", "model.image_newline", load=load)
    edit_weights(folder, lambda tensors: tensors.pop("model.image_newline"))
    edit_weights(folder, lambda tensors: tensors.pop("img_safety_head.mlp.3.weight"))
    refuses(folder, "weights are missing", "img_safety_head.mlp.3.weight", load=load)
    edit_weights(folder, lambda tensors: tensors.pop("model.embed_tokens.weight"))
    refuses(folder, "weights are missing: model.language_model.embed_tokens.weight", load=load)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"mm_projector_type": "linear"}, "'mm_projector_type': is 'linear'"),
        ({"image_aspect_ratio": "anyres"}, "'image_aspect_ratio': is 'anyres'"),
        ({"mm_patch_merge_type": "spatial_unpad"}, "mm_patch_merge_type"),
        ({"model_type": "llava_mistral"}, "only LLaVA on a LLaMA is read"),
        ({"mm_vision_tower": "../tower"}, "vision tower's weights are not in the folder"),
        ({"mm_vision_tower": "some-org/some-tower"}, "vision tower's weights are not in the folder"),
    ],
)
def test_other_llavas_are_refused(fields: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write_tower(tmp_path / "tower", "clip")
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False, **fields)
    refuses(replica.folder, reason)


def test_configs_that_do_not_say_enough(tmp_path: Path) -> None:
    replica = stock_replica(tmp_path / "m", "qwen2_5_vl", "qwen2_5_vl", "last_hidden", **SAFE_QWEN, **FLAT_QWEN)
    whole = (replica.folder / "config.json").read_text()
    for fields, reasons in (
        ({"vision_config": ...}, ("vision_config", "is missing")),
        ({"hidden_size": ...}, ("hidden_size", "is missing")),
        ({"model_type": "novel", "architectures": ["Novel"]}, ("model_type", "'novel'")),
        ({"num_safety_categories": 5}, ("num_safety_categories", "5")),
        ({"safety_categories": ...}, ("no guard",)),
    ):
        (replica.folder / "config.json").write_text(whole)
        edit_json(replica.folder, **fields)
        refuses(replica.folder, *reasons, load=holisafe.load_guarded)


def test_pickles_of_every_name_are_refused(tmp_path: Path) -> None:
    replica = stock_replica(tmp_path / "m", "qwen2_5_vl", "qwen2_5_vl", "last_hidden", **SAFE_QWEN, **FLAT_QWEN)
    for name in ("pytorch_model.bin", "consolidated.00.pth", "model.pt"):
        (replica.folder / "model.safetensors").rename(replica.folder / name)
        refuses(replica.folder, f"{name} is a pickle", load=holisafe.load_guarded)
        (replica.folder / name).rename(replica.folder / "model.safetensors")


def test_shards_that_are_gone_or_elsewhere(tmp_path: Path) -> None:
    replica = stock_replica(tmp_path / "m", "qwen2_5_vl", "qwen2_5_vl", "last_hidden", shards=2, **FLAT_QWEN)
    index = replica.folder / "model.safetensors.index.json"
    whole = index.read_text()
    first = replica.folder / "model-00001-of-00002.safetensors"
    first.rename(tmp_path / "outside.safetensors")
    refuses(replica.folder, f"the file {first.name} that it names is missing", load=holisafe.load_guarded)
    index.write_text(whole.replace(first.name, "../outside.safetensors"))
    refuses(replica.folder, "the file ../outside.safetensors that it names is missing", load=holisafe.load_guarded)
    index.write_text("{}")
    refuses(replica.folder, "names no weights", load=holisafe.load_guarded)
