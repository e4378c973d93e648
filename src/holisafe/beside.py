"""Work that other processes do beside this one, batch by batch, in the order that it came.

For a function of texts alone: over very many of them, or one that has to be bounded from outside. The processes are
Python's own, without what this one has open; they end with it, and leave Ctrl-C to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Any, TypeVar

Batch = TypeVar("Batch")

MOST = 8


def processes() -> int:
    """How many run beside this one: one for every CPU that affinity and the container's quota leave to it."""
    from joblib import cpu_count

    return min(int(cpu_count()), MOST)


def beside(code: str, batches: Iterator[Batch], given: Callable[[Batch], Any]) -> Iterator[tuple[Batch, Any]]:
    """Each batch with what the processes make of what it gives, both JSON values.

    `code` is what they run: it reads a line, prints one, and so on to the end, as `serve` does. Raises RuntimeError
    when one of them ends before.
    """
    idle: list[Process] = []
    busy: deque[tuple[Process, Batch]] = deque()
    with ExitStack() as begun:

        def finished() -> tuple[Batch, Any]:
            process, batch = busy.popleft()
            idle.append(process)
            return batch, process.answer()

        number = processes()
        for batch in batches:
            if len(busy) == number:
                yield finished()
            process = idle.pop() if idle else begun.enter_context(Process(code))
            process.ask(given(batch))
            busy.append((process, batch))
        while busy:
            yield finished()


def serve(work: Callable[[Any], Any]) -> None:
    """What the code of such a process calls."""
    for line in sys.stdin:
        print(json.dumps(work(json.loads(line))), flush=True)


class Process(subprocess.Popen[str]):
    """Runs code that answers each line with one, as `serve` does. Killed at the end, whatever it is doing."""

    def __init__(self, code: str) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        path = os.pathsep.join(filter(None, sys.path))
        super().__init__(
            [sys.executable, "-P", "-c", code], env={**os.environ, "PYTHONPATH": path}, start_new_session=True, **pipes
        )

    def ask(self, value: Any) -> None:
        print(json.dumps(value), file=self.stdin, flush=True)

    def answer(self) -> Any:
        """To what was asked first of all that is not answered yet. Raises RuntimeError when there is none to come."""
        line = self.stdout.readline() if self.stdout else ""
        if not line:
            raise RuntimeError(f"a process beside this one ended with {self.wait()}")
        return json.loads(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        super().__exit__(kind, error, trace)
