"""A stream held back until it is judged: what leaves has been read, with what came after it.

    said      I can tell you how to mix the two: first take
    judged    └──────────────────────────────┘
    left      └───────────────────┘ window

Each time that `stride` new characters are there, all that was said so far is judged, from its beginning: harm that
spreads over many pieces is in one text. The last `window` characters stay until more has come, or the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from ..records import Response
from .policy import Stream

Judge = Callable[[str], Awaitable[bool]]
"""All that was said so far -> whether it may leave."""


class Stopped(Exception):  # noqa: N818
    """The judge stopped the stream: nothing of it leaves any more."""


async def released(
    pieces: AsyncIterator[str | Response], judge: Judge | None, stream: Stream
) -> AsyncIterator[str | Response]:
    """The pieces that may leave, and the response last. Raises Stopped when the judge says no.

    Without a judge pieces leave as they come. Half a surrogate pair waits for its other half.
    """
    text, judged, left, half = "", 0, 0, ""
    async for piece in pieces:
        if isinstance(piece, Response):
            text += joined(half)
            if judge is not None and piece.finish != "error" and len(text) > judged and not await judge(text):
                raise Stopped
            if piece.finish != "error" and left < len(text):
                yield text[left:]
            yield piece
            return
        whole = half + piece
        half = whole[-1] if "\ud800" <= whole[-1:] <= "\udbff" else ""
        text += joined(whole[: len(whole) - len(half)])
        if judge is None:
            safe = len(text)
        elif len(text) - judged >= stream.stride:
            if not await judge(text):
                raise Stopped
            judged = len(text)
            safe = max(left, judged - stream.window)
        else:
            continue
        if safe > left:
            yield text[left:safe]
            left = safe


def joined(text: str) -> str:
    """Halves of surrogate pairs put together; one that stays alone is no letter."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
