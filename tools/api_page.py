"""docs/api.md: what `import holisafe` offers, from signatures and docstrings.

python tools/api_page.py
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import holisafe
from holisafe.api import results, scans

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
INTRODUCTION = """# The Python API

Everything that `import holisafe` offers. [python](python.md) tells how it is used, [notebook](notebook.ipynb) shows it.
This page is made from the docstrings: `python tools/api_page.py`.
"""
RESULTS = (
    results.Run,
    results.Runs,
    results.Scored,
    results.Comparison,
    results.Pairs,
    results.GuardScores,
    scans.Scan,
)
WIDTH = 110


def page() -> str:
    """The whole page."""
    names = [name for names in holisafe._PLACES.values() for name in names if name != "InputError"]
    parts = [INTRODUCTION, *(part for name in names for part in _function(name))]
    parts.append("## What they return\n\nEach shows itself in a notebook, and prints as text elsewhere.\n")
    parts += [part for kind in RESULTS for part in _class(kind)]
    return "\n".join(parts)


def examples() -> list[str]:
    """The code of every example, in the order of the page."""
    names = [name for names in holisafe._PLACES.values() for name in names]
    found = [re.search(r"Example:\n(.*)", inspect.getdoc(getattr(holisafe, name)) or "", re.DOTALL) for name in names]
    return [textwrap.dedent(one[1]).strip() for one in found if one]


def _function(name: str) -> Iterator[str]:
    function = getattr(holisafe, name)
    yield f"## holisafe.{name}\n"
    yield f"```python\n{_signature(name, function)}\n```\n"
    yield _prose(inspect.getdoc(function) or "")


def _class(kind: type[Any]) -> Iterator[str]:
    yield f"### {kind.__name__}\n"
    yield _prose(inspect.getdoc(kind) or "")
    for name, member in vars(kind).items():
        if not name.startswith("_") and inspect.isfunction(member):
            yield f"- `{_signature(name, member).replace('self, ', '').replace('self', '')}`: {_line(member)}"
    yield ""


def _line(member: Any) -> str:
    return " ".join((inspect.getdoc(member) or "").split())


def _signature(name: str, function: Any) -> str:
    """On one line where it fits, else a parameter a line."""
    signature = inspect.signature(function)
    said = [_parameter(one) for one in _marked(signature)]
    returned = "" if signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(said)}){returned}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in said) + f"){returned}"


def _marked(signature: inspect.Signature) -> Iterator[inspect.Parameter | str]:
    """The parameters, with a star before the first that is given by name."""
    starred = False
    for one in signature.parameters.values():
        starred = starred or one.kind is one.VAR_POSITIONAL
        if one.kind is one.KEYWORD_ONLY and not starred:
            yield "*"
            starred = True
        yield one


def _parameter(one: inspect.Parameter | str) -> str:
    if isinstance(one, str):
        return one
    default = inspect.Parameter.empty
    if one.default is not default:  # a long value is not read in a signature
        value = repr(one.default) if len(repr(one.default)) <= 30 else "..."
        return f"{one.name}: {one.annotation} = {value}"
    stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
    return f"{stars}{one.name}" + ("" if one.annotation is default else f": {one.annotation}")


def _prose(text: str) -> str:
    """A docstring as Markdown: its sections as headings in bold, arguments as a list, examples and tables as code."""
    parts = []
    for block in re.split(r"\n\n(?=\S)", text):
        head, _, rest = block.partition("\n")
        body = textwrap.dedent(rest)
        if head == "Example:":
            parts.append(f"**Example**\n\n```python\n{body}\n```")
        elif head == "Args:":
            parts.append("\n".join(_arguments(body)))
        elif head == "Returns:":
            parts.append(f"**Returns** {' '.join(body.split())}")
        elif re.match(r"\w+ {2,}\S", head) or re.match(r"\w+ +\S.*\n {8,}", block):
            parts.append(f"```text\n{block}\n```")
        else:
            parts.append(block)
    return "\n\n".join(parts) + "\n"


def _arguments(body: str) -> Iterator[str]:
    for one in re.split(r"\n(?=\S)", body):
        name, _, told = one.partition(": ")
        yield f"- `{name}`: {' '.join(told.split())}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
