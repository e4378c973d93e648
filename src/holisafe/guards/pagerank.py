"""QGuard's pooling (arXiv 2506.12299, section 3 and its code's graph): PageRank over questions and their groups.

    question --P(yes)--> its group      question --0.3--> every later one of its group      group --0.1--> later group

The risk is the sum over all nodes of PageRank times the weight of the edges that leave. It grows with every P(yes), but
it is no probability: several questions of one group that all say yes lead beyond 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

AMONG_QUESTIONS, AMONG_GROUPS = 0.3, 0.1
DAMPING, STEPS, CLOSE_ENOUGH = 0.85, 100, 1e-6


def risk(groups: Mapping[str, Sequence[float]]) -> float:
    """The risk for each group's P(yes), question by question. The order of questions and of groups counts."""
    questions = [(group, yes) for group, row in enumerate(groups.values()) for yes in row]
    n = len(questions)
    size = n + len(groups)
    weight = np.zeros((size, size))  # [from, to]
    for at, (group, yes) in enumerate(questions):
        weight[at, n + group] = min(1.0, max(0.0, yes))
        later = [other for other in range(at + 1, n) if questions[other][0] == group]
        weight[at, later] = AMONG_QUESTIONS
    weight[n:, n:] = np.triu(np.full((len(groups), len(groups)), AMONG_GROUPS), 1)
    leaving = weight.sum(axis=1)
    moves = np.divide(weight, leaving[:, None], out=np.zeros_like(weight), where=leaving[:, None] > 0)
    stuck = leaving == 0
    rank = np.full(size, 1 / size)
    for _ in range(STEPS):
        before = rank
        rank = DAMPING * (before @ moves + before[stuck].sum() / size) + (1 - DAMPING) / size
        if np.abs(rank - before).sum() < size * CLOSE_ENOUGH:
            break
    return float(rank @ leaving)
