"""The report's own files: its templates, its styles and its script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent


def template(name: str) -> Template:
    """A template that escapes whatever it is given and knows every name that it uses."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["tight"] = lambda text: text.replace(" %", "\u00a0%")
    return environment.get_template(name)


def part(name: str) -> str:
    """A style or script, as text."""
    return (HERE / name).read_text(encoding="utf-8")
