"""`reminder`: tell the model in words to look for harm, before or beside the question. Works on any target.

Source: the prompt-based approach of VSCBench (arXiv 2505.20362, section on calibration). The wordings are this
project's own, one file each in `calibration/reminders/`; a text file of the user's serves as well.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any, Literal

from ...errors import InputError
from ...records import Message, Request
from ...registry import calibrations
from ...specs import typed_path
from ...tables import read_text
from ...targets.base import Target
from ..base import Calibrated, Options, read_options


class ReminderOptions(Options):
    """`wording` is a shipped name or a .txt file. `placement`: a system prompt, or before or after the user's text."""

    wording: str = "balanced"
    placement: Literal["system", "before", "after"] = "system"


class Reminder(Calibrated):
    """A target whose every request carries the reminder."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        options = read_options(ReminderOptions, told, "reminder")
        if options.placement == "system" and not target.capabilities.system_prompt:
            raise InputError(f"{target.name} takes no system prompt; try reminder,placement=before")
        self.text, self.placement = wording(options.wording), options.placement
        super().__init__(target, "reminder", told, placement=self.placement, text=self.text)

    def edit(self, request: Request) -> Request:
        return replace(request, messages=reminded(request.messages, self.text, self.placement))


def reminded(messages: tuple[Message, ...], text: str, placement: str) -> tuple[Message, ...]:
    """The conversation with the reminder in it: at the end of its system prompt, or in its last user turn."""
    if placement == "system":
        if messages[0].role == "system":
            return (replace(messages[0], text=f"{messages[0].text}\n\n{text}"), *messages[1:])
        return (Message("system", text), *messages)
    last = max(place for place, message in enumerate(messages) if message.role == "user")
    said = messages[last].text
    both = f"{text}\n\n{said}" if placement == "before" else f"{said}\n\n{text}"
    return (*messages[:last], replace(messages[last], text=both), *messages[last + 1 :])


def wordings() -> list[str]:
    """Names of the shipped wordings."""
    return sorted(path.name.removesuffix(".txt") for path in _folder().iterdir() if path.name.endswith(".txt"))


def wording(name: str) -> str:
    """A shipped wording, or what a .txt file says. Raises InputError when there is neither, or it is empty."""
    if name in wordings():
        return str(_folder().joinpath(f"{name}.txt").read_text(encoding="utf-8")).strip()
    path = typed_path(name)
    if path.suffix != ".txt":
        raise InputError(f"no wording is called {name!r}; known: {', '.join(wordings())}, or a .txt file")
    text = read_text(path).strip()
    if not text:
        raise InputError("holds no text", where=path)
    return text


def _folder() -> Any:
    return files("holisafe.calibration").joinpath("reminders")


@calibrations.register("reminder", summary="a safety reminder in words", needs="any target")
def load(target: Target, options: dict[str, str]) -> Reminder:
    """`reminder,wording=NAME|FILE.txt,placement=system|before|after`."""
    return Reminder(target, options)
