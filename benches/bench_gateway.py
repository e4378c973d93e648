"""What the gateway costs, and how it bears load.

    python benches/bench_gateway.py overhead --rounds 5     against a bare aiohttp proxy to the same upstream (200 ms)
    python benches/bench_gateway.py load --minutes 10       100 requests a second, 2 % of the upstream's attempts fail

Each part is a process of its own. `overhead` takes turns: the same number of calls directly, through the proxy, through
the gateway without a guard, and with one; ratios are paired by round. `load` has a guard, a log and answers that must
not be delivered; it tells what came back, what was logged, and the gateway's memory by the minute.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from api_server import ApiServer, Faults  # noqa: E402

JSON = {"Content-Type": "application/json"}
FORBIDDEN = "kaboom"
FORBIDDEN_SHARE = 0.01
ANSWER = "The picture shows a red square on a white table, and beside it a blue one. " * 6


# The parts, each in its own process ---------------------------------------------------------------------------------


async def upstream(delay: float, rate: float) -> None:
    """A model and a guard in one server; of its answers every hundredth must not be delivered."""

    def answer(body: dict[str, Any], content: str) -> dict[str, Any]:
        if body["model"] == "guard":
            said = "unsafe\nS1" if FORBIDDEN in json.dumps(body["messages"][-1]) else "safe"
        else:
            said = ANSWER + (FORBIDDEN if int(content, 16) % int(1 / FORBIDDEN_SHARE) == 0 else "")
        return {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}

    kinds = ("429", "500", "503", "reset", "truncated", "cut", "content-type")
    server = ApiServer(Faults(rate=rate, kinds=kinds, seed=1), delay=delay, answer=answer)
    server.stats.arrivals = server.stats.throttled = _Forgetful()  # it runs for minutes
    await server.start()
    print(server.url, flush=True)
    while True:
        await asyncio.sleep(5)
        server.stats.attempts.clear()
        server.stats.completed.clear()


class _Forgetful(list[float]):
    def append(self, value: float) -> None:
        """Nothing is kept."""


async def proxy(url: str) -> None:
    """As little as a proxy can do: the body there, the body back."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def forward(request: web.Request) -> web.Response:
            content = await request.read()
            async with http.post(f"{url}/chat/completions", data=content, headers=JSON) as there:
                return web.Response(body=await there.read(), status=there.status, headers=JSON)

        app = web.Application(client_max_size=2**28)
        app.router.add_post("/v1/chat/completions", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        print(f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1", flush=True)  # type: ignore[union-attr]
        await asyncio.Event().wait()


def part(stack: ExitStack, *command: str) -> tuple[str, int]:
    """Start a part; its address and process id."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=env)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    assert process.stdout is not None
    return process.stdout.readline().split()[-1], process.pid


def gateway(stack: ExitStack, url: str, *more: str) -> tuple[str, int]:
    target = f"openai/model,base_url={url},max_in_flight=256,timeout=10"
    return part(stack, "-m", "holisafe", "serve", "--port", "0", "--target", target, *more)


def guarding(url: str) -> tuple[str, str]:
    return "--guard", f"llama-guard/openai/guard,base_url={url},max_in_flight=256,timeout=10"


# Asking ----------------------------------------------------------------------------------------------------------


def picture() -> str:
    from PIL import Image

    noise = Image.frombytes("RGB", (256, 256), random.Random(0).randbytes(256 * 256 * 3))
    buffer = io.BytesIO()
    noise.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def body(number: int, url: str | None = None, stream: bool = False) -> bytes:
    text = f"What does the picture show? ({number})"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    messages = [{"role": "user", "content": parts if url else text}]
    return json.dumps({"model": "model", "messages": messages, "stream": stream, "max_tokens": 256}).encode()


async def timed(url: str, calls: int, in_flight: int, shown: str | None) -> tuple[float, list[float]]:
    """Calls a second, and each call's seconds."""
    seconds: list[float] = []
    numbers = iter(range(calls))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def worker() -> None:
            for number in numbers:
                began = time.perf_counter()
                async with http.post(f"{url}/chat/completions", data=body(number, shown), headers=JSON) as reply:
                    await reply.read()
                    assert reply.status == 200, await reply.text()
                seconds.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(in_flight)))
        return calls / (time.perf_counter() - began), seconds


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MB resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def overhead(rounds: int, calls: int, in_flight: int, with_picture: bool) -> None:
    shown = picture() if with_picture else None
    with ExitStack() as stack:
        plain, _ = part(stack, str(ROOT / "tests/api_server.py"), "--delay", "0.2", "--plain")
        reader, _ = part(stack, __file__, "upstream", "--delay", "0.02")
        places = {
            "direct": (plain, os.getpid()),
            "proxy": part(stack, __file__, "proxy", "--url", plain),
            "gateway": gateway(stack, plain),
            "guarded": gateway(stack, plain, *guarding(reader)),
        }
        for url, _ in places.values():
            asyncio.run(timed(url, in_flight, in_flight, shown))
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in places}
        for number in range(rounds):
            for name in random.Random(number).sample(list(places), len(places)):
                url, pid = places[name]
                before = cpu(pid)
                rate, seconds = asyncio.run(timed(url, calls, in_flight, shown))
                found[name].append((rate, statistics.median(seconds) * 1000, (cpu(pid) - before) / calls * 1000))
        print(f"{calls} calls a round, {rounds} rounds, {in_flight} in flight, load {os.getloadavg()[0]:.1f}")
        for name, rows in found.items():
            rate, median, used = (statistics.median(column) for column in zip(*rows, strict=True))
            against = [row[0] / base[0] for row, base in zip(rows, found["proxy"], strict=True)]
            more = [row[1] - base[1] for row, base in zip(rows, found["proxy"], strict=True)]
            print(
                f"{name:8} {rate:6.1f}/s, median {median:6.1f} ms, {used:5.2f} ms CPU a call; against the proxy: rate "
                f"x{statistics.median(against):.3f} [{min(against):.3f}, {max(against):.3f}], median "
                f"{statistics.median(more):+.1f} ms [{min(more):+.1f}, {max(more):+.1f}]"
            )


async def loaded(url: str, rate: float, seconds: float, pid: int) -> Counter[str]:
    """What came back of calls that begin whether earlier ones are done or not; a quarter of them streams."""
    found: Counter[str] = Counter()
    shown = picture()
    late = 0.0

    async def one(http: aiohttp.ClientSession, number: int) -> None:
        content = body(number, shown if number % 5 == 0 else None, number % 4 == 0)
        try:
            async with http.post(f"{url}/chat/completions", data=content, headers=JSON) as reply:
                text = await reply.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            found[f"lost: {type(error).__name__}"] += 1
            return
        if FORBIDDEN in text:
            found["DELIVERED UNCHECKED"] += 1
        if reply.status != 200:
            found[f"{reply.status} {text[-80:]}"] += 1
        elif "content_filter" in text:
            found["refused"] += 1
        elif '"error"' in text:
            found["stream broken off"] += 1
        else:
            found["answered"] += 1

    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        began, tasks, minute = time.monotonic(), set[asyncio.Task[None]](), 0
        for number in range(int(rate * seconds)):
            pause = began + number / rate - time.monotonic()
            late = max(late, -pause)
            if pause > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(one(http, number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if (time.monotonic() - began) // 15 >= minute:
                print(f"{minute * 15:4} s: {memory(pid):6.1f} MB, {len(tasks)} in flight", flush=True)
                minute += 1
        await asyncio.gather(*tasks)
    print(f"the last call began {late * 1000:.0f} ms late at most")
    return found


def load(minutes: float, rate: float) -> None:
    with ExitStack() as stack:
        log = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "log"
        url, _ = part(stack, __file__, "upstream", "--delay", "0.2", "--rate", "0.02")
        served, pid = gateway(stack, url, *guarding(url), "--log", str(log))
        before = cpu(pid)
        found = asyncio.run(loaded(served, rate, minutes * 60, pid))
        print(f"at the end {memory(pid):.1f} MB, {(cpu(pid) - before) / sum(found.values()) * 1000:.1f} ms CPU a call")
        print(f"{sum(found.values())} of {int(rate * minutes * 60)} calls came to an end: {dict(found)}")
        (run,) = log.iterdir()
        lines = [json.loads(line) for line in (run / "responses.jsonl").read_text().splitlines()]
        wanted = found["answered"] + found["refused"]
        print(
            f"{len(lines)} in the log, {len({line['sample_id'] for line in lines})} different; {wanted} were delivered"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("overhead", "load", "upstream", "proxy"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--picture", action="store_true", help="every call with a JPEG of 30 KB")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--per-second", type=float, default=100)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    if given.what == "overhead":
        overhead(given.rounds, given.calls, given.in_flight, given.picture)
    elif given.what == "load":
        load(given.minutes, given.per_second)
    else:
        asyncio.run(upstream(given.delay, given.rate) if given.what == "upstream" else proxy(given.url))


if __name__ == "__main__":
    main()
