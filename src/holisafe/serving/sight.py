"""Whether pictures reach the model behind the gateway, found out once."""

from __future__ import annotations

import asyncio
from typing import Literal

from ..records import GenerationSettings
from ..targets.image_probe import probes, verdict
from .upstream import Upstream

Sight = Literal["seen", "unseen", "unknown"]
NAMED: dict[bool | None, Sight] = {True: "seen", False: "unseen", None: "unknown"}

MOST = 16
"""Tokens of an answer that names a word."""

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
        word, asked = probes(GenerationSettings(max_new_tokens=MOST))
        shown, alone = await asyncio.gather(*map(self.upstream.answer, asked))
        return NAMED[verdict(word, shown, alone)[0]]
