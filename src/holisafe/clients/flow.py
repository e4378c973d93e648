"""An answer as it comes: a stream of server-sent events, whose pieces of text are given away at once.

What else the events tell (how the answer ended, its tokens, reasoning) is read from the whole at the end, as `wire`
and `answer` do. A server that does not stream is heard in one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .answer import first_choice, json_object
from .faults import HopelessError
from .options import ChatOptions
from .stream import STREAMED, in_one_piece
from .wire import Reply, sent, whole

if TYPE_CHECKING:
    from aiohttp import ClientSession

HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}


async def flow(
    http: ClientSession, options: ChatOptions, path: str, content: bytes, hear: Callable[[str], None]
) -> Reply:
    """POST to an endpoint and give `hear` each piece of the answer's text. Raises as `wire.post`."""
    async with sent(http, options, path, content, HEADERS) as response:
        told = response.headers.get("Content-Encoding", "").strip().lower()
        if response.status >= 300 or told not in ("", "identity"):
            return await whole(response, options)
        kept, rest = bytearray(), b""
        async for chunk in response.content.iter_any():
            kept += chunk
            if len(kept) > options.max_bytes:
                raise HopelessError(f"the answer is longer than {options.max_bytes:,} bytes", True)
            *lines, rest = (rest + chunk).split(b"\n")
            if not STREAMED.match(kept):
                continue
            for line in lines:
                if piece := _said(line):
                    hear(piece)
        return Reply(response.status, response.headers, in_one_piece(bytes(kept)))


def _said(line: bytes) -> str:
    """The text that a line of a stream adds to the first choice."""
    field, _, data = line.partition(b":")
    if field.strip(b"\xef\xbb\xbf ") != b"data" or not data.strip().startswith(b"{"):
        return ""
    choice = first_choice(json_object(data) or {})
    delta = choice.get("delta") if isinstance(choice, dict) and choice.get("index") in (None, 0) else None
    said = [delta.get(name) for name in ("content", "refusal")] if isinstance(delta, dict) else []
    return "".join(piece for piece in said if isinstance(piece, str))
