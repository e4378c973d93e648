"""How every command is made and how its help looks: an example, what it does, its options, the rare ones last.

A command's docstring begins with the example, as it would be typed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

from ..errors import ExitCode

Function = TypeVar("Function", bound=Callable[..., Any])

RARE = "Rarely needed"
"""The panel at the end of a command's help."""

NAMES_WIDTH = 26
"""How wide the names of options may be before their help begins on the next line."""

RANGE = re.compile(r"  \[x>=\d+\]|; x>=\d+(?=\])")
"""That a count is at least 1 goes without saying."""

FULL_STOP = re.compile(r"(?<!\.)\.(?= |$)")
"""The end of a sentence, and neither three dots nor that in a file's name."""


def leave_if(failed: int, told: str) -> None:
    """Where calls `failed`, say so on stderr, `told` being what the number is of, and leave with 3. Whatever makes
    calls ends with this."""
    if failed:
        typer.echo(f"holisafe: {failed:,} {told}", err=True)
        raise typer.Exit(ExitCode.RESUMABLE)


def known(names: str) -> Callable[[str], list[str]]:
    """How a shell completes the name of a plug-in of that registry, such as "benchmarks"."""

    def completed(begun: str) -> list[str]:
        from .. import registry

        return [name for name in getattr(registry, names).entries() if name.startswith(begun)]

    return completed


class Command(TyperCommand):
    """A command whose help fits a screen of 80 columns."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The example, where the help begins with one; a line of placeholders teaches less."""
        example, text = self._told()
        if example:
            formatter.write(f"{example}\n")
            for line in text.split("\n\n"):
                formatter.write("\n")
                formatter.write_text(" ".join(line.split()))
        else:
            super().format_usage(ctx, formatter)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        if not self._told()[0]:
            super().format_help_text(ctx, formatter)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], RARE: []}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                name, told = record
                named = name.removesuffix(" <bool>") if param.param_type_name == "option" else str(param.metavar)
                sections[getattr(param, "rich_help_panel", None) or "Options"].append((named, RANGE.sub("", told)))
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows, col_max=NAMES_WIDTH)

    def get_short_help_str(self, limit: int = 45) -> str:
        """The first sentence after the example, whole: a listing wraps it."""
        return FULL_STOP.split(" ".join(self._told()[1].split()), maxsplit=1)[0]

    def _told(self) -> tuple[str, str]:
        """The example, "" where there is none, and the rest."""
        first, _, rest = inspect.cleandoc(self.help or "").partition("\n\n")
        return (first, rest) if first.startswith("holisafe ") else ("", first)


class Commands(typer.Typer):
    """A verb of several commands, or, with `alone`, of one."""

    def __init__(self, told: str | None = None, alone: bool = False) -> None:
        super().__init__(help=told, no_args_is_help=not alone, add_completion=False, rich_markup_mode=None)

    def command(self, name: str | None = None, **how: Any) -> Callable[[Function], Function]:
        return super().command(name, cls=Command, **how)
