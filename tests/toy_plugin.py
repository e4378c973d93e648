"""A toy benchmark, target and judge, as another package would bring them.

`toy/NAME,log=FILE,delay=SECONDS,at_once=N,fail=ID+ID` answers each sample in its own way, always the same, and
writes a line to FILE when a call starts and when it ends. NAME changes what it describes itself as. The judge
`toy:FILE` takes five milliseconds a verdict and writes such lines too.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from holisafe.benchmarks.base import Benchmark
from holisafe.judges.base import Judged
from holisafe.records import GenerationSettings, GuardReading, Request, Response, Sample, Verdict, digest
from holisafe.registry import benchmarks, judges, targets
from holisafe.targets.base import Capabilities
from holisafe.taxonomy import CATEGORY_OF, COMBINATIONS, IMAGE_LABELS

REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "Sure, here is how it works."


def samples(pairs: int = 60, questions: int = 6) -> tuple[Sample, ...]:
    """Pairs of every combination and label, then questions with a reference, then two of another split."""
    made = []
    for number in range(pairs):
        combination = list(COMBINATIONS)[number % 5]
        label = IMAGE_LABELS[1 + number % 19]
        made.append(
            Sample(
                benchmark="toy",
                id=f"pair-{number}",
                query=f"Query {number}?",
                expected=COMBINATIONS[combination],
                images=(f"{number // 2}",),
                combination=combination,
                category=CATEGORY_OF[label],
                subcategory=label,
                image_label=label if combination[0] == "U" else "safe",
                cluster=f"{number // 2}",
            )
        )
    for number in range(questions):
        task = ("name", "count")[number % 2]
        made.append(
            Sample(
                benchmark="toy",
                id=f"question-{number}",
                query="What is it?",
                expected="answer",
                images=(f"{number}",),
                reference="tree",
                meta={"task": task},
            )
        )
    other = (Sample(benchmark="toy", id=f"train-{n}", query="?", expected="answer", split="train") for n in range(2))
    return (*made, *other)


LABEL_OF = {sample.id: sample.image_label for sample in samples()}


def open_image(name: str) -> Image.Image:
    return Image.new("RGB", (4, 4), (int(name), 0, 0))


@benchmarks.register("toy", size="66", licence="none")
def load_benchmark(root: Path | None) -> Benchmark:
    return Benchmark("toy", samples(), open_image)


def answer(sample_id: str) -> str:
    """What the toy says: to a quarter of the questions the right thing, to pairs a refusal or an answer."""
    number = int(digest(sample_id), 16)
    if sample_id.startswith("question"):
        return "tree" if number % 4 else "stone"
    return "" if number % 17 == 0 else REFUSAL if number % 3 else ANSWER


def note(log: Path | None, event: str, sample_id: str) -> None:
    if log is not None:
        with log.open("ab", buffering=0) as file:
            file.write(f"{event} {sample_id} {os.getpid()}\n".encode())


@dataclass
class ToyTarget:
    name: str
    log: Path | None = None
    delay: float = 0.0
    at_once: int = 4
    fail: frozenset[str] = frozenset()
    capabilities: Capabilities = field(default_factory=lambda: Capabilities(guard=True))

    def describe(self) -> dict[str, Any]:
        return {"kind": "toy", "weights": digest(self.name)}

    async def call(self, request: Request) -> Response:
        note(self.log, "start", request.sample_id)
        for message in request.messages:
            for picture in message.pictures:
                picture.open()
        await asyncio.sleep(self.delay * (1 + int(digest(request.sample_id), 16) % 3))
        note(self.log, "end", request.sample_id)
        if request.sample_id in self.fail:
            return Response(sample_id=request.sample_id, target=self.name, text="", finish="error", error="no luck")
        number = int(digest([request.sample_id, "guard"]), 16)
        label = IMAGE_LABELS[number % 20] if number % 3 else LABEL_OF.get(request.sample_id) or "safe"
        probabilities = {name: 0.81 if name == label else 0.01 for name in IMAGE_LABELS}
        return Response(
            sample_id=request.sample_id,
            target=self.name,
            text=answer(request.sample_id),
            guard=GuardReading(probabilities=probabilities),
            latency_seconds=self.delay,
        )

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        running: set[asyncio.Task[Response]] = set()
        async for request in requests:
            running.add(asyncio.create_task(self.call(request)))
            if len(running) >= self.at_once:
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        for finished in asyncio.as_completed(running):
            yield await finished


@targets.register("toy")
def load_target(name: str, options: dict[str, str], settings: GenerationSettings) -> ToyTarget:
    return ToyTarget(
        name=f"toy/{name}",
        log=Path(options["log"]) if "log" in options else None,
        delay=float(options.get("delay", 0)),
        at_once=int(options.get("at_once", 4)),
        fail=frozenset(filter(None, options.get("fail", "").split("+"))),
    )


@dataclass
class ToyJudge:
    log: Path | None
    name: str = "toy"
    version: str = "1"

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        for sample, response, _ in items:
            note(self.log, "start", sample.id)
            time.sleep(0.005)
            label = "refused" if response.text == REFUSAL else "answered"
            note(self.log, "end", sample.id)
            yield Verdict(
                sample_id=sample.id,
                response_hash=response.hash,
                judge=self.name,
                judge_version=self.version,
                label=label,
            )


@judges.register("toy")
def load_judge(option: str | None) -> ToyJudge:
    return ToyJudge(Path(option) if option else None)


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process in which this plug-in is installed, its entry points in `folder`."""
    info = folder / "toy-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    kinds = ("benchmarks", "targets", "judges")
    (info / "entry_points.txt").write_text("".join(f"[holisafe.{kind}]\ntoy = toy_plugin\n" for kind in kinds))
    path = [str(folder), str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "COLUMNS": "120"}
