"""Every guard's reading of what is asked and of what is answered.

A guard behind an API is asked in the event loop, one on this machine in a thread of its own, in batches. The whole
conversation is read as one text, whatever roles the client gave its parts, and the last turn by itself besides, so that
a long harmless history does not thin it out.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ..guards.base import Guard, Item, Reading, fitted
from ..records import Message, Picture
from .batches import Batcher
from .findings import Finding, finding
from .sight import Eyes, guard_eyes

LARGEST_BATCH = 32

UNSEEN = {"Cc", "Cf", "Cs"}
KEPT = "\n\t"


@dataclass
class Seen:
    """What all guards said together. `faults` are readings that could not be had; `unread` says that no guard reads
    things of this kind, `blind` that there were pictures and none reads pictures."""

    findings: list[Finding] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unread: bool = False
    blind: bool = False


def as_read(text: str) -> str:
    """Text as people read it: signs that only look like others, and those that nobody sees, do not hide a word."""
    if text.isascii() and text.isprintable():
        return text
    plain = unicodedata.normalize("NFKC", text)
    return "".join(sign for sign in plain if sign in KEPT or unicodedata.category(sign) not in UNSEEN)


class Panel:
    """The guards. Enter it before anything is read; belongs to one event loop."""

    def __init__(self, guards: Sequence[Guard], seconds: float) -> None:
        self.guards, self.seconds = tuple(guards), seconds
        self._batchers: dict[int, Batcher[Item, Reading]] = {}
        self._eyes: dict[int, Eyes | None] = {}
        self._numbers = count()

    async def __aenter__(self) -> Panel:
        self._open = AsyncExitStack()
        for place, guard in enumerate(self.guards):
            inner: Any = getattr(guard, "target", None)
            if in_loop(guard):
                self._eyes[place] = guard_eyes(guard)
                if hasattr(inner, "kept_open"):
                    await self._open.enter_async_context(inner.kept_open())
                continue
            size = int(getattr(guard, "batch_size", LARGEST_BATCH))
            self._batchers[place] = batcher = Batcher(_together(guard), size, f"guard-{place}")
            self._open.callback(batcher.close)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._open.aclose()

    @property
    def reads_answers(self) -> bool:
        return any("response" in guard.takes for guard in self.guards)

    @property
    def reads_text(self) -> bool:
        return any({"text", "pair"} & guard.takes for guard in self.guards)

    @property
    def name(self) -> str:
        return " + ".join(guard.name for guard in self.guards)

    async def request(self, messages: Sequence[Message]) -> Seen:
        """What the guards say of a conversation before it is answered."""
        said = [as_read(turn.text) for turn in messages if turn.text.strip()]
        pictures = [picture for turn in messages for picture in turn.pictures]
        texts = ["\n".join(said), *([said[-1]] if len(said) > 1 else [])]
        return await self.items(pictures, texts)

    async def answer(self, messages: Sequence[Message], text: str) -> Seen:
        """What they say of its answer, or of as much of it as there is."""
        asked = "\n".join(as_read(turn.text) for turn in messages if turn.text.strip())
        pictures = tuple(picture for turn in messages for picture in turn.pictures)
        return await self._read([self._item(pictures, asked, as_read(text))])

    async def items(self, pictures: Sequence[Picture], texts: Sequence[str]) -> Seen:
        """Each picture with each text; several pictures together as well."""
        sets: list[tuple[Picture, ...]] = [(picture,) for picture in pictures] or [()]
        items = [self._item(shown, text) for shown in sets for text in (texts or [""])]
        if len(pictures) > 1:
            items += [self._item(tuple(pictures), text) for text in (texts or [""])[:1]]
        return await self._read(items)

    def _item(self, pictures: tuple[Picture, ...], text: str, response: str | None = None) -> Item:
        return Item(id=str(next(self._numbers)), pictures=pictures, text=text, response=response)

    async def _read(self, items: Sequence[Item]) -> Seen:
        seen = Seen()
        asked = [
            (place, guard, part)
            for place, guard in enumerate(self.guards)
            for item in items
            if (part := fitted(item, guard.takes)) is not None and _can_take(guard, part)
        ]
        unique = {
            (place, part.pictures, part.text, part.response): (place, guard, part) for place, guard, part in asked
        }
        seen.unread = not unique
        shown = any(item.pictures for item in items if item.response is None)
        seen.blind = shown and not any(part.pictures for _, _, part in unique.values())
        readings = await asyncio.gather(*(self._one(place, guard, part) for place, guard, part in unique.values()))
        for (_, guard, part), reading in zip(unique.values(), readings, strict=True):
            if isinstance(reading, str):
                seen.faults.append(f"{guard.name}: {reading}")
            elif reading.unsafe is None:
                seen.faults.append(f"{guard.name}: {reading.invalid}")
            else:
                seen.findings.append(finding(guard, reading, _modalities(part)))
        return seen

    async def _one(self, place: int, guard: Any, item: Item) -> Reading | str:
        """A guard's reading, or what went wrong: whatever a guard raises is the guard's fault, never the client's."""
        try:
            async with asyncio.timeout(self.seconds):
                if place in self._batchers:
                    return await self._batchers[place](item)
                if item.pictures and (eyes := self._eyes[place]) is not None and await eyes.look() == "unseen":
                    return "pictures do not reach it"
                async for reading in guard.readings(_alone(item)):
                    found: Reading = reading
                    return found
        except TimeoutError:
            return f"no reading within {self.seconds:g} s"
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        return "gave no reading"


def in_loop(guard: Any) -> bool:
    """Whether a guard only waits for others: one that asks a model which is not on this machine."""
    inner = getattr(guard, "target", None)
    return hasattr(guard, "readings") and not hasattr(inner, "model")


def _can_take(guard: Any, item: Item) -> bool:
    """Several pictures together are for guards that are asked in words; our heads read one."""
    in_words = hasattr(guard, "readings") and not getattr(guard, "one_picture", False)
    return len(item.pictures) <= 1 or in_words or item.response is not None


def _modalities(item: Item) -> tuple[str, ...]:
    text = item.response is not None or bool(item.text.strip())
    return (*(["text"] if text else []), *(["image"] if item.pictures else []))


def _together(guard: Guard) -> Any:
    def read(items: Sequence[Item]) -> list[Reading]:
        found = {reading.item_id: reading for reading in guard.read(items)}
        return [found[item.id] for item in items]

    return read


async def _alone(item: Item) -> AsyncIterator[Item]:
    yield item
