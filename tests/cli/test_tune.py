"""`holisafe tune` from the shell's point of view."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny_models
from holisafe import cli
from tuning.colours import colour_file


def holisafe(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    with pytest.raises(SystemExit) as left:
        cli.app(list(arguments))
    said = capfd.readouterr()
    return int(left.value.code or 0), said.out, said.err


def test_a_run_names_its_folder_and_what_comes_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    base, data, out = tiny_models.llava(tmp_path / "base"), colour_file(tmp_path / "data"), tmp_path / "out"
    given = ("--base", str(base), "--data", str(data), "--recipe", "demo", "--out", str(out))
    capfd.readouterr()
    quick = ("--set", "optimiser.max_steps=2", "--set", "optimiser.batch_size=4", "--set", "data.shares={}")
    code, said, complaints = holisafe(capfd, "tune", *given, "--seed", "3", *quick)
    assert (code, complaints) == (0, ""), "nothing on standard error where nobody watches"
    assert said.startswith(f"{out} holds the tuned model")
    assert f"--target hf/{out}" in said
    assert json.loads((out / "tuning.json").read_text())["seed"] == 3

    assert holisafe(capfd, "tune", *given) == (2, "", f"holisafe: {out}: the folder is not empty\n")


def test_a_bad_setting_is_refused_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = ("--base", "x", "--data", "x.jsonl", "--recipe", "demo", "--out", str(tmp_path / "out"))
    said = holisafe(capfd, "tune", *given, "--set", "guard.weight=1")
    assert said == (2, "", "holisafe: recipe, field 'guard.weight': no such setting\n")
    assert not (tmp_path / "out").exists()
