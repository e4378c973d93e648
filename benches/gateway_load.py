"""The gateway under load: what came back of every call, what was logged of it, and what memory it took."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway_parts import FORBIDDEN, JSON, PARTS, body, cpu, gateway, guarding, memory, part, picture


@dataclass
class Seen:
    """What clients saw: how many calls ended how, and the names of answers and refusals."""

    ends: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)
    unchecked: int = 0


@dataclass
class Place:
    """Where the gateway is now."""

    url: str
    pid: int


async def call(http: aiohttp.ClientSession, place: Place, number: int, shown: str, seen: Seen) -> None:
    """A fifth with a picture, a quarter streamed."""
    content = body(number, shown if number % 5 == 0 else None, number % 4 == 0)
    try:
        async with http.post(f"{place.url}/chat/completions", data=content, headers=JSON) as reply:
            raw = await reply.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        seen.ends[f"without an answer: {type(error).__name__}"] += 1
        return
    parts = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")] or [json.loads(raw)]
    choices = [choice for one in parts for choice in one.get("choices", ())]
    said = "".join((choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices)
    seen.unchecked += FORBIDDEN in said
    faults = [one["error"]["code"] for one in parts if "error" in one]
    if faults:
        seen.ends[f"{reply.status} {faults[0]}" + (" within a stream" if reply.status == 200 else "")] += 1
        return
    seen.ends["refused" if any(one["finish_reason"] == "content_filter" for one in choices) else "answered"] += 1
    seen.names.add(parts[0]["id"])


async def loaded(place: Place, rate: float, seconds: float, at_half: Any) -> Seen:
    """Calls begin whether earlier ones are done or not. Prints memory by the minute."""
    seen, shown, late, halved = Seen(), picture(), 0.0, False
    timeout = aiohttp.ClientTimeout(total=180)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        began, tasks, minute = time.monotonic(), set[asyncio.Task[None]](), 0
        print("\n| after | resident | calls in flight |\n|---|---|---|")
        for number in range(int(rate * seconds)):
            pause = began + number / rate - time.monotonic()
            late = max(late, -pause)
            if pause > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(call(http, place, number, shown, seen))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if at_half is not None and not halved and number > rate * seconds / 2:
                halved = True
                await asyncio.to_thread(at_half)
            if (time.monotonic() - began) // 60 >= minute:
                print(f"| {minute} min | {memory(place.pid):.0f} MB | {len(tasks)} |", flush=True)
                minute += 1
        await asyncio.gather(*tasks)
    print(f"| the end | {memory(place.pid):.0f} MB | 0 |\n\nthe last call began {late * 1000:.0f} ms late at most")
    return seen


def load(minutes: float, rate: float, kill: bool) -> None:
    """`kill`: kill -9 at half of the time, and another gateway on the same log at once."""
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        url, _ = part(stack, PARTS, "upstream", "--delay", "0.2", "--rate", "0.02")
        reader, _ = part(stack, PARTS, "upstream", "--delay", "0.02", "--rate", "0.02")

        def start() -> Place:
            return Place(*gateway(stack, url, *guarding(reader), "--log", str(log), "--log-texts"))

        place = start()
        before = cpu(place.pid)

        def again() -> None:
            os.kill(place.pid, signal.SIGKILL)
            other = start()
            place.url, place.pid = other.url, other.pid

        seen = asyncio.run(loaded(place, rate, minutes * 60, again if kill else None))
        calls = int(rate * minutes * 60)
        if not kill:
            print(f"{(cpu(place.pid) - before) / calls * 1000:.1f} ms CPU a call")
        told(seen, calls, log, kill)


def told(seen: Seen, calls: int, log: Path, kill: bool) -> None:
    """Compare what clients saw with what the log holds."""
    (run,) = log.iterdir()
    files = {name: (run / f"{name}.jsonl").read_bytes() for name in ("samples", "responses")}
    rows = {name: [json.loads(line) for line in content.splitlines()] for name, content in files.items()}
    names = [row["sample_id"] for row in rows["responses"]]
    ends = Counter(row["meta"]["delivered"] for row in rows["samples"])
    passed = {row["id"] for row in rows["samples"] if row["meta"]["delivered"] == "answer"}
    said = {row["sample_id"]: row.get("text", "") for row in rows["responses"]}
    facts = {
        "calls that came to an end": f"{sum(seen.ends.values())} of {calls}",
        "how": ", ".join(f"{count} {how}" for how, count in seen.ends.most_common()),
        "rows in the log": f"{len(names)}, {len(set(names))} different, {len(rows['samples'])} samples",
        "how they ended": ", ".join(f"{count} {how}" for how, count in ends.most_common()),
        "answers and refusals without a row": len(seen.names - set(names)),
        "rows without an end that a client saw": "some were cut off" if kill else len(names) - sum(seen.ends.values()),
        "torn lines": sum(not content.endswith(b"\n") for content in files.values()),
        "answers delivered that the guard flags": seen.unchecked + sum(FORBIDDEN in said[name] for name in passed),
    }
    print("\n| | |\n|---|---|")
    for what, found in facts.items():
        print(f"| {what} | {found} |", flush=True)
