"""`qguard/SPEC`: QGuard (arXiv 2506.12299), any vision-language model asked guard questions, one Yes or No each.

    qguard/hf/ID    qguard/openai/MODEL,base_url=http://127.0.0.1:8000/v1,pool=mean    qguard/hf/ID,questions=FILE.json

Every question is asked about the item; P(Yes) is read from the probabilities of the answer's first word, on this
machine or from a server that tells them. `pool` makes one score of them: `pagerank` (the paper's, the default), `mean`
or `max`. The questions are data: {group: [question ...]}, as the paper's repository has them; `questions=FILE` takes
others, and a policy of the user's own asks one about each of its categories. `threshold` is 0.5, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from ..errors import InputError
from ..journal import read_json
from ..records import Message, Response
from ..registry import guards
from ..specs import typed_path
from .asking import AskingGuard, Question, Said, asking, cannot_be_read
from .base import Item
from .pagerank import risk
from .policy import Policy
from .yes_no import WORDS, chance_of_yes

FILE = Path(__file__).with_name("qguard_questions.json")
OWN = ("pool", "questions", "threshold")
POOLS: dict[str, Callable[[Mapping[str, Sequence[float]]], float]] = {
    "pagerank": risk,
    "mean": lambda groups: sum(map(sum, groups.values())) / sum(map(len, groups.values())),
    "max": lambda groups: max(map(max, groups.values())),
}
NOTE = "QGuard asks a model that was not made for it; its threshold of 0.5 is the paper's, for another model."

Groups = Mapping[str, Sequence[str]]


def questions(item: Item, groups: Groups) -> list[Question]:
    """One a question, in the paper's form: the question, what may be answered, then the text that it is about."""
    about = [f"{turn.role}: {turn.text}" for turn in item.earlier] + [item.text]
    text = "\n".join(about)
    if item.response is not None:
        text = f"{text}\n\nanswer: {item.response}"
    return [
        Question(
            (Message("user", f"{one} (You must answer with only Yes or No).\n\nprompt: {text}", item.shown),),
            first_words=WORDS,
        )
        for group in groups.values()
        for one in group
    ]


def conclude(item: Item, answers: Sequence[Response], groups: Groups, pool: str, threshold: float) -> Said:
    """Every question must have a chance of yes. Categories are the groups, each by its likeliest yes."""
    chances = [chance_of_yes(answer.first_words) for answer in answers]
    if any(chance is None for chance in chances):
        return cannot_be_read("the model is not told to begin with Yes or No by any of its likeliest words")
    told = iter([chance for chance in chances if chance is not None])
    found = {group: [next(told) for _ in asked] for group, asked in groups.items()}
    score = POOLS[pool](found)
    scores = {group: max(row) for group, row in found.items()}
    unsafe = score > threshold
    raised = sorted((group for group, yes in scores.items() if yes > 0.5), key=lambda group: -scores[group])
    return Said(unsafe, tuple(raised) if unsafe else (), score, scores)


@guards.register(
    "qguard", summary="QGuard: any model, by yes-or-no questions: pictures, texts, pairs, answers; a policy"
)
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> AskingGuard:
    """Raises InputError for an unknown pool, a threshold that is no share, and a file that holds no questions."""
    pool, limit = options.get("pool", "pagerank"), options.get("threshold", "0.5")
    if pool not in POOLS:
        raise InputError(f"pool={pool} is none of {', '.join(POOLS)}")
    try:
        threshold = float(limit)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold={limit} does not lie between 0 and 1")
    if policy is not None and "questions" in options:
        raise InputError("a policy of your own, or questions: one of the two", where=policy.where)
    groups = _of_policy(policy) if policy else read_questions(typed_path(options.get("questions", str(FILE))))
    return asking(
        "qguard",
        model,
        {name: value for name, value in options.items() if name not in OWN},
        own={name: value for name, value in options.items() if name in OWN},
        policy=policy,
        takes=("image", "text", "pair", "response"),
        note=NOTE,
        questions=partial(questions, groups=groups),
        conclude=partial(conclude, groups=groups, pool=pool, threshold=threshold),
        rules=[groups, pool, threshold, 1],
        decides=f"{pool} of P(Yes) above {threshold:g}",
    )


def read_questions(path: Path) -> Groups:
    """{group: [question ...]}. Raises InputError for anything else."""
    found = read_json(path)
    fine = isinstance(found, dict) and all(
        isinstance(row, list) and row and all(isinstance(one, str) and one.strip() for one in row)
        for row in found.values()
    )
    if not found or not fine:
        raise InputError("no questions: {group: [question, ...], ...}", where=path)
    return {group: [one.strip() for one in row] for group, row in found.items()}


def _of_policy(policy: Policy) -> Groups:
    """One question a category, with its examples."""
    groups = {}
    for category in policy.defined().categories:
        such = f" Examples: {'; '.join(category.examples)}." if category.examples else ""
        asked = f"Does the picture, the text or the two together violate this rule: {category.definition}?{such}"
        groups[category.name] = [asked]
    return groups
