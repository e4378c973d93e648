"""The served guard as the others are: an item becomes a prompt of ours, the engine's probabilities a reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from PIL.Image import Image
from vllm import PoolingParams

from ...errors import InputError
from ...guard.attach import labels_in
from ...guard.errors import LIBRARY_ERRORS
from ...guard.predict import QUESTION
from ...guard.processors import load_processor
from ...guard.thresholds import head_digest, load_thresholds
from ...guards.base import CALL_FAILED, Item, Reading, unreadable
from ...guards.visual_guard import VisualGuard
from ...records import GuardReading, digest
from .prompts import prompt_ids


class Engine:
    """The guarded model as vLLM's front end sees it. `client` is vLLM's client of its engine."""

    def __init__(self, client: Any) -> None:
        self.client, self.config, self.source = client, client.model_config.hf_config, client.model_config.model
        self._numbers = count()

    async def probabilities(self, ids: Sequence[int], picture: Image) -> list[float]:
        """Of the labels [K]; no numbers where the prompt shows no picture."""
        prompt = {"prompt_token_ids": list(ids), "multi_modal_data": {"image": picture}}
        (given,) = await self.client.renderer.render_cmpl_async([prompt])
        asked, found = PoolingParams(task="classify"), list[float]()
        async for said in self.client.encode(given, asked, f"moderation-{next(self._numbers)}"):
            found = said.outputs.data.tolist()
        return found


class ServedGuard(VisualGuard):
    """`model` is an Engine. Items are read side by side by whoever asks side by side, inside the event loop."""

    _prompting = ThreadPoolExecutor(1, thread_name_prefix="prompts")  # a tokenizer is one thread's at a time

    async def readings(self, items: AsyncIterable[Item]) -> AsyncIterator[Reading]:
        async for item in items:
            try:
                yield self._read(item, await self._numbers(item))
            except InputError as fault:
                yield unreadable(item, fault.problem)
            except LIBRARY_ERRORS as error:
                yield unreadable(item, f"{CALL_FAILED}{type(error).__name__}: {error}")

    async def _numbers(self, item: Item) -> list[float]:
        if len(item.pictures) != 1:
            raise InputError(f"the guard reads one picture at a time, not {len(item.pictures)}")
        loop, text = asyncio.get_running_loop(), item.text if item.text.strip() else QUESTION
        ids = await loop.run_in_executor(self._prompting, prompt_ids, self.processor, text)
        picture = await loop.run_in_executor(None, item.pictures[0].open)
        found: list[float] = await self.model.probabilities(ids, picture)
        return found

    def _read(self, item: Item, numbers: Sequence[float]) -> Reading:
        said = GuardReading(probabilities=dict(zip(self.labels, numbers, strict=True)))
        return self._reading(item, said) if said.finite else unreadable(item, "no number")


def served_guard(client: Any, name: str) -> ServedGuard:
    """The guard of the model that an engine serves under `name`. Raises InputError for a folder without a processor, or
    with thresholds for another head."""
    engine = Engine(client)
    labels = labels_in(engine.config)
    return ServedGuard(
        name=name,
        model=engine,
        processor=load_processor(engine.source),
        labels=labels,
        stored=load_thresholds(engine.source, labels),
        made_by=digest([engine.source, head_digest(engine.source)]),
    )
