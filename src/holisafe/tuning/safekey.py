"""SafeKey's two losses beside the answers' (arXiv 2505.16186), on a thought's understanding U and key sentence K.

    [ X  X  X  <image>  X | U  U  U | K  K  K | rest of the thought, answer ]      X: the rendered prompt

    dual path    two heads, each Linear(H, 1), on the decoder's last hidden states: one on their mean over X and U, one
                 on that over U; loss: sum over both of beta_i * binary cross-entropy of "to be refused"
    query mask   cross-entropy of K's tokens where nothing may attend to X, images included; places and ids stay

    loss = answers' (and the guard's) + 0.2 query mask + 0.2 dual path, in the last two epochs

SafeKey is of text alone: that the picture is masked with the query, and that an image-text pair is what is to be
refused, is carried over here. Means are over the examples, and over the K tokens, of a micro-batch. The heads are
thrown away when the run is done.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import torch.nn.functional as F
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from ..errors import InputError
from ..guard import is_guarded
from ..guard.families import hidden_size, text_decoder
from ..guard.head import IGNORED
from .objectives import scored
from .packing import positions

if TYPE_CHECKING:
    from .recipe import SafeKey

UNDERSTANDING, KEY = 1, 2
"""What `spans` [B, L] of a batch say of a token; 0: neither."""

HEADS: Final = "safekey_heads.safetensors"
"""The heads' file in a checkpoint."""

DUAL_PATH, QUERY_MASK = "dual_path_loss", "query_mask_loss"


class SafetyHeads(nn.Module):
    """Two independent verdicts on a request: from the prompt with the understanding, and from the understanding."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.context, self.understanding = nn.Linear(width, 1), nn.Linear(width, 1)

    def forward(self, context: Tensor, understanding: Tensor) -> tuple[Tensor, Tensor]:
        """Means of hidden states [B, H] each -> logits [B] each, in full precision."""
        with torch.autocast(context.device.type, enabled=False):
            return self.context(context.float()).squeeze(-1), self.understanding(understanding.float()).squeeze(-1)


class SafeKeyLosses:
    """Heads and losses for `model`, which no adapter wraps. Raises InputError for one that takes no positions."""

    def __init__(self, model: Any, settings: SafeKey) -> None:
        if settings.mask and settings.query_mask_weight and not takes_positions(model):
            problem = f"{model.config.model_type} takes no positions: set safekey.query_mask_weight to 0"
            raise InputError(problem, where="recipe", field="safekey.enabled")
        self.model, self.settings, self.decoder = model, settings, text_decoder(model)
        self.heads = SafetyHeads(hidden_size(model.config)).to(model.device)

    @contextmanager
    def listening(self) -> Iterator[list[Tensor]]:
        """Within it, the decoder's last hidden states [B, L, H] are put into the list, a forward each."""
        heard: list[Tensor] = []

        def hear(_: nn.Module, __: Any, output: Any) -> None:
            heard.append(output[0] if isinstance(output, tuple) else output.last_hidden_state)

        hook = self.decoder.register_forward_hook(hear)
        try:
            yield heard
        finally:
            hook.remove()

    def __call__(
        self, network: Any, inputs: dict[str, Any], parts: tuple[Tensor, Tensor], hidden: Tensor, logits: Tensor
    ) -> Iterator[tuple[str, float, Tensor]]:
        """Name, weight and value of each loss that the batch has something for.

        `inputs`: what `network`, the model as it trains, was given, `parts` the batch's `spans` and `refused`; `hidden`
        and `logits` are what came of it.
        """
        spans, refused = parts
        asked = self.settings
        if asked.dual_path_weight:
            given = hidden.detach() if asked.detach else hidden
            value = dual_path_loss(self.heads, given, inputs["attention_mask"], spans, refused, asked.betas)
            if value is not None:
                yield DUAL_PATH, asked.dual_path_weight, value
        if asked.query_mask_weight and bool((spans == KEY).any()):
            if asked.mask:
                logits = network(**without_prompt(self.model, inputs))["logits"]
            yield QUERY_MASK, asked.query_mask_weight, key_loss(logits, inputs["input_ids"], spans)

    def save(self, folder: str | Path) -> None:
        """Write the heads into a checkpoint."""
        save_model(self.heads, str(Path(folder, HEADS)))

    def load(self, folder: str | Path) -> None:
        """Read them again."""
        load_model(self.heads, str(Path(folder, HEADS)), strict=True)


def dual_path_loss(
    heads: SafetyHeads,
    hidden: Tensor,
    attention_mask: Tensor,
    spans: Tensor,
    refused: Tensor,
    betas: tuple[float, float],
) -> Tensor | None:
    """The mean over the rows that have an understanding and of which it is known whether they are `refused` [B] (1 yes,
    0 no, -1 unknown); None when there is none. hidden [B, L, H], attention_mask and spans [B, L]."""
    understood = spans == UNDERSTANDING
    rows = understood.any(dim=1) & (refused >= 0)
    if not bool(rows.any()):
        return None
    until = understood.long().flip(1).cumsum(1).flip(1) > 0  # [B, L], up to the last token of the understanding
    both, meant = (_mean(hidden[rows], mask[rows]) for mask in (until & attention_mask.bool(), understood))
    truth = refused[rows].float()
    verdicts = zip(betas, heads(both, meant), strict=True)
    return torch.stack([beta * F.binary_cross_entropy_with_logits(logit, truth) for beta, logit in verdicts]).sum()


def key_loss(logits: Tensor, ids: Tensor, spans: Tensor) -> Tensor:
    """Mean negative log-likelihood of the batch's key-sentence tokens. logits [B, L, V], ids and spans [B, L]."""
    of_key = scored(logits, ids.masked_fill(spans != KEY, IGNORED))
    return -of_key.sums.sum() / of_key.tokens.sum()


def without_prompt(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """The batch with attention 0 on every token of its prompts, at the places that they had."""
    asked = {name: value for name, value in inputs.items() if name not in ("labels", "safety_labels")}
    hidden = {"attention_mask": inputs["attention_mask"] * (inputs["labels"] != IGNORED)}
    unread = {"do_safety": False} if is_guarded(model) else {}
    return {**asked, **hidden, **unread, "position_ids": positions(model, inputs), "use_cache": False}


def takes_positions(model: Any) -> bool:
    """Whether a model's forward can be told where its tokens are."""
    forwards = (vars(kind)["forward"] for kind in type(model).__mro__ if "forward" in vars(kind))
    return any("position_ids" in inspect.signature(forward).parameters for forward in forwards)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """[R, L, H] over the tokens of mask [R, L] -> [R, H], in full precision."""
    weights = mask.float() / mask.sum(dim=1, keepdim=True)
    return torch.einsum("rl,rlh->rh", weights, hidden.float())
