"""Text as it may be shown: what would move a cursor, change colours, ring, turn the direction of writing or split a
line stands as the escape that JSON has for it."""

from __future__ import annotations

import json
from unicodedata import category

JOINERS = "\u200c\u200d"
"""Invisible, but part of how some scripts and emoji are written."""


def visible(text: str, kept: str = "\n\t") -> str:
    """The text with every control, format and half character but those `kept` written as `\\u001b` and the like."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        json.dumps(c)[1:-1] if c not in kept and c not in JOINERS and category(c) in _UNSEEN else c for c in text
    )


_UNSEEN = ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")


def one_line(text: str) -> str:
    """The text as one line: line breaks and tabs become spaces, the rest as `visible` shows it."""
    return visible(" ".join(text.split("\n")).replace("\t", " ").replace("\r", " "), kept="")
