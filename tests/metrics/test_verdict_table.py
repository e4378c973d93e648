from __future__ import annotations

import pytest

from holisafe.errors import InputError
from holisafe.metrics.verdict_table import verdict_frame

GOOD = {
    "sample_id": ["1", "2", "3", "4"],
    "combination": ["SSS", " ssu", "SUU", "UUU "],
    "adheres": ["true", "FALSE", "", " 1 "],
    "cluster": ["a", "", "a", "b"],
    "note": ["", "x", "y", "z"],
}


def test_values_get_their_types() -> None:
    frame = verdict_frame(GOOD, "t.csv")
    assert list(frame.columns) == ["sample_id", "combination", "adheres", "cluster"]
    assert frame["combination"].tolist() == ["SSS", "SSU", "SUU", "UUU"]
    assert frame["adheres"].tolist() == [True, False, None, True]
    assert frame["cluster"].tolist() == ["a", None, "a", "b"]


@pytest.mark.parametrize(("word", "value"), [("True", True), ("0", False), ("1.0", True), ("0.0", False), (" ", None)])
def test_words_for_adheres(word: str, value: bool | None) -> None:
    assert verdict_frame({**GOOD, "adheres": [word] * 4}, "t.csv")["adheres"].tolist() == [value] * 4


@pytest.mark.parametrize(
    ("change", "row", "field", "words"),
    [
        ({"adheres": ["true", "yes", "", ""]}, 2, "adheres", "'yes'"),
        ({"adheres": ["true", "2", "", ""]}, 2, "adheres", "'2'"),
        ({"combination": ["SSS", "SSU", "USS", "UUU"]}, 3, "combination", "'USS'"),
        ({"combination": ["", "SSU", "SUU", "UUU"]}, 1, "combination", "''"),
        ({"sample_id": ["1", "2", "3", "2"]}, 4, "sample_id", "row 2"),
        ({"sample_id": ["1", "2", "", "4"]}, 3, "sample_id", "empty"),
        ({"judge": ["x", "x", "", "x"]}, 3, "judge", "empty"),
    ],
)
def test_bad_values_are_named_with_their_place(change: dict[str, list[str]], row: int, field: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        verdict_frame({**GOOD, **change}, "t.csv")
    assert (caught.value.where, caught.value.row, caught.value.field) == ("t.csv", row, field)
    assert words in str(caught.value)


@pytest.mark.parametrize("missing", ["sample_id", "combination", "adheres"])
def test_a_missing_column_is_named(missing: str) -> None:
    with pytest.raises(InputError) as caught:
        verdict_frame({name: values for name, values in GOOD.items() if name != missing}, "t.csv")
    assert caught.value.field == missing


def test_two_judges_may_judge_the_same_sample() -> None:
    twice = {name: values * 2 for name, values in GOOD.items()} | {"judge": ["one"] * 4 + ["two"] * 4}
    assert len(verdict_frame(twice, "t.csv")) == 8


def test_a_combination_may_be_missing_where_the_table_says_what_is_expected() -> None:
    columns = {
        "sample_id": ["a", "b", "c"],
        "combination": ["", "SSU", ""],
        "adheres": ["true", "false", ""],
        "expected": ["answer", "", "refuse"],
    }
    frame = verdict_frame(columns, "t.csv")
    assert frame["combination"].tolist() == [None, "SSU", None]
    assert frame["expected"].tolist() == ["answer", None, "refuse"]
    for word, problem in (("", "unknown combination ''"), ("yes", "'yes' is none of answer, refuse, borderline")):
        with pytest.raises(InputError, match=problem):
            verdict_frame(columns | {"expected": ["answer", "", word]}, "t.csv")
    with pytest.raises(InputError, match="row 2, field 'expected': contradicts combination SSU"):
        verdict_frame(columns | {"expected": ["answer", "answer", "refuse"]}, "t.csv")
