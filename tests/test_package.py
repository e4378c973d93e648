"""What is shipped, pinned and linked: files that packaging or a reader would otherwise miss without a word."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PINS = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def plain(name: str) -> str:
    """A distribution's name as it is compared: `PyYAML>=6` and `pyyaml` are the same."""
    return re.split(r"[^A-Za-z0-9._-]", name)[0].replace("_", "-").replace(".", "-").lower()


def test_every_data_file_gets_into_the_wheel() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["holisafe"]
    package = ROOT / "src" / "holisafe"
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert sorted(map(str, files - shipped)) == []


def test_pins_are_exact_sorted_and_nothing_but_versions() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", pin)] == []
    assert [plain(pin) for pin in PINS] == sorted({plain(pin) for pin in PINS})


def test_everything_that_is_installed_by_make_is_pinned() -> None:
    extras = dict(PROJECT["project"]["optional-dependencies"])
    del extras["vllm"]  # holds torch and transformers to versions of its own: tests/vllm/requirements.txt
    needed = {plain(name) for name in [*PROJECT["project"]["dependencies"], *(n for e in extras.values() for n in e)]}
    assert sorted(needed - {plain(pin) for pin in PINS} - {"holisafe"}) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
