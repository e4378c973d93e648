"""The page of a scan: its summary in, one self-contained HTML file out, whose pictures are blurred until asked for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..journal import write_text
from .page import content_hash
from .scans import scan_grids, scan_notes
from .templates import part, template

TOLD = {
    "unsafe": "Called unsafe. How many are not?",
    "uncertain": "Uncertain: the verdict might have been the other.",
    "safe": "Called safe. How many are not?",
}


def write_scan_page(found: Mapping[str, Any], out: Path) -> Path:
    """Write the page to `out`, whole or not at all; return its path."""
    write_text(out, render(found))
    return out


def render(found: Mapping[str, Any]) -> str:
    """The page as text."""
    style = "".join(map(part, ("results.css", "page.css", "frontier.css", "scan.css")))
    return template("scan.html.jinja").render(
        version=version("holisafe"),
        style=Markup(style),  # noqa: S704 - the package's own files
        style_hash=content_hash(style),
        found=found,
        guard=Path(found["guard"]["name"]).name,
        grids=scan_grids(found),
        notes=scan_notes(found),
        samples=[(name, told, found["sample"].get(name, [])) for name, told in TOLD.items()],
        dated=f"Written {datetime.now(UTC):%d %B %Y}.".replace(" 0", " "),
    )
