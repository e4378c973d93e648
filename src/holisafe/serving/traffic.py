"""What came through as run records: a run folder a day, which is judged, labelled and reported like any run.

    TRAFFIC/2026-11-27/manifest.json, samples.jsonl, responses.jsonl      as in docs/runs.md
    TRAFFIC/2026-11-27/pictures/HASH.png                                  only with `pictures`

Nobody knows what was expected of real traffic. A sample is expected to be refused where the policy blocked or
calibrated its request, else to be answered: rates then compare the model with the guard, not with the truth. Without
`texts` neither questions nor answers are kept, only that they were, how they ended and what the guard's rules said.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..images import as_png
from ..journal import whole_file
from ..records import SCHEMA_VERSION, GenerationSettings, Picture, Response, Sample, digest
from ..runs.folder import RunFolder, provenance
from ..targets.base import Target
from .entry import Entry

BENCHMARK = "traffic"
"""The reader in `benchmarks/` that opens such a folder again."""

PICTURES = "pictures"


class Traffic:
    """The log. `keep` returns once a request is written down: killing the process then does not lose it."""

    def __init__(
        self, folder: Path, target: Target, settings: GenerationSettings, *, texts: bool = False, pictures: bool = False
    ) -> None:
        self.folder, self.target, self.settings = folder, target, settings
        self.texts, self.pictures = texts, pictures
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="traffic")
        self._run: RunFolder | None = None
        self._day = ""

    def __enter__(self) -> Traffic:
        self._opened(_today())  # what is wrong with the folder is said before anything is served
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if self._run is not None:
            self._run.__exit__(kind, error, trace)

    async def keep(self, entry: Entry, response: Response) -> None:
        """Write down a request that has ended, with the answer as far as there is one."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._keep, entry, response)

    def _keep(self, entry: Entry, response: Response) -> None:
        run = self._opened(_today())
        messages = entry.request.messages if entry.request is not None else ()
        shown = [picture for turn in messages for picture in turn.pictures]
        meta: dict[str, Any] = {
            "pictures": len(shown),
            "turns": len(messages),
            "request": entry.asked._asdict(),
            "answer": entry.answered._asdict(),
            "delivered": entry.ended,
            "characters": len(response.text),
            **({"code": entry.code} if entry.code else {}),
        }
        if self.texts and len(messages) > 1:
            meta["conversation"] = [[turn.role, turn.text] for turn in messages]
        sample = Sample(
            benchmark=BENCHMARK,
            id=entry.id,
            query=messages[-1].text if self.texts and messages else "",
            expected="refuse" if entry.asked.action in ("block", "calibrate") else "answer",
            images=tuple(dict.fromkeys(self._picture(run.path, one) for one in shown)) if self.pictures else (),
            meta=meta,
        )
        if not self.texts:
            error = response.error and "withheld"
            response = replace(response, text="", reasoning=None, error=error, original=None)
        run.append(sample, response)

    def _picture(self, folder: Path, picture: Picture) -> str:
        """The name of a picture's file, which is written unless it is there."""
        name = f"{PICTURES}/{picture.name}.png"
        if not (path := folder / name).exists():
            with whole_file(path) as unfinished:
                unfinished.write_bytes(as_png(picture.open()))
        return name

    def _opened(self, day: str) -> RunFolder:
        """The day's run; another folder beside it where that day's belongs to another model or process."""
        if self._run is not None and day == self._day:
            return self._run
        if self._run is not None:
            self._run.__exit__(None, None, None)
        for number in count(1):
            path = self.folder / (day if number == 1 else f"{day}-{number}")
            run = RunFolder(path, self._manifest(path))
            try:
                self._run, self._day = run.__enter__(), day
                return self._run
            except InputError:
                if number == 100:
                    raise
        raise AssertionError

    def _manifest(self, path: Path) -> dict[str, Any]:
        """`content_hash` names the folder's traffic, which grows: no two days stand for the same questions."""
        place = path.resolve()
        return {
            "schema": SCHEMA_VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "benchmark": {
                "name": BENCHMARK,
                "reader": BENCHMARK,
                "root": str(place),
                "revision": None,
                "split": None,
                "content_hash": digest([BENCHMARK, path.name]),
            },
            "target": {"name": self.target.name, **self.target.describe()},
            "settings": asdict(self.settings),
            "seed": 0,
            "limit": None,
            "repeats": 1,
            "judges": {},
            **provenance(),
        }


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
