"""Results as a piece of HTML that stands in a notebook: self-contained, scripts none, in light and in dark.

Its styles hold inside its own element alone. What models were asked and said is not in it, but where `pairs` are: then
folded, each until its reader opens it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from .grids import Grid
from .groups import Group
from .page import group_view
from .pairs import browser_data
from .templates import part, template

STYLES = ("results.css", "fragment.css")


def fragment(groups: Sequence[Group] = (), grids: Sequence[Grid] = (), notes: Sequence[str] = ()) -> str:
    """Headline numbers, doubts, tables and figures of groups of runs; other tables; and notes, one a line."""
    name = _name()
    views = [group_view(group, f"{name}-{number}") for number, group in enumerate(groups)]
    return _written(name, groups=views, grids=grids, notes=notes, pairs=None)


def pairs_fragment(group: Group, most: int) -> str:
    """At most `most` pairs with what was answered and judged, wrong answers first, every text folded."""
    data = browser_data([group], None, most)
    return _written(_name(), groups=(), grids=(), notes=(), pairs=data)


def _written(name: str, **said: Any) -> str:
    style = "".join(map(part, STYLES)).replace(":root {", "& {")
    found = template("fragment.html.jinja").render(name=name, style=Markup(style), **said)  # noqa: S704 - our own files
    return found.strip()


def _name() -> str:
    """An id that no other output of a notebook has."""
    return f"holisafe-{secrets.token_hex(4)}"
