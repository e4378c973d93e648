"""What happens to an earlier demo in the same folder; the demo itself is run by `.ci/run`."""

from __future__ import annotations

from pathlib import Path

import pytest

from holisafe.cli.demo import prepare
from holisafe.errors import InputError

TOLD = {"seed": 0, "parts": [60, 15], "recipe": {"seed": 0}}


def test_an_interrupted_demo_goes_on_and_a_finished_one_is_replaced_aloud(tmp_path: Path) -> None:
    out, work = tmp_path / "demo", tmp_path / "demo" / "before" / "responses.jsonl"
    assert prepare(out, TOLD) == ""
    work.parent.mkdir()
    work.write_text("paid for")
    assert prepare(out, TOLD) == f"Going on with the demo in {out}"
    assert work.read_text() == "paid for"
    assert prepare(out, {**TOLD, "seed": 1}) == f"Replacing the earlier demo in {out}"
    assert not work.exists()
    (out / "summary.json").write_text("{}")
    assert prepare(out, {**TOLD, "seed": 1}).startswith("Replacing")
    assert not (out / "summary.json").exists()


def test_what_no_demo_wrote_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for place in (tmp_path, tmp_path / "mine"):
        with pytest.raises(InputError):
            prepare(place, TOLD)
    assert (tmp_path / "mine").read_text() == "mine"
