"""The one exception that is a user's mistake, and the exit codes that scripts rely on."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from .visible import visible


class ExitCode(IntEnum):
    """What a finished command tells the shell."""

    DONE = 0
    GATE_FAILED = 1
    BAD_INPUT = 2
    RESUMABLE = 3
    FAULT = 70
    """A fault of HoliSafe's own: its traceback is on stderr (sysexits' EX_SOFTWARE)."""


class Notice(UserWarning):
    """Something that a user should know and that stops nothing. The command line prints it as one line on stderr."""


class InputError(Exception):
    """Something the user gave cannot be used. The command line prints it as one line and exits 2.

    `where` names the file; `row` (counted from 1, header not counted) and `field` narrow it down.
    """

    def __init__(
        self, problem: str, *, where: str | Path | None = None, row: int | str | None = None, field: str | None = None
    ) -> None:
        place = [str(where)] if where is not None else []
        if row is not None:
            place.append(f"row {row}")
        if field is not None:
            place.append(f"field {field!r}")
        super().__init__(": ".join([", ".join(place), problem]) if place else problem)
        self.problem, self.where, self.row, self.field = problem, where, row, field

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: one line there too."""
        return [f"{type(self).__name__}: {visible(str(self), kept='')}"]


class ChangedError(InputError):
    """What is there now is not what was there when it was recorded."""
