"""Letting a local model think or not: by the switch of its chat template, and a thought held to a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import LogitsProcessor

from ..errors import InputError
from ..thoughts import Marks, end_mark, opened
from .bounded import render

SWITCHES = ("enable_thinking", "thinking")
"""What chat templates call it: Qwen, GLM, SmolLM and others; Granite, DeepSeek and Holo."""

FIRST = 16
"""Tokens within which a thought that the prompt has not begun begins."""


def switch_of(processor: Any, name: str) -> str:
    """The template's switch, found by turning it. Raises InputError where it has none."""
    turn = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    for switch in SWITCHES if getattr(processor, "chat_template", None) else ():
        try:
            on, off = (render(processor, turn, add_generation_prompt=True, **{switch: to}) for to in (True, False))
        except TemplateError:
            continue
        if on != off:
            return switch
    known = ", ".join(SWITCHES)
    raise InputError(f"{name} offers no choice of reasoning: its chat template has no switch for it ({known})")


def end_of_thought(processor: Any, own: Marks | None, name: str) -> list[int]:
    """The tokens that end a thought: of the model's own mark, or of the one in its chat template.

    Raises InputError for none."""
    template = processor.chat_template
    mark = own.close if own and own.close else end_mark(template if isinstance(template, str) else str(template))
    ids: list[int] = processor.tokenizer(mark, add_special_tokens=False)["input_ids"] if mark else []
    if not ids:
        raise InputError(f"how {name} ends a thought is not known: say it with the option thoughts=OPEN...CLOSE")
    return ids


class ThoughtBudget(LogitsProcessor):
    """Ends a thought that is `most` tokens long with the tokens `end`; leaves answers without a thought alone.

    `begun` says of each row whether its prompt ends inside a thought. For one `generate`, whose prompt is what it is
    called with first.
    """

    def __init__(self, tokenizer: Any, most: int, end: Sequence[int], begun: Sequence[bool], own: Marks | None) -> None:
        self.tokenizer, self.most, self.end, self.own = tokenizer, most, list(end), own
        self.start: int | None = None
        self.begins: list[int | None] = [0 if one else None for one in begun]
        self.ended = [False] * len(begun)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [B, V] of the next token after `input_ids` [B, S]."""
        if self.start is None:
            self.start = input_ids.shape[1]
        forced: dict[int, int] = {}
        for row, said in enumerate(input_ids[:, self.start :].tolist()):
            begin = self._begin(row, said)
            if begin is None or self.ended[row]:
                continue
            self.ended[row] = len(said) >= begin + len(self.end) and said[-len(self.end) :] == self.end
            over = len(said) - begin - self.most
            if not self.ended[row] and over >= 0:
                forced[row] = self.end[over]  # what is over are those of the end that came before
        if not forced:
            return scores
        scores = scores.clone()
        for row, token in forced.items():
            scores[row] = -torch.inf
            scores[row, token] = 0.0
        return scores

    def _begin(self, row: int, said: list[int]) -> int | None:
        if self.begins[row] is None and 0 < len(said) <= FIRST and opened(self.tokenizer.decode(said), self.own):
            self.begins[row] = len(said)
        return self.begins[row]
