"""YAML from a stranger: plain data, within limits, or one line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from holisafe.errors import InputError
from holisafe.typed_yaml import DEEPEST, LARGEST, parse_value, parse_yaml, read_yaml, validated

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BOMB, "more than the limit of 100,000 values"),
        ("a: &a [*a]", r"\*a holds itself"),
        ("a: " + "[" * 5000, "more than the limit of 40 levels"),
        ("a: " + "{b: " * 5000, "more than the limit of 40 levels"),
        ("a: 2024-13-45", "not YAML"),
        ("a: " + "9" * 5000, "a number of more than 64 digits"),
        ("a: 1" + ":1" * 5000, "a number of more than 64 digits"),
        ("a: 0x" + "f" * 5000, "a number of more than 64 digits"),
        ("a: '" + "x" * LARGEST + "'", "limit of 1,048,576 bytes"),
        ('a: "\\0"', "NUL"),
        ("a: !!python/object/apply:os.system [id]", "not YAML"),
        ("a: !!python/name:os.system", "not YAML"),
        ("? [a]\n: b", "not YAML"),
        ("a: 1\nb: 2\na: 3", "row 3: two settings called 'a'"),
        ("a: {b: 1, 'b': 2}", "two settings called 'b'"),
        ("a: \x07", "not YAML"),
        ("- a", "not a mapping"),
        ("", "not a mapping"),
    ],
)
def test_one_line(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(error.value)


def test_settings_are_read_as_yaml_says_them() -> None:
    text = (
        "base: &b {x: 1, y: [a, 2.5, true]}\nsame: *b\nagain: {<<: *b, x: 2}\nwhen: 2024-01-31\nlong: '"
        + "9" * 99
        + "'"
    )
    assert parse_yaml(text, "x.yaml") == yaml.safe_load(text)
    nested = "[" * (DEEPEST - 1) + "1" + "]" * (DEEPEST - 1)
    assert parse_value(nested, "x.yaml") == yaml.safe_load(nested)
    with pytest.raises(InputError, match="levels"):
        parse_value(f"[{nested}]", "x.yaml")


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`,? \n\t\\0", max_size=60))
def test_any_text_is_a_value_or_one_line(text: str) -> None:
    with suppress(InputError):
        parse_value(text, "x.yaml")


def test_a_truth_is_no_number() -> None:
    class Inner(BaseModel):
        epochs: float = 1.0
        fast: bool = False

    class Outer(BaseModel):
        limit: int | None = None
        inner: Inner = Inner()

    assert validated(Outer, {"limit": 3, "inner": {"epochs": 2, "fast": True}}, "x").inner.epochs == 2
    for values, field in (({"limit": True}, "limit"), ({"inner": {"epochs": True}}, "inner.epochs")):
        with pytest.raises(InputError, match=f"field '{field}': a number is wanted, not true"):
            validated(Outer, values, "x")


def test_a_pipe_does_not_hang_and_a_folder_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    for path in (tmp_path / "pipe.yaml", tmp_path):
        with pytest.raises(InputError, match="is not a file"):
            read_yaml(path)
