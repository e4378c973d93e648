"""Whether pictures reach the model: asked once, by what the upstream counts with a picture and without.

Some servers and gateways drop pictures without a word. A model that sees one takes more tokens for it; where nothing is
counted, nothing can be told, and the picture counts as seen.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from PIL import Image

from ..records import GenerationSettings, Message, Picture, Request
from .upstream import Upstream

Sight = Literal["seen", "unseen", "unknown"]
AGAIN = 60.0
"""Seconds after which a model that saw nothing, or did not answer, is asked again."""


class Eyes:
    """What is known of one upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self._found: Sight | None = None
        self._asked = float("-inf")
        self._lock = asyncio.Lock()

    async def look(self) -> Sight:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._found is None or (self._found != "seen" and now - self._asked > AGAIN):
                self._found, self._asked = await self._probe(), now
            return self._found

    async def _probe(self) -> Sight:
        with_one, without = await asyncio.gather(*(self._tokens(seen) for seen in (True, False)))
        if with_one is None or without is None:
            return "unknown"
        return "seen" if with_one > without else "unseen"

    async def _tokens(self, shown: bool) -> int | None:
        """Input tokens of the same question with a grey picture or without it; None where they are not counted."""
        grey = Picture("grey", lambda: Image.new("RGB", (64, 64), "grey"))
        asked = Message("user", "Hello", (grey,) if shown else ())
        name = f"sight-{'with' if shown else 'without'}"
        request = Request(sample_id=name, messages=(asked,), settings=GenerationSettings(max_new_tokens=1))
        response = await self.upstream.answer(request)
        return response.usage.get("input_tokens") if response.usable else None
