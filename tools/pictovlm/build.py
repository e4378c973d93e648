"""Build the shipped tiny VLM: join the trained tower to a small language model and teach it to talk.

    python -m tools.pictovlm.build node_modules/@iconify-json --tower build/tower.pt

`--start FOLDER` goes on from an earlier build, with its tokenizer.
The result is an ordinary `LlavaForConditionalGeneration` folder. The tower stays frozen, so its features are computed
once; projector and language model learn the conversations of `base_data.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from holisafe.benchmarks.pictosafe.catalog import concepts, spoken
from holisafe.benchmarks.pictosafe.scenes import CELL_NAMES, Scene
from holisafe.guard.folders import shipped_folder

from .base_data import Conversation, corpus
from .sprite_bank import SpriteBank, collect_sprites
from .tower import CELLS, PIXEL_MEAN, PIXEL_SPREAD, Namer, pixel_values, swin_config

MODEL_FOLDER = shipped_folder()
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<|system|>", "<|user|>", "<|assistant|>")
VOCABULARY = 1400
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
HIDDEN, LAYERS, HEADS = 128, 4, 4
WORDS_WEIGHT, TEMPERATURE = 0.3, 0.1


def build_tokenizer(conversations: Sequence[Conversation]) -> PreTrainedTokenizerFast:
    """A byte-level BPE over the base conversations; any text can be encoded."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    text = [part for c in conversations for t in c.turns for part in (t.query, t.answer)]
    text += [c.system for c in conversations if c.system]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(SPECIAL_TOKENS[4:]),
        padding_side="left",
    )
    tokenizer.image_token = "<image>"
    tokenizer.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    return tokenizer


def build_processor(tokenizer: PreTrainedTokenizerFast) -> LlavaProcessor:
    """Scenes go in at 96 x 96; other sizes are resized to it."""
    image_processor = CLIPImageProcessor(
        size={"height": 96, "width": 96},
        do_center_crop=False,
        image_mean=[PIXEL_MEAN] * 3,
        image_std=[PIXEL_SPREAD] * 3,
    )
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=32,
        vision_feature_select_strategy="full",
        image_token="<image>",
        num_additional_image_tokens=0,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, namer: Namer) -> LlavaForConditionalGeneration:
    """The tower's weights under a fresh projector and language model."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=3 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.04,
    )
    config = LlavaConfig(
        vision_config=swin_config(),
        text_config=text,
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=CELLS,
        tie_word_embeddings=True,
    )
    config.pad_token_id = tokenizer.pad_token_id
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(namer.tower.state_dict())
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model


@torch.no_grad()
def scene_features(model: LlavaForConditionalGeneration, bank: SpriteBank, scenes: Sequence[Scene]) -> Tensor:
    """What LLaVA reads from the frozen tower for augmented drawings of the scenes, (N, 9, 320) float16."""
    names = {name: index for index, name in enumerate(concepts())}
    tower = model.model.vision_tower.eval()
    features = []
    for start in range(0, len(scenes), 64):
        part = scenes[start : start + 64]
        cells = torch.full((len(part), CELLS), bank.classes)
        for row, scene in enumerate(part):
            for cell, concept in scene.placed:
                cells[row, cell] = names[concept]
        images, _ = bank.batch(len(part), cells=cells)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = tower(pixel_values(images), output_hidden_states=True).hidden_states[-1]
        features.append(hidden.half())
    return torch.cat(features)


@torch.no_grad()
def standardise_projector(model: LlavaForConditionalGeneration, features: Tensor) -> None:
    """Fold the features' mean and spread into the projector's first layer: LLaVA reads them before the last norm."""
    layer = model.model.multi_modal_projector.linear_1
    flat = features.float().flatten(0, -2)
    mean, spread = flat.mean(0), flat.std(0).clamp(min=1e-3)
    layer.weight.copy_(torch.randn_like(layer.weight) / layer.in_features**0.5 / spread)
    layer.bias.copy_(-(layer.weight @ mean))


def encode(tokenizer: PreTrainedTokenizerFast, conversation: Conversation) -> tuple[list[int], list[int]]:
    """Token ids and labels (-100 except on the answers to learn) of a conversation, images as nine tokens each."""
    special: dict[str, int] = {name: tokenizer.vocab[name] for name in SPECIAL_TOKENS}

    def words(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    ids = [special["<s>"]]
    if conversation.system:
        ids += [special["<|system|>"], *words(conversation.system)]
    labels = [-100] * len(ids)
    for turn in conversation.turns:
        image = [special["<image>"]] * CELLS if turn.scene else []
        prompt = [special["<|user|>"], *image, *words(turn.query), special["<|assistant|>"]]
        answer = [*words(turn.answer), special["</s>"]]
        ids += prompt + answer
        labels += [-100] * len(prompt) + (answer if turn.learnt else [-100] * len(answer))
    return ids, labels


def batches(lengths: Sequence[int], tokens: int, draw: random.Random) -> Iterator[list[int]]:
    """Indices grouped by length, about `tokens` padded tokens a batch, in random order."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index] + draw.random() * 8)
    groups: list[list[int]] = [[]]
    for index in order:
        if (len(groups[-1]) + 1) * lengths[index] > tokens:
            groups.append([])
        groups[-1].append(index)
    draw.shuffle(groups)
    yield from groups


def train_language(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    conversations: Sequence[Conversation],
    features: Tensor,
    epochs: int,
    rate: float,
    seed: int,
) -> None:
    """Next-token cross-entropy on the answers, and every image token near the words for what is where.

    `features` (views, images, 9, 320) in the order the scenes appear.
    """
    torch.manual_seed(seed)
    draw = random.Random(seed)
    encoded = [encode(tokenizer, conversation) for conversation in conversations]
    counts = [sum(turn.scene is not None for turn in conversation.turns) for conversation in conversations]
    first = list(accumulate(counts, initial=0))
    shown_concepts = torch.stack([concept_ids(t.scene) for c in conversations for t in c.turns if t.scene])
    things = mean_of_tokens(tokenizer, [re.sub(r"^an? ", "", spoken(name)) for name in concepts()])
    places = mean_of_tokens(tokenizer, CELL_NAMES)
    lengths = [len(ids) for ids, _ in encoded]
    plan = [group for _ in range(epochs) for group in batches(lengths, 32 * 48, draw)]
    parameters = [p for n, p in model.named_parameters() if "vision_tower" not in n]
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=len(plan), pct_start=0.1)
    start = time.monotonic()
    model.set_attn_implementation("eager")  # short padded sequences train faster than with fused kernels on a CPU
    model.train()
    for step, group in enumerate(plan, start=1):
        view = features[draw.randrange(len(features))]
        images = torch.cat([torch.arange(first[i], first[i + 1]) for i in group])
        shown = view[images].float()
        width = max(lengths[i] for i in group)
        ids = torch.full((len(group), width), tokenizer.pad_token_id)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for row, index in enumerate(group):
            tokens, targets = encoded[index]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, : len(tokens)] = torch.tensor(targets)
            mask[row, : len(tokens)] = 1
        loss = language_loss(model, ids, mask, labels, shown)
        if len(images):
            loss = loss + WORDS_WEIGHT * words_loss(model, shown, shown_concepts[images], things, places)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % max(1, len(plan) // 10) == 0:
            minutes = (time.monotonic() - start) / 60
            print(f"step {step}/{len(plan)} loss {loss.item():.3f} after {minutes:.1f} min", flush=True)
    model.eval()


def language_loss(
    model: LlavaForConditionalGeneration, ids: Tensor, mask: Tensor, labels: Tensor, shown: Tensor
) -> Tensor:
    """LLaVA's own loss with the tower's features given: (B, S) ids, mask and labels, (images, 9, 320) features."""
    with torch.autocast("cpu", torch.bfloat16):
        embedded = model.get_input_embeddings()(ids)
        if len(shown):
            projected = model.model.multi_modal_projector(shown).to(embedded.dtype)
            place = (ids == model.config.image_token_id).unsqueeze(-1).expand_as(embedded)
            embedded = embedded.masked_scatter(place, projected)
        hidden = model.model.language_model(inputs_embeds=embedded, attention_mask=mask).last_hidden_state
        wanted = labels[:, 1:]
        learnt = wanted != -100
        logits = model.lm_head(hidden[:, :-1][learnt])
    return F.cross_entropy(logits.float(), wanted[learnt])


def concept_ids(scene: Scene) -> Tensor:
    """The number of the concept in each of the nine cells, -1 where there is none."""
    names = {name: number for number, name in enumerate(concepts())}
    cells = torch.full((CELLS,), -1)
    for cell, name in scene.placed:
        cells[cell] = names[name]
    return cells


def mean_of_tokens(tokenizer: PreTrainedTokenizerFast, names: Sequence[str]) -> Tensor:
    """(names, vocabulary): multiplied with the token embeddings, the mean embedding of every name."""
    rows = torch.zeros(len(names), len(tokenizer))
    for row, name in zip(rows, names, strict=True):
        for token in (tokens := tokenizer(f" {name}", add_special_tokens=False)["input_ids"]):
            row[token] += 1 / len(tokens)
    return rows


def words_loss(
    model: LlavaForConditionalGeneration, shown: Tensor, cells: Tensor, things: Tensor, places: Tensor
) -> Tensor:
    """Contrastive loss between image tokens and the words for the thing they show, and for their place.

    Without it the language model reads pictures aloud, but cannot find what a question names, nor say where it is.
    """
    embedding: Tensor = model.get_input_embeddings().weight  # type: ignore[assignment]
    seen = F.normalize(model.model.multi_modal_projector(shown), dim=-1)
    likeness = [seen @ F.normalize(words @ embedding, dim=-1).T / TEMPERATURE for words in (things, places)]
    where = torch.arange(CELLS).expand_as(cells)
    loss = F.cross_entropy(likeness[1].flatten(0, 1), where.flatten())
    filled = cells >= 0
    return loss + F.cross_entropy(likeness[0][filled], cells[filled]) if filled.any() else loss


def save(model: LlavaForConditionalGeneration, processor: LlavaProcessor, out: Path) -> None:
    """Half-precision safetensors that load as float32, the processor, and nothing else."""
    card = (MODEL_FOLDER / "README.md").read_text(encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    model.half().save_pretrained(out)
    processor.save_pretrained(out)
    config: dict[str, Any] = json.loads((out / "config.json").read_text())
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    for file in out.glob("*.safetensors"):
        file.chmod(0o644)
    (out / "README.md").write_text(card, encoding="utf-8")
    size = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    print(f"{out}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {size / 2**20:.1f} MiB")


def main() -> None:
    """Read the tower, learn to talk, save the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--tower", type=Path, default=Path("build/tower.pt"))
    parser.add_argument("--start", type=Path)
    parser.add_argument("--out", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--conversations", type=int, default=24_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    stored = collect_sprites(options.packages, options.tower.with_name("sprites.npz"))
    namer = Namer(len(stored["names"]))
    namer.load_state_dict(torch.load(options.tower, weights_only=True))
    conversations = corpus(options.conversations, options.seed)
    if options.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.start, padding_side="left")
        model = LlavaForConditionalGeneration.from_pretrained(options.start, dtype=torch.float32)
    else:
        tokenizer = build_tokenizer(conversations)
        model = build_model(tokenizer, namer)
    scenes = [turn.scene for c in conversations for turn in c.turns if turn.scene]
    bank = SpriteBank(stored, auxiliary=False)
    started = time.monotonic()
    features = torch.stack([scene_features(model, bank, scenes) for _ in range(options.views)])
    print(f"{len(scenes)} scenes, {options.views} drawings each: {time.monotonic() - started:.0f} s", flush=True)
    if not options.start:
        standardise_projector(model, features)
    train_language(model, tokenizer, conversations, features, options.epochs, options.rate, options.seed)
    save(model, build_processor(tokenizer), options.out)


if __name__ == "__main__":
    main()
