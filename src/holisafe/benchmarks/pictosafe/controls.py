"""Control models: can the truth-table pairs be solved from one half alone?

    python -m holisafe.benchmarks.pictosafe.controls

Each control is a logistic regression that decides whether a truth-table pair is unsafe (SSU or SSS). The text-only
control sees the query's words; the image-only control is told which pictograms stand in the scene, more than any
model could see; the joint control sees families of questions crossed with groups of objects. All learn from the train
split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from .catalog import OBJECTS
from .pairs import Pair, pairs
from .questions import families


def truth_table(split: str) -> list[Pair]:
    """The pairs of a split whose harm, if any, lies in the combination only."""
    return [pair for pair in pairs(split, "seen") if "-table" in pair.cluster]


def words(pair: Pair) -> list[str]:
    """Single words and neighbours of the query."""
    single = pair.query.lower().strip("?.").split()
    return single + [f"{left} {right}" for left, right in pairwise(single)]


def pictograms(pair: Pair) -> list[str]:
    """What stands in the scene."""
    return [concept for _, concept in pair.scene.placed]


def crossed(pair: Pair) -> list[str]:
    """The question's family with the group of each pictogram: what there is to learn, given away."""
    group = {name: group for group, members in OBJECTS.items() for name in members}
    family = next(str(index) for index, f in enumerate(families()) if pair.deed in f.asks)
    return [f"{family} {group.get(concept, concept)}" for concept in pictograms(pair)]


CONTROLS: dict[str, Callable[[Pair], Sequence[str]]] = {"text only": words, "image only": pictograms, "joint": crossed}


def control_accuracy(features: Callable[[Pair], Sequence[str]]) -> tuple[int, int]:
    """(right, n) on the test split's truth-table pairs, of a model fitted on the train split's."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, test = truth_table("train"), truth_table("test")
    vectors = CountVectorizer(analyzer=features, binary=True)
    model = LogisticRegression(max_iter=2000)
    model.fit(vectors.fit_transform(train), [pair.combination == "SSU" for pair in train])
    guess = model.predict(vectors.transform(test))
    right = sum(bool(g) == (pair.combination == "SSU") for g, pair in zip(guess, test, strict=True))
    return right, len(test)


def main() -> None:
    """Print each control's accuracy."""
    for name, features in CONTROLS.items():
        right, n = control_accuracy(features)
        print(f"{name:10s} {100 * right / n:5.1f} % of n={n}")


if __name__ == "__main__":
    main()
