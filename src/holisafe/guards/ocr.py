"""`ocr/NAME/SPEC`: another guard that is told what is written in pictures, so that one of texts reads them too.

    ocr/llama-guard/openai/MODEL,base_url=http://127.0.0.1:8000/v1    ocr/qguard/hf/ID,pictures=left-out    ocr/FOLDER

A query that is typed into a picture (FigStep, arXiv 2311.05608) stands before the guard as text, beside the picture or,
with `pictures=left-out` and for a guard that sees none, instead of it. Reading is done on this machine; `reader`,
`placement`, `letters` and `most` are those of the calibration `ocr`, every other option is the guard's own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..records import Request, digest
from ..registry import guards
from .base import Guard, Item, Kind, Reading, fitted, unreadable
from .policy import Policy

if TYPE_CHECKING:
    from ..read_pictures import PictureTexts

OPTIONS = ("letters", "most", "pictures", "placement", "reader")

NOTHING_WRITTEN = "There is a picture without text in it."
"""What a guard that sees no pictures is told of one in which nothing is written, where there is no question."""


@dataclass
class OcrGuard:
    """A guard behind a reader of pictures. What cannot be opened or read is an invalid reading."""

    guard: Guard
    texts: PictureTexts
    shown: bool
    options: Mapping[str, str]

    @property
    def name(self) -> str:
        return ",".join([f"ocr/{self.guard.name}", *(f"{name}={told}" for name, told in self.options.items())])

    @property
    def version(self) -> str:
        return digest([1, self.guard.version, self.texts.facts, self.shown])[:8]

    @property
    def takes(self) -> frozenset[Kind]:
        more: frozenset[Kind] = frozenset(("image", "pair")) if self.guard.takes & {"text", "pair"} else frozenset()
        return self.guard.takes | more

    @property
    def taxonomy(self) -> str | None:
        return self.guard.taxonomy

    @property
    def decides(self) -> str:
        return f"{self.guard.decides}, told what is written in pictures"

    @property
    def note(self) -> str:
        return f"{self.guard.note} It is told what {self.texts.facts['reader']} reads in pictures."

    @property
    def target(self) -> Any:
        """The model that is asked, where the guard is one."""
        return getattr(self.guard, "target", None)

    @property
    def batch_size(self) -> int:
        return int(getattr(self.guard, "batch_size", 8))

    def told(self, item: Item) -> Item | None:
        """The item as the guard reads it; None where it reads nothing of it. Raises InputError as `PictureTexts`."""
        *earlier, last = self.texts.told((*item.earlier, replace(item.messages[len(item.earlier)])))
        read = replace(item, earlier=tuple(earlier), text=last.text)
        if not self.shown:
            bare = [replace(turn, pictures=()) for turn in read.earlier]
            read = replace(read, pictures=(), earlier=tuple(bare))
            if item.shown and not any(turn.text.strip() for turn in (*bare, last)):
                read = replace(read, text=NOTHING_WRITTEN)
        return fitted(read, self.guard.takes)

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        """As the guard reads what it is told."""
        unread: deque[Reading] = deque()

        def told() -> Iterator[Item]:
            for item in items:
                found = self._told_or_why(item)
                if isinstance(found, Reading):
                    unread.append(found)
                else:
                    yield found

        for reading in self.guard.read(told()):
            yield reading
            while unread:
                yield unread.popleft()
        yield from unread

    def _told_or_why(self, item: Item) -> Item | Reading:
        try:
            found = self.told(item)
        except InputError as fault:
            return unreadable(item, f"image: {fault.problem}")
        return unreadable(item, f"the guard reads no {item.kind}") if found is None else found


class AskingOcrGuard(OcrGuard):
    """The same around a guard that is asked in an event loop: pictures are read in threads beside it."""

    async def readings(self, items: AsyncIterable[Item]) -> AsyncIterator[Reading]:
        """As `read`."""
        unread: deque[Reading] = deque()
        guard: Any = self.guard

        async def told() -> AsyncIterator[Item]:
            async for item in items:
                found = await asyncio.to_thread(self._told_or_why, item)
                if isinstance(found, Reading):
                    unread.append(found)
                else:
                    yield found

        async for reading in guard.readings(told()):
            yield reading
            while unread:
                yield unread.popleft()
        while unread:
            yield unread.popleft()

    def requests(self, item: Item) -> Iterator[Request]:
        """What the guard's model is asked about an item, with what is written in its pictures."""
        guard: Any = self.guard
        found = self.told(item)
        return iter(()) if found is None else guard.requests(found)


@guards.register("ocr", summary="ocr/NAME/SPEC: another guard, told what is written in pictures")
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> OcrGuard:
    """Raises InputError where no reader is here, and for a guard that cannot be opened or reads no text."""
    from ..read_pictures import OcrOptions, PictureTexts
    from ..typed_yaml import validated
    from . import open_guard

    own = {name: value for name, value in options.items() if name in OPTIONS}
    pictures = own.get("pictures", "shown")
    if pictures not in ("shown", "left-out"):
        raise InputError(f"pictures={pictures} is neither shown nor left-out")
    texts = PictureTexts(validated(OcrOptions, {k: v for k, v in own.items() if k != "pictures"}, "guard ocr"))
    guard = open_guard(model, policy, {name: value for name, value in options.items() if name not in own})
    if not guard.takes & {"text", "pair", "response"}:
        raise InputError(f"{guard.name} reads no text, so it cannot be told what is written in a picture")
    shown = pictures == "shown" and "pair" in guard.takes
    if not shown and not guard.takes & {"text", "response"}:
        raise InputError(f"{guard.name} reads no text without a picture, so pictures cannot be left out")
    kind = AskingOcrGuard if hasattr(guard, "readings") else OcrGuard
    return kind(guard, texts, shown, own)
