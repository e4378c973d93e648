from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from holisafe.cli import doctor
from holisafe.cli.doctor import Finding


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("torch>=2.8; extra == \"local\"", ("torch", "2.8", "local")),
        ("rich>=13.9", ("rich", "13.9", "")),
        ("holisafe[local]; extra == 'dev'", ("holisafe", "", "dev")),
        ("resvg-py<2,>=0.2 ; extra=='sprites'", ("resvg-py", "0.2", "sprites")),
        ("scikit-learn", ("scikit-learn", "", "")),
    ],
)  # fmt: skip
def test_requirements_are_read_as_they_are_written(text: str, parts: tuple[str, str, str]) -> None:
    assert doctor.parse_requirement(text) == parts


def test_packages_there_missing_and_too_old() -> None:
    version = metadata.version("numpy")
    assert doctor.package("numpy", "1.0", "") == Finding("numpy", version)
    assert doctor.package("numpy", "", "") == Finding("numpy", version)
    assert doctor.package("yam", "1", "pip install yam") == Finding("yam", "not installed", "pip install yam")
    old = doctor.package("numpy", "99.1", "")
    assert old == Finding("numpy", f"{version}, older than 99.1", "pip install 'numpy>=99.1'")


def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, least, missing in (("2.13.0+cpu", "2.8", False), ("2.8", "2.8.0", True), ("2.7.1", "2.8", True)):
        monkeypatch.setattr(metadata, "version", lambda name, version=version: version)
        assert bool(doctor.package("torch", least, "").remedy) is missing


def test_everything_here_is_found() -> None:
    found = {finding.subject: finding for finding in doctor.software()}
    assert {"python", "holisafe", "typer", "pandas", "torch", "transformers", "peft", "torchvision"} <= set(found)
    assert {"resvg-py", "pytest"}.isdisjoint(found)  # nobody needs them to measure or tune
    assert not [finding for finding in found.values() if finding.remedy]
    assert found["torch"].state == metadata.version("torch")


def test_shipped_parts_that_are_gone_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [finding.subject for finding in doctor.shipped_parts()] == ["tiny model", "sprite sheets"]
    sprites = {finding.subject: finding for finding in doctor.shipped_parts()}["sprite sheets"]
    assert all(style in sprites.state for style in ("noto", "fluent", "emojione", "twemoji"))
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "cli" / "doctor.py"))
    assert all("pip install" in finding.remedy for finding in doctor.shipped_parts())


def test_without_the_local_extra_it_says_what_to_type_and_leaves_with_1(tmp_path: Path) -> None:
    """In a process that finds no torch, and none of its companions."""
    code = """
import importlib.util, sys
from importlib import metadata
from holisafe import cli
real_version, real_find = metadata.version, importlib.util.find_spec
hidden = cli.LOCAL_PACKAGES
def version(name):
    if name in hidden: raise metadata.PackageNotFoundError(name)
    return real_version(name)
metadata.version = version
importlib.util.find_spec = lambda name, *rest: None if name in hidden else real_find(name, *rest)
cli.app(["doctor"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if "->" in line and "tiny model" not in line]
    assert [line.split()[1] for line in lines] == sorted(["torch", "transformers", "peft", "accelerate", "tokenizers"])
    assert all(line.endswith("-> pip install 'holisafe[local]'") for line in lines)
    assert "unknown without torch" in done.stdout
    assert done.stdout.splitlines()[-1] == "Something is missing: see the arrows."


def test_it_says_what_this_machine_is() -> None:
    found = {finding.subject: finding.state for finding in doctor.machine()}
    assert int(found["cores"]) >= 1
    assert float(found["memory"].removesuffix(" GiB")) > 0.5
    assert found["device"]


def test_a_torch_that_does_not_load_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it now raises ImportError
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    assert doctor.device().remedy == "pip install --force-reinstall torch"
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert doctor.device() == Finding("device", "unknown without torch")
