"""Whether pictures reach the model behind the gateway, and its guards behind servers: each is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from ..guards.base import Guard
from ..guards.image_probe import guard_probes
from ..records import GenerationSettings, Request, Response
from ..targets.image_probe import guard_verdict, probes, verdict
from .upstream import Hosted, Upstream

Sight = Literal["seen", "unseen", "unknown"]
NAMED: dict[bool | None, Sight] = {True: "seen", False: "unseen", None: "unknown"}

MOST = 16
"""Tokens of an answer that names a word."""

AGAIN = 60.0
"""Seconds after which one that saw nothing, or did not answer, is asked again."""

Verdict = Callable[[Response | None, Response | None], tuple[bool | None, str]]
"""The answers with a picture and without -> whether it arrived, and how that is known."""


class Eyes:
    """What is known of one upstream, which is `asked` the same with a picture and without."""

    def __init__(self, upstream: Upstream, asked: Sequence[Request], verdict: Verdict) -> None:
        self.upstream, self.asked, self.verdict = upstream, asked, verdict
        self._found: Sight | None = None
        self._looked = float("-inf")
        self._lock = asyncio.Lock()

    async def look(self) -> Sight:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._found is None or (self._found != "seen" and now - self._looked > AGAIN):
                shown, alone = await asyncio.gather(*map(self.upstream.answer, self.asked))
                self._found, self._looked = NAMED[self.verdict(shown, alone)[0]], now
            return self._found


def model_eyes(upstream: Upstream) -> Eyes:
    word, asked = probes(GenerationSettings(max_new_tokens=MOST))
    return Eyes(upstream, asked, partial(verdict, word))


def guard_eyes(guard: Guard) -> Eyes | None:
    """Of a guard behind a server that is sent pictures; None for any other."""
    asked = guard_probes(guard)
    return None if asked is None else Eyes(Hosted(getattr(guard, "target")), asked, guard_verdict)  # noqa: B009
