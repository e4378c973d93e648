"""How a result shows itself: HTML where there is a notebook, else the same tables as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..visible import visible

WIDTH = 110


class Shown:
    """What has `_html()`, tables and figures as one piece of HTML, and `_texts()`, tables of rich and lines of text.

    Neither holds anything that a model was asked or answered.
    """

    def _html(self) -> str:
        raise NotImplementedError

    def _texts(self) -> Iterable[Any]:
        raise NotImplementedError

    def __str__(self) -> str:
        from rich.console import Console

        plain: Any = {"color_system": None, "markup": False, "emoji": False, "highlight": False}
        page = Console(file=io.StringIO(), width=WIDTH, force_jupyter=False, **plain)  # else rich shows it by itself
        for part in self._texts():
            page.print(part)
        written: Any = page.file
        lines = visible(written.getvalue()).splitlines()
        return "\n".join(line.rstrip() for line in lines).strip("\n")

    def _repr_html_(self) -> str:
        return self._html()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What IPython shows: HTML where it can, text in a terminal."""
        del include, exclude
        return {"text/plain": str(self), "text/html": self._html()}


class ShownNumbers(Shown, Mapping[str, Any]):
    """Numbers by name that also show themselves."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found

    def __getitem__(self, name: str) -> Any:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    __repr__ = Shown.__str__
