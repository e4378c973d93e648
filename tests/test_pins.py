"""Every dependency is pinned, and what a release is made of is pinned by its content."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNPINNED_EXTRAS = {"sprites", "vllm"}
"""What only redraws shipped files, never installed by `make`; and what holds torch and transformers to versions of its
own, in an environment of its own (tests/vllm/requirements.txt)."""

HASH = re.compile(r"sha256:[0-9a-f]{64}")


def pins() -> dict[str, str]:
    lines = (line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    found = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): number for name, number in found}


def locked(file: str) -> dict[str, tuple[str, list[str]]]:
    """Name -> version and hashes of a lock file."""
    text = (ROOT / file).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            requirement, *_ = line.split(" --hash")
            name, number = requirement.split(";")[0].strip().split("==")
            found[canonicalize_name(name)] = (number.strip(), HASH.findall(line))
    return found


def test_every_dependency_has_a_pin_that_fits_its_range() -> None:
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *(one for name in extras if name not in UNPINNED_EXTRAS for one in extras[name])]
    for text in asked:
        requirement = Requirement(text)
        if requirement.name != "holisafe":
            assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)]), text


def test_what_is_installed_is_what_is_pinned_and_fits_together() -> None:
    """As `pip check`, and by version: an audit of the pins is an audit of what runs."""
    for name, number in pins().items():
        try:
            assert version(name).partition("+")[0] == number, name
        except PackageNotFoundError:
            continue  # of another platform
    for one in distributions():
        for text in one.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert needed.specifier.contains(version(needed.name), prereleases=True), f"{one.name}: {text}"


@pytest.mark.parametrize("file", ["requirements.lock", "build-requirements.lock"])
def test_a_lock_names_contents_and_no_place(file: str) -> None:
    text, found = (ROOT / file).read_text(), locked(file)
    assert found
    assert all(hashes for _, hashes in found.values())
    assert not re.search(r"https?:|file:|@ |--index|--extra-index|--find-links|--trusted-host", text)


@pytest.mark.parametrize("file", sorted((ROOT / "tests").glob("*/requirements.txt")), ids=lambda file: file.parent.name)
def test_what_is_beside_is_pinned_and_names_no_place_but_this_one(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line.strip() and not line.startswith("#")]
    own = [line for line in lines if line == "-e ."]
    pinned = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[A-Za-z0-9.+!-]+")
    assert not [line for line in lines if line not in own and not pinned.fullmatch(line)]
    assert len(own) <= 1


def test_the_lock_is_of_the_pins() -> None:
    found = {name: number for name, (number, _) in locked("requirements.lock").items() if name != "setuptools"}
    assert found.items() <= pins().items()
    assert {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]} <= set(
        locked("requirements.lock")
    )
