"""The guard computed another way: each sample alone and unpadded through the stock model, its positions picked one by
one, the head written out. Nothing of holisafe is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from .tiny_families import IMAGE, TOKEN, Family, Sample, collate


def states(stock: PreTrainedModel, family: Family, sample: Sample) -> Tensor:
    """The last hidden state [S, H] of one sample."""
    output = stock(**collate(family, [sample]), output_hidden_states=True)
    language = output.get("language_model_outputs", output)  # BLIP-2 wraps its language model's output
    hidden: Tensor = language.hidden_states[-1][0]
    return hidden


def between(stock: PreTrainedModel, family: Family, sample: Sample, layers: int) -> Tensor:
    """The hidden state [S, H] of one sample that goes into the layer after so many, with what Qwen3-VL adds there."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        given = kwargs.get("hidden_states", args[0] if args else None)
        if given is not None and given.shape[:2] == (1, len(sample.ids)):
            seen.append(given[0])

    lists = [module for module in stock.modules() if isinstance(module, nn.ModuleList) and len(module) > layers]
    hooks = [one[layers].register_forward_pre_hook(keep, with_kwargs=True) for one in lists]
    try:
        stock(**collate(family, [sample]))
    finally:
        for hook in hooks:
            hook.remove()
    return seen[-1]


def embeddings(stock: PreTrainedModel, family: Family, sample: Sample) -> Tensor:
    """What the text decoder is given [S, H]: the last embeddings of this length that any module was handed."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        given = kwargs.get("inputs_embeds")
        if given is not None and given.shape[:2] == (1, len(sample.ids)):
            seen.append(given[0])

    hooks = [module.register_forward_pre_hook(keep, with_kwargs=True) for module in stock.modules()]
    try:
        output = stock(**collate(family, [sample]))
    finally:
        for hook in hooks:
            hook.remove()
    given, visual = seen[-1], output.get("image_hidden_states")
    if torch.is_tensor(visual) and family.projected_are_public:  # the public word for it, where there is one
        visual = visual.reshape(-1, visual.shape[-1])
        places = [place for place, token in enumerate(sample.ids) if token == IMAGE]
        if len(places) == len(visual):
            given = given.clone()
            given[places] = visual
    return given


def mean(vectors: Sequence[Tensor]) -> Tensor:
    return sum(vectors[1:], start=vectors[0]) / len(vectors)


def pooled(stock: PreTrainedModel, family: Family, sample: Sample, pool: str, image: int | None = None) -> Tensor:
    """The head's input for a sample, or for its image number `image` alone."""
    runs: list[list[int]] = []
    text, tokens = [], []
    for place, token in enumerate(sample.ids):
        if token == IMAGE:
            if place == 0 or sample.ids[place - 1] != IMAGE:
                runs.append([])
            runs[-1].append(place)
        else:
            text.append(place)
            if token == TOKEN and runs:
                tokens.append((len(runs) - 1, place))
    images = [place for number, run in enumerate(runs) if image in (None, number) for place in run]
    token = [place for number, place in tokens if image in (None, number)][-1:]
    parts = []
    for source in pool.split("+"):
        source, _, layers = source.partition("@")
        if layers:
            features = between(stock, family, sample, int(layers))
        else:
            features = embeddings(stock, family, sample) if source == "projected" else states(stock, family, sample)
        wanted = {"token": [token], "image_and_text": [images, text]}.get(source, [images])
        parts += [mean([features[place] for place in places]) for places in wanted]
    return torch.cat(parts)


def head_logits(head: nn.Module, vector: Tensor) -> Tensor:
    weights = dict(head.named_parameters())
    inner = F.gelu(weights["mlp.0.weight"] @ vector + weights["mlp.0.bias"])
    return weights["mlp.3.weight"] @ inner + weights["mlp.3.bias"]


def logits(stock: PreTrainedModel, family: Family, head: nn.Module, rows: Sequence[Sample], pool: str) -> list[Tensor]:
    """The guard's logits [K] of every sample that has an image."""
    return [head_logits(head, pooled(stock, family, sample, pool)) for sample in rows if sample.images]


def image_logits(
    stock: PreTrainedModel, family: Family, head: nn.Module, rows: Sequence[Sample], pool: str
) -> list[list[Tensor]]:
    """The guard's logits [K] of every image of every sample."""
    return [
        [head_logits(head, pooled(stock, family, sample, pool, image)) for image in range(len(sample.images))]
        for sample in rows
    ]


def cross_entropy(logits: Sequence[Tensor], labels: Sequence[int]) -> Tensor:
    """Mean over samples of -log softmax(logits)[label]."""
    losses = [-(row - row.logsumexp(0))[label] for row, label in zip(logits, labels, strict=True)]
    return torch.stack(losses).mean()
