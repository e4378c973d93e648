from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.records import GuardReading, Record, Response, Sample, Verdict, digest, from_line, to_line

TEXT = st.text(max_size=40)  # any characters but surrogates: line breaks, NUL, quotes, emoji
NOTE = st.none() | TEXT
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
SAMPLES = st.builds(
    Sample,
    benchmark=TEXT,
    id=TEXT,
    query=TEXT,
    expected=st.sampled_from(["answer", "refuse"]),
    images=st.lists(TEXT, max_size=3).map(tuple),
    combination=NOTE,
    reference=NOTE,
    meta=st.dictionaries(TEXT, JSON, max_size=3),
)
READINGS = st.builds(GuardReading, probabilities=st.dictionaries(TEXT, st.floats(0, 1), min_size=1))
RESPONSES = st.builds(
    Response,
    sample_id=TEXT,
    target=TEXT,
    text=TEXT,
    finish=st.sampled_from(["stop", "truncated", "filtered", "error"]),
    reasoning=NOTE,
    error=NOTE,
    guard=st.none() | READINGS,
    usage=st.dictionaries(TEXT, st.integers(-(2**63), 2**63 - 1), max_size=3),
    latency_seconds=st.none() | st.floats(0, 1e6),
)
VERDICTS = st.builds(
    Verdict, sample_id=TEXT, response_hash=TEXT, judge=TEXT, judge_version=TEXT, label=NOTE, invalid=NOTE, raw=NOTE
)

RESPONSE = Response(sample_id="a", target="t", text="Hello")


@settings(deadline=None)
@given(SAMPLES | RESPONSES | VERDICTS)
def test_a_record_comes_back_from_its_line(record: Any) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert json.loads(line)["schema"] == 1
    assert from_line(type(record), line.encode().decode()) == record


@settings(deadline=None)
@given(st.text(alphabet=st.characters(categories=["Cs", "Ll"]), max_size=10))
def test_half_a_surrogate_pair_neither_breaks_the_file_nor_the_hash(text: str) -> None:
    response = dataclasses.replace(RESPONSE, text=text)
    back = from_line(Response, to_line(response).encode().decode())
    assert back.hash == response.hash


@settings(deadline=None)
@given(RESPONSES)
def test_the_hash_is_the_digest_of_what_was_said(response: Response) -> None:
    said = [response.sample_id, response.target, response.text, response.reasoning, response.finish]
    assert response.hash == digest(said)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"latency_seconds": 2.5}, True),
        ({"usage": {"tokens": 3}}, True),
        ({"guard": GuardReading(probabilities={"safe": 1.0})}, True),
        ({"text": "hello"}, False),
        ({"reasoning": "because"}, False),
        ({"finish": "truncated"}, False),
        ({"target": "other"}, False),
        ({"sample_id": "b"}, False),
    ],
)
def test_the_hash_names_what_was_judged(change: dict[str, Any], same: bool) -> None:
    assert (dataclasses.replace(RESPONSE, **change).hash == RESPONSE.hash) is same


def test_digest_is_the_same_on_every_machine_and_in_any_key_order() -> None:
    assert digest({"b": [1, "ü"], "a": None}) == digest({"a": None, "b": [1, "ü"]}) == "6bafd57c7869b3ac"
    assert digest(["1"]) != digest([1])


START = '{"schema": 1, "sample_id": "a", "target": "t", "text": ""'
HUGE = '{"usage": ' + "[" * 100_000


@pytest.mark.parametrize(
    ("kind", "line", "message"),
    [
        (Response, '{"sample_id": "a", "target"', "f.jsonl, row 7: not JSON"),
        (Response, "[" * 100_000, "f.jsonl, row 7: not JSON"),
        (Response, '{"usage": {"n": ' + "9" * 5000 + "}}", "f.jsonl, row 7: not JSON"),
        (Response, "[1]", "f.jsonl, row 7: not a JSON object"),
        (Response, '{"sample_id": "a", "target": "t"}', "f.jsonl, row 7, field 'text': missing"),
        (Response, '{"sample_id": 3, "target": "t", "text": ""}', "field 'sample_id': unusable value '3'"),
        (Response, '{"sample_id": "a", "target": "t", "text": null}', "field 'text': unusable value"),
        (Response, '{"sample_id": "a", "target": "t", "text": "", "finish": "done"}', "field 'finish': unusable"),
        (
            Response,
            '{"sample_id": "a", "target": "t", "text": "", "guard": {}}',
            "field 'guard.probabilities': missing",
        ),
        (
            Response,
            '{"sample_id": "a", "target": "t", "text": "", "guard": {"probabilities": {"safe": "1"}}}',
            "field 'guard.probabilities.safe': unusable value '1'",
        ),
        (Response, '{"sample_id": "a", "target": "t", "text": "", "colour": 1}', "field 'colour': Response has no"),
        (
            Response,
            '{"schema": 2, "sample_id": "a", "target": "t", "text": ""}',
            "field 'schema': schema '2' is not one",
        ),
        (Response, '{"schema": "x", "sample_id": "a", "target": "t", "text": ""}', "field 'schema'"),
        (Response, '{"schema": 0, "sample_id": "a", "target": "t", "text": ""}', "field 'schema'"),
        (Response, '{"schema": true, "sample_id": "a", "target": "t", "text": ""}', "field 'schema'"),
        (Response, '{"schema": 1, "schema": 1, "sample_id": "a"}', "field 'schema'"),
        (Response, f"{START}, {HUGE[1:]}", "f.jsonl, row 7: not JSON"),
        (Response, f'{START}, "usage": {{"n": 1{"0" * 400}}}}}', "field 'usage.n': unusable value"),
        (Response, f'{START}, "usage": {{"n": 1.0}}}}', "field 'usage.n': unusable value '1.0'"),
        (Response, f'{START}, "repeat": -1}}', "field 'repeat': unusable value '-1'"),
        (Response, f'{START}, "repeat": 99999999999}}', "field 'repeat': unusable value"),
        (Response, f'{START}, "repeat": true}}', "field 'repeat': unusable value 'True'"),
        (Response, f'{START}, "error": ["a"]}}', "field 'error': unusable value"),
        (Response, f'{START}, "guard": {{"probabilities": {{}}}}}}', "'guard.probabilities': unusable value"),
        (Response, f'{START}, "reasoning": "\\ud800"}}', "f.jsonl, row 7: not JSON"),
        (Verdict, '{"sample_id": "a", "colour": 1}', "field 'colour': Verdict has no such field"),
        (Sample, '{"benchmark": "b", "id": "1", "query": "q", "expected": "maybe"}', "field 'expected'"),
        (
            Sample,
            '{"benchmark": "b", "id": "1", "query": "q", "expected": "answer", "images": "x.png"}',
            "field 'images'",
        ),
    ],
)
def test_a_faulty_line_is_named(kind: type[Record], line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_line(kind, line, where="f.jsonl", row=7)
    assert message in str(caught.value)


def test_reading_an_older_line_without_schema() -> None:
    assert from_line(Response, '{"sample_id": "a", "target": "t", "text": "Hello"}') == RESPONSE


def test_lines_of_every_spelling_are_the_same_record() -> None:
    """With blanks, as lines were first written; without; the schema last; and no schema at all."""
    body = '"sample_id": "a", "target": "t", "text": "Hello"'
    for line in (
        f'{{"schema": 1, {body}}}',
        f'{{"schema":1,{body}}}',
        f'{{{body}, "schema": 1}}',
        f"  {{{body}}} ",
        to_line(RESPONSE),
    ):
        assert from_line(Response, line) == RESPONSE


def test_a_model_that_broke_down_leaves_a_reading_without_numbers() -> None:
    reading = GuardReading(probabilities={"safe": math.nan, "violence": math.inf})
    back = from_line(Response, to_line(dataclasses.replace(RESPONSE, guard=reading))).guard
    assert back is not None
    assert (math.isnan(back.probabilities["safe"]), back.probabilities["violence"]) == (True, math.inf)
    assert not back.finite


def test_a_guard_reading_keeps_every_digit() -> None:
    sure = {"safe": 1 - 2**-50, "violence": 2**-50}
    back = from_line(Response, to_line(dataclasses.replace(RESPONSE, guard=GuardReading(probabilities=sure)))).guard
    assert back is not None
    assert (back.probabilities, back.unsafe) == (sure, 2**-50)


def test_a_guard_without_the_label_safe_has_no_probability_of_unsafe() -> None:
    reading = GuardReading(probabilities={"violence": 0.75, "hate": 0.25})
    assert (reading.label, math.isnan(reading.unsafe)) == ("violence", True)


def test_keys_of_different_answers_differ() -> None:
    """Whatever an id looks like: one that ends like the key of a second answer had once shared its place."""
    ids, repeats = ("a", "a\n1", "a\n", "1"), range(3)
    answers = [Response(sample_id=name, target="t", text="", repeat=repeat) for name in ids for repeat in repeats]
    assert len({answer.key for answer in answers}) == len(answers)
    opinion = {"response_hash": "h", "judge_version": "1", "label": None}
    verdicts = [
        Verdict(sample_id=name, judge=judge, repeat=repeat, **opinion)  # type: ignore[arg-type]
        for name in ids
        for judge in ("j", "j\na")
        for repeat in repeats
    ]
    assert len({verdict.key for verdict in verdicts}) == len(verdicts)
