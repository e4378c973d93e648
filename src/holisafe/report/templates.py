"""The report's own files: its templates, its styles and its script."""

from __future__ import annotations

import re
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
    environment.filters["tight"] = _tight
    return environment.get_template(name)


def _tight(text: str) -> str:
    """The text with no line break before `%` nor within an interval."""
    return re.sub(r" %|\[[^][]*\]", lambda found: found[0].replace(" ", "\u00a0"), text)


def part(name: str) -> str:
    """A style or script, as text."""
    return (HERE / name).read_text(encoding="utf-8")
