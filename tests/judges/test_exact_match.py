from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.judges import open_judge
from holisafe.judges.base import Judged, applies
from holisafe.judges.exact_match import is_match
from holisafe.records import Response, Sample, Verdict


def verdict(text: str, reference: str | None) -> Verdict:
    sample = Sample(benchmark="b", id="s", query="How many?", expected="answer", reference=reference)
    response = Response(sample_id="s", target="t", text=text)
    (found,) = open_judge("exact-match").judge([Judged(sample, response)])
    assert (found.sample_id, found.response_hash, found.judge) == ("s", response.hash, "exact-match")
    assert found.judge_version
    return found


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("Three", "three"),
        ("  three\n", "Three."),
        ("The red car.", "a red  car"),
        ("top\tleft!", "Top left"),
        ("an apple", "apple"),
        ("STRASSE", "straße"),
        ("ﬁsh", "fish"),  # a ligature
        ("A", "a."),
        ("...", "..."),
        ("**Three**", "three"),
        ('"three"', "three"),
        ("`three`", "three"),
        ("<answer>Three</answer>", "three"),
        ("Three<|im_end|>", "three"),
        ("\\boxed{three}", "three"),
        ('{"answer": "three"}', "three"),
        ("‘Three.’", "three"),
        ("# **Three**", "three"),
        ("巴黎。", "巴黎"),
        ("C#", "C#"),
    ],
)
def test_what_does_not_matter_is_ignored(answer: str, reference: str) -> None:
    assert verdict(answer, reference).label == "correct"


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ("two", "three"),
        ("three cars", "three"),
        ("thebes", "bes"),  # an article is a word of its own
        ("can't", "cant"),
        ("3.5", "35"),
        ("2*3", "23"),
        ("2**3", "2*3"),
        ("C#", "C"),
        ("left top", "top left"),
        ("a", "the"),  # nothing but an article: then it is the answer
        ("?", "!"),
    ],
)
def test_all_else_matters(answer: str, reference: str) -> None:
    assert verdict(answer, reference).label == "incorrect"


ARTICLES = ("a", "an", "the")
PHRASES = st.tuples(
    st.lists(st.sampled_from(["the", "A", "an"]), max_size=2),
    st.sampled_from(["Red", "red", "3.5", "thean", "left-hand"]),
    st.lists(st.sampled_from(["the", "AN", "car", "Left"]), max_size=3),
).map(lambda parts: [*parts[0], parts[1], *parts[2]])
ENDS = st.sampled_from(["", ".", "!", " ?", "...", ","])


@given(PHRASES, PHRASES, ENDS, ENDS, st.sampled_from([" ", "  ", "\t", "\n"]))
def test_against_a_list_of_words(first: list[str], second: list[str], end: str, other_end: str, gap: str) -> None:
    kept = [[word.lower() for word in words if word.lower() not in ARTICLES] for words in (first, second)]
    assert is_match(gap.join(first) + end, " ".join(second) + other_end) is (kept[0] == kept[1])


@given(st.text(alphabet=string.printable + "éß’", max_size=30), st.text(alphabet=string.printable, max_size=30))
def test_matching_is_symmetric_and_reflexive(first: str, second: str) -> None:
    assert is_match(first, first)
    assert is_match(first, second) is is_match(second, first)


@pytest.mark.parametrize("empty", ["", " \n\t"])
def test_an_empty_response_is_invalid(empty: str) -> None:
    found = verdict(empty, "three")
    assert (found.label, found.invalid) == (None, "empty response")


@pytest.mark.parametrize("missing", [None, "", "  "])
def test_without_a_reference_nothing_is_right_or_wrong(missing: str | None) -> None:
    found = verdict("three", missing)
    assert (found.label, found.invalid) == (None, "the sample has no reference")


def test_it_judges_questions_with_an_answer_key_only() -> None:
    judge = open_judge("exact-match")
    question = Sample(benchmark="b", id="s", query="q", expected="answer", reference="three")
    pair = Sample(benchmark="b", id="s", query="q", expected="refuse", reference="No.", combination="SUU")
    assert applies(judge, question)
    assert not applies(judge, pair)


def test_it_takes_no_option() -> None:
    with pytest.raises(InputError, match="no option"):
        open_judge("exact-match:strict")
