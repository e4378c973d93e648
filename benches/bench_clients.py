"""Calls per second of API clients in one run, each call with one of many picture files, against a server of its own.

    python benches/bench_clients.py                          # every latency and number in flight, three times
    python benches/bench_clients.py --latency 0.2 --in-flight 64 --repeats 5 --json speed.json
    python benches/bench_clients.py --memory                 # the peak of an evaluation of 4,031 pairs instead
    python benches/bench_clients.py --reopen                 # the seconds that opening such a benchmark again takes

The pictures are 400 JPEG files of about 83 KB, drawn like photographs and read by every client; nothing is encoded
beforehand. `run` is a whole evaluation, from its first call to the last response on disk; `ours` is the client that it
uses, alone; `aiohttp` reads the file and posts JSON with nothing around it; `openai` is AsyncOpenAI over its own
transport, httpx; `inspect` is Inspect AI's `Model.generate`. All do the same calls, one client after the other, over
and over, so that what else the machine does meets all of them: look at the ratios. "of ideal" compares with in-flight /
latency.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import base64
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from holisafe.benchmarks.base import Benchmark

ROOT = Path(__file__).parents[1]
FILES, SIZE, QUALITY = 400, (1024, 768), 70
"""So many pictures of these sides; at this quality a file takes about 83 KB."""

KINDS = ("SSS", "SSU", "SUU", "USU", "UUU")
QUESTION, MAX_TOKENS = "What is going on in this picture?", 64
SECONDS, MOST_CALLS = 4.0, 1500
"""How long a measurement takes at the ideal speed, and the most calls in it; at least four rounds at any latency."""


class Timing(NamedTuple):
    """Calls per second, and milliseconds of this process's processor a call."""

    speed: float
    processor: float


Client = Callable[[str, int, int], Coroutine[Any, Any, float | None]]
"""(address, calls, in flight): makes the calls; the seconds it took, where not all of its time counts."""


@cache
def _grain() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2.5, (SIZE[1], SIZE[0], 1)).round().astype(np.int16)


@cache
def pictures(count: int = FILES) -> Path:
    """A folder of JPEG files, 0.jpg and so on, drawn like photographs: soft shapes, ever finer ones, and grain."""
    folder = Path(tempfile.mkdtemp(prefix="bench-pictures-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for number in range(count):
        draw = np.random.default_rng(number)
        scales = [Image.fromarray(draw.integers(0, 256, (3 * n, 4 * n, 3), dtype=np.uint8)) for n in (1, 4, 16, 64)]
        whole = scales[0].resize(SIZE, Image.Resampling.BICUBIC)
        for scale, weight in zip(scales[1:], (0.4, 0.25, 0.15), strict=True):
            whole = Image.blend(whole, scale.resize(SIZE, Image.Resampling.BICUBIC), weight)
        grain = np.roll(_grain(), number * 7919)
        pixels = np.clip(np.asarray(whole) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=QUALITY)
    return folder


def data_url(number: int) -> str:
    data = (pictures() / f"{number % FILES}.jpg").read_bytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def payload(number: int) -> dict[str, Any]:
    content = [{"type": "image_url", "image_url": {"url": data_url(number)}}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    return {"model": "fake", "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0.0, "seed": 0}


def asked(pairs: int, images: int = FILES) -> Benchmark:
    """A benchmark of so many pairs over the pictures, as a table of the user's own."""
    from holisafe.benchmarks import open_benchmark

    table = pictures(images) / f"{pairs}.csv"
    if not table.exists():
        rows = [f"{n},{QUESTION} ({n}),{n % images}.jpg,{KINDS[n % 5]}" for n in range(pairs)]
        table.write_text("\n".join(["id,query,image,combination", *rows]) + "\n")
    return open_benchmark("table", table)


async def repeatedly(call: Callable[[int], Awaitable[object]], calls: int, in_flight: int) -> None:
    """As many workers as may be in flight, each calling until all calls are made."""
    left = iter(range(calls))

    async def work() -> None:
        for number in left:
            await call(number)

    await asyncio.gather(*(work() for _ in range(in_flight)))


async def ours(address: str, calls: int, in_flight: int) -> None:
    from holisafe.clients.pictures import EncodedPictures
    from holisafe.records import GenerationSettings, Request
    from holisafe.targets import open_target

    settings = GenerationSettings(max_new_tokens=MAX_TOKENS)
    target: Any = open_target(f"openai/fake,base_url={address},max_in_flight={in_flight}", settings)
    target.pictures = EncodedPictures()  # nothing is kept from a measurement before
    benchmark = asked(calls)

    async def requests() -> AsyncIterator[Request]:
        for sample in benchmark.samples:
            yield benchmark.request(sample, settings)

    async for response in target.respond(requests()):
        assert len(response.text) == 400, response.error


async def run(address: str, calls: int, in_flight: int) -> float:
    """The seconds from where the pictures are checked to where the last response is on disk."""
    return await asyncio.to_thread(evaluated, address, calls, in_flight)


def evaluated(address: str, calls: int, in_flight: int) -> float:
    from holisafe.clients.pictures import EncodedPictures
    from holisafe.evaluation import evaluate
    from holisafe.judges import open_judge
    from holisafe.records import GenerationSettings
    from holisafe.targets import open_target

    settings = GenerationSettings(max_new_tokens=MAX_TOKENS)
    target: Any = open_target(f"openai/fake,base_url={address},max_in_flight={in_flight}", settings)
    target.pictures = EncodedPictures()  # nothing is kept from a measurement before
    times: dict[str, float] = {}

    def progress(stage: str, done: int, total: int) -> None:
        times[stage] = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "run")
        scores = evaluate(asked(calls), target, [open_judge("string-match")], out, settings=settings, progress=progress)
    assert (scores.responses.n, scores.responses.errors) == (calls, 0)
    return times["responses"] - times["images"]


async def aiohttp(address: str, calls: int, in_flight: int) -> None:
    from aiohttp import ClientSession, TCPConnector

    async with ClientSession(connector=TCPConnector(limit=in_flight)) as session:

        async def call(number: int) -> None:
            async with session.post(f"{address}/chat/completions", json=payload(number)) as response:
                answer = await response.json()
            assert len(answer["choices"][0]["message"]["content"]) == 400

        await repeatedly(call, calls, in_flight)


async def openai(address: str, calls: int, in_flight: int) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=address, api_key="none", max_retries=0, timeout=None) as http:

        async def call(number: int) -> None:
            answer = await http.chat.completions.create(**payload(number))
            assert len(answer.choices[0].message.content or "") == 400

        await repeatedly(call, calls, in_flight)


async def inspect(address: str, calls: int, in_flight: int) -> None:
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig, get_model

    account = f"none-{time.monotonic_ns()}"  # it keeps the number in flight of an account's first call
    config = GenerateConfig(max_connections=in_flight, max_tokens=MAX_TOKENS, temperature=0.0, seed=0, max_retries=0)
    model = get_model(f"openai-api/fake/{account}", base_url=address, api_key=account, config=config, memoize=False)

    async def call(number: int) -> None:
        shown, text = ContentImage(image=data_url(number)), ContentText(text=QUESTION)
        answer = await model.generate([ChatMessageUser(content=[shown, text])])
        assert len(answer.completion) == 400

    async with model:
        await repeatedly(call, calls, in_flight)


CLIENTS: dict[str, Client] = {"run": run, "ours": ours, "aiohttp": aiohttp, "openai": openai, "inspect": inspect}
OTHERS = {"openai": "openai", "inspect": "inspect_ai"}
"""Clients of packages that need not be there: without them they are left out."""


@contextmanager
def server(latency: float) -> Iterator[str]:
    """The address of a server that answers everything after `latency` seconds."""
    command = [sys.executable, str(ROOT / "tests" / "api_server.py"), "--plain", "--delay", str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def timed(client: Client, address: str, calls: int, in_flight: int) -> Timing:
    start, processor = time.perf_counter(), time.process_time()
    took = asyncio.run(client(address, calls, in_flight)) or time.perf_counter() - start
    return Timing(calls / took, 1000 * (time.process_time() - processor) / calls)


def measure(latencies: list[float], in_flights: list[int], names: list[str], repeats: int) -> list[dict[str, Any]]:
    """One row for each latency, number in flight and client: the timings of every repeat."""
    found: dict[tuple[float, int, str], list[Timing]] = {}
    for repeat in range(repeats):
        for latency in latencies:
            with server(latency) as address:
                for name in names:
                    asyncio.run(CLIENTS[name](address, 1, 1))  # imports, and the first encoding
                for in_flight in in_flights:
                    rounds = max(4, min(round(SECONDS / latency), MOST_CALLS // in_flight))
                    for name in names:
                        timing = timed(CLIENTS[name], address, rounds * in_flight, in_flight)
                        found.setdefault((latency, in_flight, name), []).append(timing)
                        print(f"{repeat + 1}/{repeats} {latency:g} s x {in_flight} {name}", end="\r", file=sys.stderr)
    return [
        {
            "latency": latency,
            "in_flight": in_flight,
            "client": name,
            "calls_per_second": [round(timing.speed, 2) for timing in timings],
            "processor_ms_per_call": [round(timing.processor, 3) for timing in timings],
            "of_aiohttp": _ratios(timings, found.get((latency, in_flight, "aiohttp"))),
            "of_ideal": [round(timing.speed * latency / in_flight, 4) for timing in timings],
        }
        for (latency, in_flight, name), timings in sorted(found.items(), key=lambda item: item[0][:2])
    ]


def _ratios(timings: list[Timing], bare: list[Timing] | None) -> list[float] | None:
    """Repeat by repeat, for what disturbs one repeat disturbs both."""
    if not bare:
        return None
    return [round(one.speed / other.speed, 4) for one, other in zip(timings, bare, strict=True)]


def show(rows: list[dict[str, Any]]) -> None:
    """The middle of the repeats, with the least and the most in brackets."""
    print(f"{'latency':>8}{'in flight':>10}  {'client':8}{'calls/s':>9}{'of aiohttp':>23}{'of ideal':>23}{'CPU ms':>8}")
    for row in rows:
        speed, processor = (statistics.median(row[name]) for name in ("calls_per_second", "processor_ms_per_call"))
        print(
            f"{row['latency']:>6g} s{row['in_flight']:>10}  {row['client']:8}{speed:>9.1f}"
            f"{_spread(row['of_aiohttp']):>23}{_spread(row['of_ideal']):>23}{processor:>8.2f}"
        )


def _spread(values: list[float] | None) -> str:
    if values is None:
        return ""
    return f"{statistics.median(values):.1%} [{min(values):.1%}, {max(values):.1%}]"


def memory(pairs: int = 4031, images: int = 1796, in_flight: int = 64) -> dict[str, float]:
    """Megabytes of this process at most, before and after a whole evaluation with so many pairs."""
    from holisafe.evaluation import evaluate
    from holisafe.judges import open_judge
    from holisafe.records import GenerationSettings
    from holisafe.targets import open_target

    benchmark, settings = asked(pairs, images), GenerationSettings(max_new_tokens=MAX_TOKENS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with server(0.0) as address, tempfile.TemporaryDirectory() as folder:
        target = open_target(f"openai/fake,base_url={address},max_in_flight={in_flight}", settings)
        scores = evaluate(benchmark, target, [open_judge("string-match")], Path(folder, "run"), settings=settings)
    assert (scores.responses.n, scores.responses.errors) == (pairs, 0)
    return {"before_mb": before, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def reopened(pairs: int = 4031, images: int = 1796) -> list[float]:
    """Seconds to open a benchmark of so many pairs and hash its content: the first time, and twice again."""
    os.environ["XDG_CACHE_HOME"] = str(pictures(images) / "cache")
    asked(pairs, images)
    time.sleep(3)  # a file that has just changed is not kept
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        asked(pairs, images).content_hash()
        taken.append(time.perf_counter() - start)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", type=float, nargs="+", default=[0.05, 0.2, 2.0], metavar="SECONDS")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[16, 64, 256], metavar="N")
    parser.add_argument("--clients", nargs="+", choices=CLIENTS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every repeat")
    parser.add_argument("--reopen", action="store_true", help="measure opening a benchmark again instead")
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    given = parser.parse_args()
    there = [name for name in CLIENTS if name not in OTHERS or find_spec(OTHERS[name])]
    result: Any
    if given.reopen:
        result = reopened()
        print("opening 4,031 pairs over 1,796 pictures: " + ", ".join(f"{seconds:.2f} s" for seconds in result))
    elif given.memory:
        result = memory()
        print(f"peak of 4,031 pairs, 64 in flight: {result['peak_mb']:.0f} MB ({result['before_mb']:.0f} at the start)")
    else:
        size = statistics.mean(path.stat().st_size for path in pictures().glob("*.jpg")) / 1000
        print(f"{FILES} pictures of {size:.0f} KB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
        result = measure(given.latency, given.in_flight, given.clients or there, given.repeats)
        show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
