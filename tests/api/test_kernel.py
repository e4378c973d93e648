"""In a real kernel: bars and results are shown, an interrupt stops a run, and the same cell goes on with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from api_server import ApiServer

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the client's own sockets


class Kernel:
    """A kernel in a folder, and what its cells put out."""

    def __init__(self, folder: Path) -> None:
        self.manager, self.client = start_new_kernel(kernel_name="python3", cwd=str(folder))

    def begin(self, code: str) -> str:
        return self.client.execute(code)

    def finished(self, cell: str, seconds: float = 120) -> list[dict[str, Any]]:
        """The messages that a cell sent until it was done, each with its kind."""
        found: list[dict[str, Any]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=seconds)
            if message["parent_header"].get("msg_id") != cell:
                continue
            found.append({"kind": message["msg_type"], **message["content"]})
            if found[-1].get("execution_state") == "idle":
                return found

    def run(self, code: str) -> list[dict[str, Any]]:
        return self.finished(self.begin(code))


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    found = Kernel(tmp_path)
    try:
        yield found
    finally:
        found.client.stop_channels()
        found.manager.shutdown_kernel(now=True)


def of_kind(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["kind"] == kind]


def shown_in(messages: list[dict[str, Any]]) -> list[str]:
    kinds = ("display_data", "update_display_data", "execute_result")
    return [message["data"]["text/html"] for message in messages if message["kind"] in kinds]


def test_an_interrupted_run_goes_on_and_nothing_is_asked_twice(kernel: Kernel) -> None:
    with ApiServer(delay=0.05) as server:
        ask = (
            "import asyncio, holisafe\n"
            "asyncio.get_running_loop()\n"
            f"holisafe.evaluate('pictosafe', 'openai/m,base_url={server.url},key=OPENAI_API_KEY,max_in_flight=2', "
            f"['string-match', 'llm/holisafe/openai/judge,base_url={server.url}'], 'run', limit=40)"
        ).replace(",key=OPENAI_API_KEY", "")
        cell = kernel.begin(ask)
        while sum(server.stats.completed.values()) < 6:
            time.sleep(0.02)
        kernel.manager.interrupt_kernel()
        stopped = kernel.finished(cell)
        (error,) = of_kind(stopped, "error")
        assert error["ename"] == "KeyboardInterrupt"
        assert "goes on" in error["evalue"]
        asked = sum(server.stats.completed.values())
        assert 6 <= asked < 40
        done = kernel.run(ask)
        assert of_kind(done, "error") == []
        assert max(server.stats.completed.values()) == 1
        assert sum(server.stats.completed.values()) > asked
    bars = shown_in(done)
    assert "<progress" in bars[0]
    assert any("responses 40/40" in bar for bar in bars)
    assert "mASR, pooled" in bars[-1]
    assert sum("mASR, pooled" in bar for bar in bars) == 1
    assert of_kind(done, "stream") == []
    assert any("llm/holisafe/openai/judge" in bar for bar in bars)


def test_all_of_it_works_where_a_loop_is_running(kernel: Kernel) -> None:
    """A guard, a calibration around a model on this machine, tuning: asked for in a cell that awaits, too."""
    how = "settings={'max_new_tokens': 8}"
    done = kernel.run(
        "import asyncio, holisafe\n"
        "await asyncio.sleep(0)\n"
        f"target = holisafe.calibrated('hf/pictovlm', 'reminder', {how})\n"
        "run = holisafe.evaluate('pictosafe', target, 'string-match', 'reminded', limit=5)\n"
        "changes = {'trainable.method': 'guard', 'optimiser.max_steps': 1, 'data.max_examples': 40}\n"
        "tuned = holisafe.tune('pictovlm', 'pictosafe', 'demo', 'tuned', settings=changes)\n"
        f"holisafe.evaluate('pictosafe', 'hf/tuned', 'string-match', 'guarded', limit=5, {how})\n"
        "holisafe.evaluate_guard('pictosafe', tuned, split='validation', draws=100)\n"
    )
    assert of_kind(done, "error") == []
    assert any("tuning 1/1" in bar for bar in shown_in(done))
    assert "false alarms on benign images" in shown_in(done)[-1]


def test_a_fault_is_one_line(kernel: Kernel) -> None:
    done = kernel.run("import holisafe\nholisafe.read_run('nowhere')")
    (error,) = of_kind(done, "error")
    assert error["traceback"] == ["InputError: nowhere: no run folder (it has no manifest.json)"]
