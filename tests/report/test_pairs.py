from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from dataclasses import replace

import pytest

from holisafe.records import GuardReading
from holisafe.report.groups import Group, read_groups
from holisafe.report.pairs import browser_data, chosen, packed, verdicts_on
from holisafe.taxonomy import adheres
from report.fake_runs import open_image, samples


@pytest.fixture(scope="module")
def groups(before, after):
    return read_groups([before, after])


def test_every_pair_is_there_with_what_each_run_answered(groups):
    (group,) = groups
    data = browser_data(groups, open_image, 1000)
    assert [pair["id"] for pair in data["pairs"]] == [sample.id for sample in samples(200)]
    assert data["left_out"] == data["unreadable"] == 0
    for pair, sample in zip(data["pairs"], samples(200), strict=True):
        assert (pair["query"], pair["combination"], pair["label"]) == (
            sample.query,
            sample.combination,
            sample.image_label,
        )
        for answer, run in zip(pair["answers"], group.runs, strict=True):
            response = run.responses[sample.id, 0]
            assert (answer["text"], answer["finish"], answer["error"]) == (
                response.text,
                response.finish,
                response.error,
            )
            for shown, verdict in zip(answer["verdicts"], verdicts_on(run, sample.id), strict=True):
                right = None if verdict.label is None else adheres(verdict.label, sample.expected)
                assert (shown["judge"], shown["adheres"]) == (verdict.judge, right)


def test_pictures_are_shared_between_pairs_and_runs(groups):
    data = browser_data(groups, open_image, 1000)
    names = {name for sample in samples(200) for name in sample.images}
    assert len(data["pictures"]) == len(names) < len(data["pairs"])
    assert browser_data(groups, None, 1000)["pictures"] == []


def test_the_guard_is_shown_by_its_three_likeliest_labels(groups):
    pair = browser_data(groups, None, 1000)["pairs"][1]
    assert pair["answers"][0]["guard"] is None
    guard, reading = pair["answers"][1]["guard"], groups[0].runs[1].responses[pair["id"], 0].guard
    ranked = sorted(reading.probabilities.items(), key=lambda item: -item[1])[:3]
    assert guard["top"] == [[label, round(p, 4)] for label, p in ranked]
    assert guard["unsafe"] == pytest.approx(1 - reading.probabilities["safe"], abs=1e-4)


def test_a_run_that_was_not_asked_a_pair_has_no_answer(groups):
    (group,) = groups
    first, second = group.runs
    fewer = replace(second)
    fewer.__dict__.update(samples={}, responses={}, judged={})
    data = browser_data([Group("g", (first, fewer))], None, 1000)
    assert len(data["pairs"]) == 240
    assert all(pair["answers"][1] is None for pair in data["pairs"])


def test_a_probability_that_is_no_number_does_not_spoil_the_page(groups):
    (group,) = groups
    run = group.runs[1]
    bad = GuardReading(probabilities={"safe": float("nan"), "race": 0.5})
    answers = {key: replace(response, guard=bad) for key, response in run.responses.items()}
    spoilt = replace(run)
    spoilt.__dict__.update(responses=answers)
    data = browser_data([Group("g", (spoilt,))], None, 5)
    assert unpacked(packed(data))["pairs"][1]["answers"][0]["guard"]["unsafe"] is None


def test_a_limit_is_spread_evenly_and_takes_wrong_answers_first(groups):
    data = browser_data(groups, None, 60)
    assert len(data["pairs"]) == 60
    assert data["left_out"] == 240 - 60
    combinations = Counter(pair["combination"] for pair in data["pairs"])
    assert set(combinations.values()) == {10}, combinations
    wrong_last = {
        pair["id"]
        for pair in browser_data(groups, None, 1000)["pairs"]
        if any(verdict["adheres"] is False for verdict in pair["answers"][-1]["verdicts"])
    }
    kept = {pair["id"] for pair in data["pairs"]}
    for code in combinations:
        mine = {sample.id for sample in samples(200) if sample.combination == code} & wrong_last
        assert len(mine & kept) == min(len(mine), 10), code


def test_limits_nest_and_keep_the_order():
    candidates = [(0, sample, index % 3) for index, sample in enumerate(samples(100))]
    small, large = chosen(candidates, 20), chosen(candidates, 50)
    assert small < large
    assert chosen(candidates, 0) == set()
    assert chosen(candidates, 10**6) == set(range(len(candidates)))


def unpacked(text: str):
    return json.loads(zlib.decompress(base64.b64decode(text, validate=True)), parse_constant=pytest.fail)


def test_what_is_embedded_reads_back_and_cannot_end_its_element():
    hostile = [
        "</script><script>alert(1)</script>",
        "<!--",
        "]]>",
        "a\u2028b\u2029c",
        "&lt;",
        "\\u003c",
        'q"\\',
        "\0",
        "\ud800",
    ]
    assert unpacked(packed({"texts": hostile})) == {"texts": hostile}
    assert re.fullmatch("[A-Za-z0-9+/=]*", packed({"texts": hostile}))


def test_a_number_that_json_does_not_know_is_null():
    written = packed({"category": float("inf"), "of": [float("nan"), -float("inf"), 0.5]})
    assert unpacked(written) == {"category": None, "of": [None, None, 0.5]}
