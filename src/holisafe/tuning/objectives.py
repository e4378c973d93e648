"""What is learnt of an answer that is preferred to another: losses of pairs, from their tokens' log-probabilities.

    rows     chosen_1 .. chosen_B, then rejected_i of those that have one; partner[r] is a rejected row's chosen one
    scores   s_r = sum of the log-probabilities of row r's answer tokens, or their mean (`per_token`)

    dpo      - log sigmoid(beta (s_c - ref_c) - beta_rejected (s_r - ref_r))
    unlearn  mean NLL of the chosen answer - rejected_weight * mean NLL of the rejected one

An answer without a rejected one is learnt as ever: its mean negative log-likelihood (NLL). Every example counts alike.

Sources: DPO (arXiv 2305.18290, equation 7), which SPA-VL-DPO is; the mechanistic study's own DPO (arXiv 2407.10264) is
`per_token: true, beta: 0.1, beta_rejected: 0.01`, and its unlearning `rejected_weight: 0.1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..guard import is_guarded
from ..guard.head import IGNORED

if TYPE_CHECKING:
    from .recipe import Objective


class Scored(NamedTuple):
    """Of every row [R]: the sum of its answer tokens' log-probabilities, and how many there are."""

    sums: Tensor
    tokens: Tensor

    @property
    def means(self) -> Tensor:
        return self.sums / self.tokens.clamp(min=1)


def scored(logits: Tensor, labels: Tensor) -> Scored:
    """logits [R, L, V] and labels [R, L] (-100: not the answer's) -> each row's log-probability of its answer."""
    said = logits[:, :-1].float().log_softmax(-1)  # [R, L - 1, V], of the next token
    meant = labels[:, 1:].to(said.device)
    learnt = meant != IGNORED
    each = said.gather(-1, meant.masked_fill(~learnt, 0).unsqueeze(-1)).squeeze(-1)
    return Scored((each * learnt).sum(-1), learnt.sum(-1))


def reference_scores(model: Any, inputs: dict[str, Any]) -> Scored:
    """As `scored`, by the model as it is now, in evaluation mode and without a gradient."""
    unread = {"do_safety": False} if is_guarded(model) else {}
    asked = {name: value for name, value in inputs.items() if name not in ("labels", "safety_labels")}
    with _evaluating(model), torch.no_grad():
        return scored(model(**asked, **unread)["logits"], inputs["labels"])


def margins(objective: Objective, policy: Scored, reference: Scored, partner: Tensor) -> Tensor:
    """[pairs]: by how much the chosen answer gained on the rejected one, as DPO weighs it."""
    now, before = (one.means if objective.per_token else one.sums for one in (policy, reference))
    gained = now - before
    rejected = partner >= 0
    second = objective.beta if objective.beta_rejected is None else objective.beta_rejected
    return objective.beta * gained[partner[rejected]] - second * gained[rejected]


def preference_loss(objective: Objective, policy: Scored, partner: Tensor, margin: Tensor | None) -> Tensor:
    """The mean over examples. `partner` [R] is -1 for chosen rows; `margin` as `margins` gives it, for dpo."""
    rejected = partner >= 0
    paired = torch.zeros_like(rejected)
    paired[partner[rejected]] = True
    nll = -policy.means
    if margin is None:
        total = nll[~rejected].sum() - objective.rejected_weight * nll[rejected].sum()
    else:
        total = nll[~rejected & ~paired].sum() - F.logsigmoid(margin).sum()
    return total / (~rejected).sum()


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
