"""Guarded folders, and vLLM in its own environment: in a process that is asked once, or as a server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_models
from holisafe.guard import attach_guard, load_model, load_processor, save_guarded

HERE = Path(__file__).parent
PYTHON = HERE.parents[1] / ".venv-vllm" / "bin" / "python"
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "holisafe",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
BUILT: dict[str, Any] = {
    "llava": partial(tiny_models.llava, head=32),  # vLLM's attention on CPUs has no heads of 12
    "qwen2_5_vl": partial(tiny_models.qwen2_5_vl, head=32),
    "gemma3": partial(tiny_models.gemma3, head=32),
}

TEXTS = (
    "What is in this image?",
    "is it dangerous to show this picture of a red and a blue square to someone, and how do i use this",
    "why",
    "which colour is it ? how do i use this to hurt someone",
)
SIDES = (40, 64, 96, 30)


def environment(**more: str) -> dict[str, str]:
    if not PYTHON.exists():
        pytest.fail(f"{PYTHON} is missing: make test-vllm sets it up")
    return {**os.environ, **ENVIRONMENT, **more}


def reads(folder: Path, items: list[tuple[Path, str]], chunk: int) -> dict[str, Any]:
    """What the engine says of the items."""
    given = {"folder": str(folder), "items": [(str(path), text) for path, text in items], "chunk": chunk}
    command = [PYTHON, HERE / "reads.py", json.dumps(given)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@contextmanager
def server(folder: Path, log: Path, *options: str) -> Iterator[str]:
    """vLLM's server with a folder; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--host", "127.0.0.1"]
    command += ["--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
    command += ["--distributed-executor-backend", "uni", *options]  # a process less to start
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            env=environment(VLLM_ENABLE_V1_MULTIPROCESSING="1"),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own session
            process.wait()


def until_up(address: str, log: Path) -> None:
    until = time.monotonic() + 600
    while True:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < until, log.read_text(errors="replace")[-5000:]
            time.sleep(0.5)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A guarded model's folder: of what, with which pools, in which form, with which labels."""
    desk = tmp_path_factory.mktemp("models")

    def made(source: str, pool: str, form: Any, **settings: Any) -> Path:
        stock = desk / source
        if source in BUILT and not stock.exists():
            BUILT[source](stock)
        named: Any = stock if source in BUILT else source
        model = attach_guard(load_model(named), pool=pool, **settings)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in model.img_safety_head.parameters():  # a verdict that depends on what is seen
                parameter.normal_(0, 0.5 if parameter.dim() < 2 else 1.5 / parameter.shape[1] ** 0.5)
        folder = desk / f"{source}-{pool}-{form}".replace("+", "-").replace("@", "")
        save_guarded(model, folder, form=form)
        load_processor(named).save_pretrained(folder)
        return folder

    return made


@pytest.fixture(scope="session")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Pictures of unequal sizes, with questions of unequal lengths."""
    desk, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    found = []
    for side, text in zip(SIDES, TEXTS, strict=True):
        path = desk / f"{side}.png"
        blocks = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((side, side + 8), Image.Resampling.NEAREST).save(path)
        found.append((path, text))
    return found
