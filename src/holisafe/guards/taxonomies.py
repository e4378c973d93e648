"""What others' categories mean in our taxonomy: one table, `categories.json`.

taxonomy -> category -> {"name": in their words, "label": the image label of ours that means the same, or null,
                         "category": the category of ours that it falls into, or null for no equivalent}
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ..journal import read_json
from ..taxonomy import CATEGORIES, CATEGORY_OF

FILE = Path(__file__).with_name("categories.json")

OURS = "holisafe"
"""The taxonomy of our own labels."""

PREFIX = f"{OURS}/"
"""Stands before our labels and categories where ours and OpenAI's are told together, as our gateway does: some are
spelt alike and mean something else."""

OVERALL = f"{PREFIX}unsafe"
"""The category that they add to the others: whatever is flagged, and how likely it is unsafe in any way."""


class Meaning(NamedTuple):
    """A category in its guard's words, and in ours; None where we have no equivalent."""

    name: str
    label: str | None = None
    category: str | None = None


@cache
def taxonomy(name: str) -> dict[str, Meaning]:
    """Its categories in their order. Raises KeyError for one that the table does not have."""
    if name == OURS:
        return {label: Meaning(label, label, category) for label, category in CATEGORY_OF.items()}
    return {category: Meaning(**entry) for category, entry in _table()[name].items()}


def meaning(name: str | None, category: str) -> Meaning:
    """What a category means; of one that nobody knows, or of the user's own, its name alone. A guard that uses a label
    of ours means it."""
    if name is None:
        return Meaning(category)
    bare = category.removeprefix(PREFIX)
    if category != bare and bare in CATEGORIES:
        return Meaning(bare, category=bare)
    return taxonomy(name).get(category) or taxonomy(OURS).get(bare, Meaning(category))


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = read_json(FILE)
    return table
