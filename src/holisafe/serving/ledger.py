"""Each request is written down once, however it ends: answered, refused, failed, or left by its client."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from ..records import Response
from ..visible import one_line
from .counters import Counters
from .entry import Ended, Entry
from .traffic import Traffic

LOG = logging.getLogger("holisafe.serve")

UNANSWERED: tuple[Ended, ...] = ("cancelled", "error", "broken off")
WENT = "the client went away"


class Ledger:
    """Counters, and the log where one is kept. `target` is who answers."""

    def __init__(self, counters: Counters, traffic: Traffic | None, target: str) -> None:
        self.counters, self.traffic, self.target = counters, traffic, target

    async def close(self, entry: Entry, ended: Ended, code: str = "") -> None:
        """Write down how a request ended, before its client is told; what is said of it later changes nothing. A log
        that cannot be written is counted and said."""
        if entry.ended is not None:
            return
        entry.ended, entry.code = ended, code
        response = entry.response or self.nothing(entry)
        if ended in UNANSWERED:
            response = replace(response, finish="error", error=response.error or code or WENT)
        self.counters.ended.labels(ended).inc()
        for kind in ("input_tokens", "output_tokens"):
            self.counters.tokens.labels(kind).inc(response.usage.get(kind, 0))
        if self.traffic is None:
            return
        try:
            await self.traffic.keep(entry, response)
        except Exception as error:  # noqa: BLE001  (the disk's fault is not the client's)
            self.counters.failures.labels("log", "open").inc()
            warn("log", [f"{type(error).__name__}: {error}"])

    def nothing(self, entry: Entry) -> Response:
        """No more than what left of an answer that was not heard to its end."""
        return Response(sample_id=entry.id, target=self.target, text="".join(entry.left))


def warn(part: str, reasons: Sequence[str]) -> None:
    """Tell the operator, in few lines."""
    for reason in reasons[:3]:
        LOG.warning("%s: %s", part, one_line(reason)[:300])
