"""Every documented form of an answer is read, and what is none of them is no verdict."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

import guard_answers as answers
from holisafe.guards import llama_guard, llavaguard, moderation, nemotron
from holisafe.guards.asking import Said
from holisafe.guards.taxonomies import taxonomy

KNOWN = taxonomy("nemotron").__contains__
PARSED: dict[str, tuple[Callable[[str], Said], dict[str, answers.Told], list[str]]] = {
    "llama-guard": (llama_guard.parse, answers.LLAMA_GUARD, answers.NOT_LLAMA_GUARD),
    "llavaguard": (llavaguard.parse, answers.LLAVAGUARD, answers.NOT_LLAVAGUARD),
    "nemotron": (partial(nemotron.parse, answered=False, known=KNOWN), answers.NEMOTRON, answers.NOT_NEMOTRON),
    "nemotron, of an answer": (
        partial(nemotron.parse, answered=True, known=KNOWN),
        answers.NEMOTRON_ANSWERED,
        [*answers.NOT_NEMOTRON_ANSWERED, *(one for one in answers.NOT_NEMOTRON if "Response" not in one)],
    ),
    "moderation": (moderation.parse, answers.MODERATION, answers.NOT_MODERATION),
}


@pytest.mark.parametrize("guard", PARSED)
def test_every_documented_form_is_read(guard: str) -> None:
    parse, documented, _ = PARSED[guard]
    for answer, told in documented.items():
        said = parse(answer)
        assert (said.unsafe, said.categories, said.invalid) == (*told, None), answer


@pytest.mark.parametrize("guard", PARSED)
def test_twenty_others_are_no_verdict_and_say_why(guard: str) -> None:
    parse, _, others = PARSED[guard]
    assert len(others) >= 20
    for answer in others:
        said = parse(answer)
        assert (said.unsafe, said.categories, said.score) == (None, (), None), answer[:80]
        assert said.invalid


def test_a_moderations_score_is_its_largest() -> None:
    said = moderation.parse(answers.moderated())
    assert said.score == 0.9
    assert said.scores == {"hate": 0.01, "violence": 0.71, "sexual": 0.9}


def test_a_moderation_of_our_own_server_says_how_unsafe_without_calling_that_a_category() -> None:
    """Its score is of all categories together; where it is the only one found there is no other word."""
    flags = {"violence": False, "holisafe/suicide": True, "holisafe/unsafe": True}
    scores = {"violence": 0.1, "holisafe/suicide": 0.4, "holisafe/unsafe": 0.9}
    said = moderation.parse(answers.moderated(categories=flags, category_scores=scores))
    assert (said.unsafe, said.score, said.categories) == (True, 0.9, ("holisafe/suicide",))
    assert said.scores == {"violence": 0.1, "holisafe/suicide": 0.4}
    said = moderation.parse(
        answers.moderated(categories={"holisafe/unsafe": True}, category_scores={"holisafe/unsafe": 0.9})
    )
    assert (said.unsafe, said.score, said.categories) == (True, 0.9, ("holisafe/unsafe",))


def test_llavaguards_policy_names_every_category_and_the_form_of_the_answer() -> None:
    for name in (*llavaguard.CATEGORIES, llavaguard.NONE, '"rating"', '"category"', '"rationale"', '"Safe"'):
        assert name in llavaguard.POLICY
    assert tuple(llavaguard.CATEGORIES) == tuple(taxonomy("llavaguard"))
