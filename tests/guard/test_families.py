"""Every check on every family."""

from __future__ import annotations

import functools

import pytest

from .checks import CHECKS, STOCK_REPRODUCTIONS, Case
from .tiny_families import FAMILIES


@functools.lru_cache(maxsize=2)
def case(name: str) -> Case:
    return Case.of(name, FAMILIES[name])


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_family(family: str, check: str) -> None:
    reason = FAMILIES[family].exempt.get(check)
    if reason:
        with pytest.raises(Exception):  # noqa: B017, PT011 - however the stock model fails, it is not the guard
            STOCK_REPRODUCTIONS[check](case(family))
        pytest.skip(f"the stock model cannot: {reason}")
    CHECKS[check](case(family))
