"""Who tells `guarded` how harmful a request is: a guarded model of ours, by its logits, or any guard that gives scores.

reader=hf/FOLDER    reader=qguard/openai/MODEL    reader=ocr/moderation/MODEL
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from typing_extensions import TypedDict

from ..errors import InputError
from ..guards import open_guard
from ..guards.base import Guard, Item, Reading, call_failed, fitted, unreadable
from ..journal import Journal, typed_json
from ..records import Count, GenerationSettings, Message, Request, digest
from ..registry import guards
from ..targets import open_target
from ..targets.base import Target
from .base import local_model

if TYPE_CHECKING:
    from ..targets.huggingface import HuggingFaceTarget

SURE = 1e-6
"""A score is held so far from 0 and 1, so that its log-odds are numbers."""


class Harm(NamedTuple):
    """log(P(unsafe) / P(safe)) of a request; None where it could not be read, `failed` tells where the call failed."""

    odds: float | None
    failed: str | None = None
    usage: Mapping[str, Count] = {}
    cost: float | None = None


class HarmReader(Protocol):
    """`fingerprint` changes whenever its readings can."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def read(self, requests: Sequence[Request]) -> list[Harm]:
        """One each, in their order."""
        ...


OPTION = "reader."


def own_options(told: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Options as given -> the method's, and the reader's, which are written reader.NAME=VALUE."""
    own = {name.removeprefix(OPTION): value for name, value in told.items() if name.startswith(OPTION)}
    return {name: value for name, value in told.items() if not name.startswith(OPTION)}, own


def harm_reader(target: Target, spec: str | None, options: Mapping[str, str], method: str) -> HarmReader:
    """The reader of that spec with `options`, without a spec the target's own guard. Raises InputError where it cannot
    be opened, and for a model without a guard."""
    if options and spec is None:
        raise InputError(f"{OPTION}{next(iter(options))} is for a reader: give reader=SPEC")
    if spec is not None:
        spec = ",".join([spec, *(f"{name}={value}" for name, value in options.items())])
    if spec is not None and spec.partition("/")[0] in guards.entries():
        return GuardReader(open_guard(spec))
    found = local_model(open_target(spec, GenerationSettings()) if spec else target, method)
    if found.labels is None:
        raise InputError(f"{found.name} has no guard: tune one with trainable.method=guard, and give reader= to fit")
    return ModelReader(found)


class ModelReader:
    """A guarded model on this machine: one prefill a batch."""

    def __init__(self, model: HuggingFaceTarget) -> None:
        self.model, self.name = model, model.name

    @property
    def fingerprint(self) -> str:
        return str(self.model.describe()["fingerprint"])

    def read(self, requests: Sequence[Request]) -> list[Harm]:
        from .activation.features import unsafe_log_odds

        return [Harm(odds) for odds in unsafe_log_odds(self.model, requests)]


class _Line(TypedDict):
    asked: str
    reading: Reading


class GuardReader:
    """A guard behind the guards' interface, by its score as a probability. Within `keeping` nothing is read twice."""

    def __init__(self, guard: Guard) -> None:
        self.guard, self.name, self.fingerprint = guard, guard.name, guard.version
        self._journal: Journal | None = None
        self._kept: dict[str, Reading] = {}

    @contextmanager
    def keeping(self, folder: Path) -> Iterator[None]:
        """Readings stand in `folder`, one a line."""
        with Journal(folder / f"harm-readings-{digest([self.name, self.fingerprint])}.jsonl") as self._journal:
            for number, text in self._journal.lines():
                line = typed_json(_Line, text)
                if line is None:
                    raise InputError("no reading of a guard", where=self._journal.path, row=number)
                self._kept[line["asked"]] = line["reading"]
            yield
        self._journal, self._kept = None, {}

    def read(self, requests: Sequence[Request]) -> list[Harm]:
        """Raises InputError where the guard gives verdicts and no scores."""
        keys = [digest([one.sample_id, one.repeat]) for one in requests]
        found = {place: self._kept[key] for place, key in enumerate(keys) if key in self._kept}
        items = [item_of_request(one, str(place)) for place, one in enumerate(requests) if place not in found]
        seen = {item.id: fitted(item, self.guard.takes) for item in items}
        for reading in self.guard.read(item for item in seen.values() if item is not None):
            place = int(reading.item_id)
            found[place] = reading
            if self._journal is not None and not call_failed(reading):
                line = {"asked": keys[place], "reading": dataclasses.asdict(reading)}
                self._journal.append(json.dumps(line, ensure_ascii=False))
        unread = {int(item.id): unreadable(item, "nothing of it") for item in items if seen[item.id] is None}
        return [self._harm(reading) for _, reading in sorted({**found, **unread}.items())]

    def _harm(self, reading: Reading) -> Harm:
        spent: dict[str, Any] = {"usage": reading.usage, "cost": reading.cost}
        if reading.unsafe is None:
            return Harm(None, reading.invalid if call_failed(reading) else None, **spent)
        if reading.score is None:
            raise InputError("gives verdicts and no scores: nothing tells how sure it is", where=self.name)
        chance = min(max(reading.score, SURE), 1 - SURE)
        return Harm(math.log(chance) - math.log1p(-chance), **spent)


def item_of_request(request: Request, name: str) -> Item:
    """What a guard reads of a request: its conversation, what a system prompt says before the user's first turn."""
    system = [turn.text for turn in request.messages if turn.role == "system"]
    said = [turn for turn in request.messages if turn.role != "system"]
    if system:
        first = next(place for place, turn in enumerate(said) if turn.role == "user")
        text = "\n\n".join([*system, said[first].text])
        said[first] = Message("user", text, said[first].pictures)
    return Item(id=name, pictures=said[-1].pictures, text=said[-1].text, earlier=tuple(said[:-1]))
