"""Specs taken apart, and what of one that stands in a file is believed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import InputError
from holisafe.specs import check_ordered, first_word, is_local, parse_spec, recorded_place


def test_a_spec_is_taken_apart() -> None:
    assert parse_spec("hf/a/b,dtype=float32,x=a=b") == ("hf", "a/b", {"dtype": "float32", "x": "a=b"})
    assert parse_spec("reminder,placement=user", "calibration") == ("reminder", "", {"placement": "user"})
    assert first_word("string-match:holisafe") == ("string-match", "holisafe")
    assert first_word("llm/holisafe/openai/m,key=K") == ("llm", "holisafe/openai/m,key=K")
    assert first_word("exact-match") == ("exact-match", None)


@pytest.mark.parametrize(
    ("spec", "what", "says"),
    [
        ("hf", "target", "is not written KIND/NAME"),
        ("hf/", "target", "is not written KIND/NAME"),
        ("/x", "target", "is not written KIND/NAME"),
        ("hf/x,dtype", "target", "'dtype' is not written NAME=VALUE"),
        ("hf/x,a=1,a=2", "target", "once each"),
        ("a/b", "calibration", "is not written METHOD"),
    ],
)
def test_what_is_no_spec(spec: str, what: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_spec(spec, what)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"target": "openai/m,key=AWS_SECRET"}, "target"),
        ({"target": "openai/m,base_url=https://evil.example/v1"}, "target"),
        ({"target": "openai/m,base_url=http://127.0.0.1@evil.example/v1"}, "target"),
        ({"target": "openai/m,base_url=http://localhost.evil.example"}, "target"),
        ({"base_url": "http://evil.example"}, "base_url"),
        ({"base_url": "http://127.0.0.1:8000/v1,key=AWS_SECRET"}, "base_url"),
        ({"target": "hf/DIR,trust_remote_code=true"}, "target"),
        ({"target": "hf/DIR,trust_remote_code=True"}, "target"),
        ({"judges": ["string-match", "llm/holisafe/hf/DIR,trust_remote_code=true"]}, "judges"),
        (
            {"methods": [{"fit": {"options": {"reader": "hf/DIR,trust_remote_code=true"}}}]},
            "methods.fit.options.reader",
        ),
        ({"compare": {"other": "openai/x,key=K"}}, "compare.other"),
        ({"options": {"trust_remote_code": True}}, "options.trust_remote_code"),
        ({"options": {"key": ["AWS_SECRET"]}}, "options.key"),
        ({"compute": {"report_to": ["tensorboard", "wandb"]}}, "compute.report_to"),
        ({"compute": {"report_to": "all"}}, "compute.report_to"),
    ],
)
def test_a_file_decides_no_code_key_or_address(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match="no file decides that; type it") as error:
        check_ordered(settings, "run.yaml", "type it")
    assert (error.value.where, error.value.field) == ("run.yaml", field)


def test_a_file_names_what_is_measured() -> None:
    check_ordered(
        {
            "target": "hf/owner/name,dtype=float32,trust_remote_code=false",
            "judges": ["llm/holisafe/openai/m,base_url=http://localhost:8000/v1"],
            "base_url": "http://[::1]:8000/v1",
            "system": "Be brief, kind, and clear.",
            "compute": {"report_to": ["tensorboard"]},
            "limit": 3,
        },
        "run.yaml",
        "type it",
    )


@pytest.mark.parametrize("address", ["http://localhost:1", "http://127.9.9.9/v1", "http://[::1]:8000"])
def test_this_machine(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize("address", ["http://10.0.0.1", "http://localhost.example", "http://[bad", "", "ftp://x"])
def test_another_machine(address: str) -> None:
    assert not is_local(address)


def test_a_recorded_place_is_a_folder_or_file_of_this_machine(tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("query\n")
    assert recorded_place(None, "manifest.json") is None
    assert recorded_place(str(tmp_path), "manifest.json") == tmp_path
    assert recorded_place(f"{table}?query=Prompt", "manifest.json") == Path(f"{table}?query=Prompt")


@pytest.mark.parametrize(
    "path",
    [
        "hub:",
        "hub:owner/name",
        "//host/share",
        r"\\host\share",
        "/dev/zero",
        "/proc/self/environ",
        "/nowhere",
        3,
        "a\0b",
    ],
)
def test_a_recorded_place_is_nothing_else(path: Any) -> None:
    with pytest.raises(InputError) as error:
        recorded_place(path, "manifest.json")
    assert (error.value.where, error.value.field) == ("manifest.json", "root")


def test_a_pipe_is_no_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="holds no data"):
        recorded_place(str(tmp_path / "pipe"), "manifest.json")
