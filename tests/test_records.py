from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
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
    usage=st.dictionaries(TEXT, st.integers(), max_size=3),
    latency_seconds=st.none() | st.floats(0, 1e6),
)
VERDICTS = st.builds(
    Verdict, sample_id=TEXT, response_hash=TEXT, judge=TEXT, judge_version=TEXT, label=NOTE, invalid=NOTE, raw=NOTE
)

RESPONSE = Response(sample_id="a", target="t", text="Hello")


@given(SAMPLES | RESPONSES | VERDICTS)
def test_a_record_comes_back_from_its_line(record: Any) -> None:
    line = to_line(record)
    assert "\n" not in line
    assert json.loads(line)["schema"] == 1
    assert from_line(type(record), line.encode().decode()) == record


@given(st.text(alphabet=st.characters(categories=["Cs", "Ll"]), max_size=10))
def test_half_a_surrogate_pair_neither_breaks_the_file_nor_the_hash(text: str) -> None:
    response = dataclasses.replace(RESPONSE, text=text)
    back = from_line(Response, to_line(response).encode().decode())
    assert back.hash == response.hash


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
        (Response, '{"sample_id": "a", "target": "t", "text": "", "guard": {}}', "field 'guard': unusable"),
        (
            Response,
            '{"sample_id": "a", "target": "t", "text": "", "guard": {"probabilities": {"safe": "1"}}}',
            "field 'guard': unusable",
        ),
        (Response, '{"sample_id": "a", "target": "t", "text": "", "colour": 1}', "field 'colour': Response has no"),
        (Response, '{"schema": 2, "sample_id": "a", "target": "t", "text": ""}', "schema 2 is newer"),
        (Response, '{"schema": "x", "sample_id": "a", "target": "t", "text": ""}', "field 'schema'"),
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
