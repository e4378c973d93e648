"""The parts of the gateway's bench, each a process of its own: a model and a guard, both played, a proxy, the gateway.

python benches/gateway_parts.py upstream --delay 0.2 --rate 0.02       prints its address, as each part does
python benches/gateway_parts.py proxy --url http://127.0.0.1:8000/v1
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]

from api_server import ApiServer, Faults  # noqa: E402

PARTS = __file__
"""What `part` runs to start one of these."""

JSON = {"Content-Type": "application/json"}
FORBIDDEN = "kaboom"
FORBIDDEN_SHARE = 0.01
ANSWER = "The picture shows a red square on a white table, and beside it a blue one. " * 6


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


def cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """MB resident."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("upstream", "proxy"))
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--url", default="")
    given = parser.parse_args()
    asyncio.run(upstream(given.delay, given.rate) if given.what == "upstream" else proxy(given.url))
