"""Tiny copies of the published checkpoints' layouts, written key by key, and what they must compute.

Nothing of holisafe is called: a replica is made of stock parts with random weights, its files are written by hand from
the described keys, and its answers come from a forward that never reads the files.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from .tiny_families import FAMILIES, IMAGE, TEXT, VISION, build, collate, samples

LABELS = [
    "safe",
    "gender_discrimination",
    "race_discrimination",
    "religion_discrimination",
    "harassment",
    "disability_discrimination",
    "drug_related_hazards",
    "property_crime",
    "facial_data_exposure",
    "identity_data_exposure",
    "physical_self_injury",
    "suicide",
    "animal_abuse",
    "obscene_gestures",
    "physical_altercation",
    "terrorism",
    "weapon_related_violence",
    "sexual_content",
    "financial_advice",
    "medical_advice",
]
"""As the cards spell them."""

GUARD = {
    "safety_categories": LABELS,
    "num_safety_categories": 20,
    "safety_head_hidden_scale": 0.5,
    "safety_loss_lambda": 1.0,
    "safety_num_hidden_layers": 1,
}


def random_head(layers: int = 1, width: int = 64) -> dict[str, Tensor]:
    """Keys and weights of a head as published: mlp.0, mlp.3 ... mlp.(3 * layers)."""
    generator = torch.Generator().manual_seed(5)
    sizes = [width, *[width // 2] * layers, 20]
    weights = {}
    for place, (inner, outer) in enumerate(itertools.pairwise(sizes)):
        key = f"img_safety_head.mlp.{3 * place}"
        weights[f"{key}.weight"] = torch.randn(outer, inner, generator=generator) / inner**0.5
        weights[f"{key}.bias"] = torch.randn(outer, generator=generator) * 0.1
    return weights


def head_probabilities(head: Mapping[str, Tensor], features: Sequence[Tensor]) -> Tensor:
    """Mean over vectors, then the head written out: [20]."""
    x = torch.stack(list(features)).mean(dim=0)
    last = len(head) // 2 - 1
    for place in range(last + 1):
        x = head[f"img_safety_head.mlp.{3 * place}.weight"] @ x + head[f"img_safety_head.mlp.{3 * place}.bias"]
        x = nn.functional.gelu(x) if place < last else x
    return x.softmax(dim=0)


def write(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], shards: int = 1) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names = sorted(tensors)
    places = {name: f"model-{1 + number % shards:05d}-of-{shards:05d}.safetensors" for number, name in enumerate(names)}
    for file in set(places.values()):
        save_file({n: tensors[n] for n in names if places[n] == file}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@dataclass(frozen=True)
class Replica:
    """A folder, a batch for the stock family's class, and what it must give: logits [B, S, V], probabilities [B, 20]
    of the samples with images."""

    folder: Path
    batch: dict[str, Tensor]
    logits: Tensor
    probabilities: Tensor
    stock: Any = None


OLD_KEYS = {
    "qwen2_5_vl": ((r"^model\.language_model\.", "model."), (r"^model\.visual\.", "visual.")),
    "qwen2_5_vl, since 4.52": (),
    "gemma3": (
        (r"^model\.language_model\.", "language_model.model."),
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^model\.vision_tower\.", "vision_tower.vision_model."),
        (r"^model\.multi_modal_projector\.", "multi_modal_projector."),
    ),
}
OLD_KEYS["llava"] = OLD_KEYS["gemma3"]


def renamed(weights: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A stock state dict by the keys of before transformers 4.52."""
    result = {}
    for name, tensor in weights.items():
        matches = ((re.subn(pattern, new, name)) for pattern, new in OLD_KEYS[layout])
        result[next((changed for changed, times in matches if times), name)] = tensor
    return result


def stock_replica(
    folder: Path, family: str, layout: str, pool: str, head_layers: int = 1, shards: int = 1, **config: Any
) -> Replica:
    """A replica of a family's stock model with a head on top; `config` goes over the nested config."""
    tiny = FAMILIES[family]
    stock = build(tiny)
    head = random_head(head_layers)
    rows = samples(tiny, images=(1, 1, 2))
    batch = collate(tiny, rows)
    with torch.no_grad():
        output = stock(**batch, output_hidden_states=True)
    if pool == "projected":
        visual = output.image_hidden_states.reshape(-1, 64).split(tiny.tokens)
        features = [torch.cat(visual[0:1]), torch.cat(visual[1:2]), torch.cat(visual[2:4])]
    else:
        features = [output.hidden_states[-1][row][batch["input_ids"][row] == IMAGE] for row in range(3)]
    probabilities = torch.stack([head_probabilities(head, list(vectors)) for vectors in features])
    fields = {**tiny.config, "model_type": tiny.model_type, **GUARD, "safety_num_hidden_layers": head_layers, **config}
    fields = {name: value for name, value in fields.items() if value is not ...}
    write(folder, fields, {**renamed(stock.state_dict(), layout), **head}, shards)
    return Replica(folder, batch, output.logits, probabilities, stock)


WORDS = 500
"""Vocabulary of the original LLaVA replica: no token of it stands for an image."""

CLIP = {**VISION, "projection_dim": 32}
LLAVA_CONFIG: dict[str, Any] = {
    "model_type": "safellava_llama",
    "architectures": ["SafeLlavaLlamaForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling.SafeLlavaLlamaForCausalLM"},
    **{name: value for name, value in TEXT.items() if name != "head_dim"},
    "vocab_size": WORDS,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_projector_type": "mlp2x_gelu",
    "mm_hidden_size": 32,
    "mm_vision_select_layer": -2,
    "mm_vision_select_feature": "patch",
    "mm_use_im_start_end": False,
    "image_aspect_ratio": "pad",
    **GUARD,
}


def llava_parts() -> tuple[CLIPVisionModel, nn.Sequential, LlamaForCausalLM]:
    torch.manual_seed(11)
    tower = CLIPVisionModel(CLIPVisionConfig(**CLIP)).eval()
    text = {name: LLAVA_CONFIG[name] for name in (*TEXT, "rms_norm_eps") if name != "head_dim"}
    language = LlamaForCausalLM(LlamaConfig(**text)).eval()
    projector = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 64))
    for module in (tower, language, projector):
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(3)
    return tower, projector, language


def llava_replica(folder: Path, pool: str, tower_inside: bool, **config: Any) -> Replica:
    """Original LLaVA: the prompt's -200 is replaced by the projected patches of the tower's last layer but one."""
    tower, projector, language = llava_parts()
    head = random_head()
    ids = [[1, 17, -200, 33, 44, 55], [1, 21, -200, 60, 61, 62]]
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        patches = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        visual = projector(patches)
        rows = []
        for row, image in zip(ids, visual, strict=True):
            words = language.get_input_embeddings()(torch.tensor([token for token in row if token >= 0]))
            place = row.index(-200)
            rows.append(torch.cat([words[:place], image, words[place:]]))
        output = language(inputs_embeds=torch.stack(rows), output_hidden_states=True)
        hidden = output.hidden_states[-1][:, 2 : 2 + patches.shape[1]]
        probabilities = torch.stack(
            [head_probabilities(head, list(one)) for one in (visual, hidden)[pool != "projected"]]
        )

    weights = {**language.state_dict(), **head}
    weights |= {f"model.mm_projector.{name}": tensor for name, tensor in projector.state_dict().items()}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(8)
    if tower_inside:
        weights |= tower_weights(tower, "model.vision_tower.vision_tower.vision_model.")
    write(folder, {name: value for name, value in {**LLAVA_CONFIG, **config}.items() if value is not ...}, weights)
    batch = {
        "input_ids": torch.tensor([row[:2] + [WORDS] * patches.shape[1] + row[3:] for row in ids]),
        "pixel_values": pixels,
    }
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    return Replica(folder, batch, output.logits, probabilities)


def tower_weights(tower: CLIPVisionModel, prefix: str) -> dict[str, Tensor]:
    return {prefix + name.removeprefix("vision_model."): tensor for name, tensor in tower.state_dict().items()}


def write_tower(folder: Path, kind: str) -> Path:
    """The replica's tower as others keep it: "clip", with its text half, "vision", or in a "llava" folder."""
    tower = llava_parts()[0]
    vision = {"model_type": "clip_vision_model", **CLIP}
    if kind == "vision":
        return write(folder, vision, tower_weights(tower, "vision_model."))
    if kind == "clip":
        text = {"text_model.final_layer_norm.weight": torch.ones(8), "logit_scale": torch.ones(1)}
        ids = {"vision_model.embeddings.position_ids": torch.arange(17).unsqueeze(0)}
        config = {"model_type": "clip", "vision_config": {**vision, "model_type": "clip_vision_model"}}
        return write(folder, config, {**tower_weights(tower, "vision_model."), **text, **ids})
    config = {"model_type": "llava", "vision_config": vision, "text_config": {"model_type": "llama"}}
    language = {"language_model.model.norm.weight": torch.ones(4)}
    return write(folder, config, {**tower_weights(tower, "vision_tower.vision_model."), **language})
