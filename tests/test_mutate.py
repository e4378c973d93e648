"""The mutations that `mutate.py` tries still apply: what they break is there, and so are the tests they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mutate import MUTATIONS, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_a_mutation_applies(mutation: Mutation) -> None:
    assert mutation.applies
    assert mutation.old != mutation.new
    assert all((Path(__file__).parent / name).is_file() for name in mutation.tests.split())


def test_there_are_enough_of_all_kinds() -> None:
    assert len({mutation.what for mutation in MUTATIONS}) == len(MUTATIONS) >= 40
    assert {mutation.file.split("/")[0] for mutation in MUTATIONS} >= {
        "runs",
        "metrics",
        "judges",
        "guard",
        "evaluation",
    }
