"""What the gateway costs, and how it bears load. Everything, as it stands in docs/serve.md, in about half an hour:

    python benches/bench_gateway.py

    python benches/bench_gateway.py overhead --rounds 5     against a bare aiohttp proxy to the same upstream (200 ms)
    python benches/bench_gateway.py load --minutes 10       100 requests a second, 2 % of the upstream's attempts fail
    python benches/bench_gateway.py kill --minutes 1        the same, with kill -9 in the middle

Each part is a process of its own. `overhead` takes turns: the same number of calls directly, through the proxy, through
the gateway without a guard, and with one; ratios are paired by round, and CPU time is the part's own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import time
from contextlib import ExitStack
from typing import NamedTuple

import aiohttp

from gateway_load import load
from gateway_parts import JSON, PARTS, ROOT, body, cpu, gateway, guarding, part, picture


class Round(NamedTuple):
    """Calls a second, ms of a call (median), ms of CPU time a call."""

    rate: float
    median: float
    cpu: float


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


def overhead(rounds: int, calls: int, in_flight: int, with_picture: bool) -> None:
    shown = picture() if with_picture else None
    with ExitStack() as stack:
        plain, _ = part(stack, str(ROOT / "tests/api_server.py"), "--delay", "0.2", "--plain")
        reader, _ = part(stack, PARTS, "upstream", "--delay", "0.02")
        places = {
            "no part between": (plain, os.getpid()),
            "a bare aiohttp proxy": part(stack, PARTS, "proxy", "--url", plain),
            "the gateway": gateway(stack, plain),
            "with a guard of 20 ms, asked twice a call": gateway(stack, plain, *guarding(reader)),
        }
        for url, _ in places.values():
            asyncio.run(timed(url, in_flight, in_flight, shown))
        found: dict[str, list[Round]] = {name: [] for name in places}
        alone: dict[str, list[float]] = {name: [] for name in places}
        for number in range(rounds):
            for name in random.Random(number).sample(list(places), len(places)):
                url, pid = places[name]
                before = cpu(pid)
                rate, seconds = asyncio.run(timed(url, calls, in_flight, shown))
                used = (cpu(pid) - before) / calls * 1000
                found[name].append(Round(rate, statistics.median(seconds) * 1000, used))
                alone[name].append(statistics.median(asyncio.run(timed(url, 20, 1, shown))[1]) * 1000)
    base = found["a bare aiohttp proxy"]
    with_what = "a JPEG of 30 KB and a text" if with_picture else "text alone"
    print(f"\n{with_what}, an upstream of 200 ms, {rounds} rounds of {calls} calls, load {os.getloadavg()[0]:.1f}:\n")
    print(f"| | CPU a call | median, 1 in flight | median, {in_flight} in flight | calls a second | beside the proxy |")
    print("|---|---|---|---|---|---|")
    for name, rows in found.items():
        rate, median, used = (statistics.median(column) for column in zip(*rows, strict=True))
        against = sorted(row.rate / other.rate for row, other in zip(rows, base, strict=True))
        more = sorted(row.median - other.median for row, other in zip(rows, base, strict=True))
        beside = (
            f"x{statistics.median(against):.2f} [{against[0]:.2f}, {against[-1]:.2f}], "
            f"{statistics.median(more):+.0f} ms [{more[0]:+.0f}, {more[-1]:+.0f}]"
        )
        single = statistics.median(alone[name])
        print(f"| {name} | {used:.2f} ms | {single:.0f} ms | {median:.0f} ms | {rate:.0f} | {beside} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="all", choices=("all", "overhead", "load", "kill"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000, help="in a round")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--picture", action="store_true", help="every call with a JPEG of 30 KB")
    parser.add_argument("--minutes", type=float, help="10 of `load`, 1 of `kill`")
    parser.add_argument("--per-second", type=float, default=100)
    given = parser.parse_args()
    if given.what in ("all", "overhead"):
        overhead(given.rounds, given.calls, given.in_flight, given.picture)
    if given.what in ("all", "load"):
        load(given.minutes or 10, given.per_second, kill=False)
    if given.what in ("all", "kill"):
        load(given.minutes or 1, given.per_second, kill=True)


if __name__ == "__main__":
    main()
