"""Every check on every family. `python tests/guard/family_table.py` writes the same as docs/families.md."""

from __future__ import annotations

import functools

import pytest

from .checks import CHECKS, STOCK_REPRODUCTIONS, Case, outcome
from .family_table import PAGE, table
from .tiny_families import FAMILIES


@functools.lru_cache(maxsize=2)
def case(name: str) -> Case:
    return Case.of(name, FAMILIES[name])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, check: str) -> None:
    said = outcome(case(family), check)
    if said != "passes":
        pytest.skip(said)


@pytest.mark.parametrize("check", STOCK_REPRODUCTIONS)
def test_reproductions_pass_where_the_stock_model_can(check: str) -> None:
    STOCK_REPRODUCTIONS[check](case("llava-clip"))


def test_enough_families() -> None:
    assert len({family.model_type for family in FAMILIES.values()}) >= 30
    assert sum(not family.exempt for family in FAMILIES.values()) >= 28


def test_the_page_is_of_these_families_and_checks() -> None:
    """Whether the checks pass is what the tests above say; here, that the page in the docs is not of other ones."""
    said = {(n, c): f"stock: {f.exempt[c]}" if c in f.exempt else "passes" for n, f in FAMILIES.items() for c in CHECKS}
    assert PAGE.read_text() == table(said)
