"""QGuard's pooling against networkx, and its questions."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import networkx
import numpy as np
import pytest

from holisafe.errors import InputError
from holisafe.guards.pagerank import risk
from holisafe.guards.qguard import FILE, read_questions


def published(groups: dict[str, list[float]]) -> float:
    """The paper's graph and risk, built with networkx as its repository describes them."""
    graph = networkx.DiGraph()
    for group, row in groups.items():
        for number, yes in enumerate(row):
            graph.add_edge(f"{group}/{number}", group, weight=yes)
    for one, other in itertools.combinations(groups, 2):
        graph.add_edge(one, other, weight=0.1)
    for group, row in groups.items():
        for one, other in itertools.combinations(range(len(row)), 2):
            graph.add_edge(f"{group}/{one}", f"{group}/{other}", weight=0.3)
    rank = networkx.pagerank(graph, weight="weight")
    return sum(rank[node] * sum(edge["weight"] for *_, edge in graph.edges(node, data=True)) for node in graph)


@pytest.mark.parametrize("sizes", [[5, 10, 10, 10], [1], [3], [1, 1, 1], [4, 2]])
@pytest.mark.parametrize("seed", [0, 1])
def test_risk_is_the_papers(sizes: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    groups = {str(n): draw.uniform(size=size).tolist() for n, size in enumerate(sizes)}
    assert risk(groups) == pytest.approx(published(groups), abs=1e-5)


def test_risk_grows_with_every_yes() -> None:
    chances = {"a": [0.2, 0.4], "b": [0.3]}
    assert risk({"a": [0.2, 0.9], "b": [0.3]}) > risk(chances)
    assert risk({"a": [0.2, 0.4], "b": [0.9]}) > risk(chances)
    assert risk({"a": [0.0], "b": [0.0]}) == pytest.approx(published({"a": [0.0], "b": [0.0]}), abs=1e-6)


def test_questions_are_data(tmp_path: Path) -> None:
    assert all(question.endswith("?") for row in read_questions(FILE).values() for question in row)
    given = tmp_path / "questions.json"
    given.write_text(json.dumps({"General": [" Is it? ", "Could it?"]}))
    assert read_questions(given) == {"General": ["Is it?", "Could it?"]}
    for wrong in ([], {}, {"General": []}, {"General": "Is it?"}, {"General": [""]}, {"General": [1]}, 7):
        given.write_text(json.dumps(wrong))
        with pytest.raises(InputError, match="no questions"):
            read_questions(given)
