"""Reports: `write_page` for the HTML page, `tables` for the terminal."""

from __future__ import annotations

from .page import write_page

__all__ = ["write_page"]
