"""What an index knows of a run, against the records themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.records import Record, Response, Sample, Verdict
from holisafe.runs.folder import RunFolder, read_index, read_records
from runs.test_folder import MANIFEST

IDS = st.sampled_from(["a", "ü\u2028", "a\u00a0b"])
RESPONSES = st.builds(
    Response,
    sample_id=IDS,
    target=st.just("t"),
    text=st.text(max_size=9),
    finish=st.sampled_from(["stop", "truncated", "filtered", "error"]),
    repeat=st.integers(0, 1),
    cost=st.sampled_from([None, 0.0, 0.5, 2.0, -4.0]),
)
JUDGES, VERSIONS = ("j", "k"), ("1", "2")


def verdicts_on(answers: list[Response]) -> Any:
    """Verdicts, most of them on one of these answers."""
    hashes = [answer.hash for answer in answers] or [""]
    return st.lists(
        st.builds(
            Verdict,
            sample_id=IDS,
            repeat=st.integers(0, 1),
            response_hash=st.sampled_from([*hashes, "other"]),
            judge=st.sampled_from(JUDGES),
            judge_version=st.sampled_from(VERSIONS),
            label=st.just("refused"),
            invalid=st.none() | st.just("error: gone"),
            cost=st.sampled_from([None, 0.25, -1.0]),
        ),
        max_size=12,
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_says_what_the_records_say_built_at_once_or_as_they_come(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    answers = data.draw(st.lists(RESPONSES, max_size=8))
    verdicts = data.draw(verdicts_on(answers))
    sample = Sample(benchmark="b", id="a", query="q", expected="answer")
    early = data.draw(st.integers(0, len(answers)))
    with RunFolder(folder, MANIFEST) as run:
        run.append(sample, *answers[:early])
        assert run.index.samples == {"a"}
        run.append(*answers[early:])
        run.append(*verdicts)
        indices = [run.index, read_index(folder)]
    responses, kept = read_records(folder, Response), read_records(folder, Verdict)
    for index in indices:
        assert index.spent == sum(max(one.cost or 0, 0) for one in [*answers, *verdicts])
        assert set(index.calls()) == set(responses)
        good = [key for key, one in responses.items() if one.judgeable]
        assert list(index.responses(good)) == [responses[key] for key in good]
        for key in [(name, repeat) for name in ("a", "ü\u2028", "a\u00a0b", "none") for repeat in range(3)]:
            response = responses.get(key)
            assert index.done(key) == (response is not None and response.usable)
            assert index.judgeable(key) == (response is not None and response.judgeable)
            for judge in JUDGES:
                for version in VERSIONS:
                    verdict = kept.get((judge, *key))
                    counts = verdict is not None and response is not None and response.judgeable
                    counts = counts and verdict is not None and verdict.counts(response, version)
                    opinion = index.opinion(judge, version, key)
                    assert (opinion is not None) == counts
                    assert opinion is None or verdict is None or opinion.invalid == verdict.invalid


@pytest.mark.parametrize("kind", [Sample, Response, Verdict])
def test_a_line_that_is_none_is_named(tmp_path: Path, kind: type[Record]) -> None:
    with RunFolder(tmp_path, MANIFEST) as run:
        run.append(Sample(benchmark="b", id="a", query="q", expected="answer"))
    name = {Sample: "samples", Response: "responses", Verdict: "verdicts"}[kind]
    path = tmp_path / f"{name}.jsonl"
    path.write_bytes(path.read_bytes() + b'{"schema": 99}\n')
    rows = 2 if kind is Sample else 1
    with pytest.raises(InputError, match=rf"{name}\.jsonl, row {rows}, field 'schema': schema '99'"):
        read_index(tmp_path)
