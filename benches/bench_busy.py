"""What the demo takes on a machine that does nothing else, and beside a busy loop on every CPU.

    python benches/bench_busy.py             the whole demo, both ways
    python benches/bench_busy.py --quick     the demo's --quick
    python benches/bench_busy.py --steps 22  tuning steps alone, beside the loops: threads that spin or sleep

`beside / quiet` compares seconds beside the loops with the CPU seconds of the quiet run: at most 3.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from holisafe.threads import SLEEPING

STEPS = """
import sys
from pathlib import Path
from holisafe.tuning.recipe import load_recipe
from holisafe.tuning.train import tune
tune("pictovlm", "pictosafe", load_recipe("demo").with_settings([f"optimiser.max_steps={sys.argv[1]}"]), sys.argv[2])
"""
WAYS = {
    "all threads, spinning": {"OMP_NUM_THREADS": str(os.cpu_count()), "OMP_WAIT_POLICY": "ACTIVE"},
    "all threads, torch's own": {"OMP_NUM_THREADS": str(os.cpu_count()), "KMP_BLOCKTIME": "200"},
    "all threads, sleeping": {"OMP_NUM_THREADS": str(os.cpu_count())},
    "as the package chooses": {},
}
"""Way to wait -> what a user would set to get it."""


@contextmanager
def busy_loops() -> Iterator[None]:
    """One process on every CPU that does nothing but count."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def timed(command: Sequence[str], **environment: str) -> tuple[float, float]:
    """Seconds, and CPU seconds of the process and its children, of a command that must succeed."""
    clean = {name: value for name, value in os.environ.items() if name not in (*SLEEPING, "OMP_NUM_THREADS")}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, check=True, env={**clean, **environment}, stdout=subprocess.DEVNULL)
    after, seconds = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def steps(count: int) -> None:
    for way, environment in WAYS.items():
        with tempfile.TemporaryDirectory() as out, busy_loops():
            seconds, cpu = timed([sys.executable, "-c", STEPS, str(count), f"{out}/model"], **environment)
        print(f"{way:28}{seconds:7.1f} s {cpu:7.1f} s of CPU", flush=True)


def demo(arguments: Sequence[str]) -> None:
    command = [sys.executable, "-c", "from holisafe.cli import main; main()", "demo", *arguments, "--out"]
    with tempfile.TemporaryDirectory() as out:
        seconds, quiet = timed([*command, f"{out}/quiet"])
        print(f"quiet            {seconds:7.1f} s {quiet:7.1f} s of CPU", flush=True)
        with busy_loops():
            seconds, cpu = timed([*command, f"{out}/busy"])
        print(f"beside the loops {seconds:7.1f} s {cpu:7.1f} s of CPU   beside / quiet = {seconds / quiet:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f} at the start", flush=True)
    if given.steps:
        steps(given.steps)
    else:
        demo(["--quick"] if given.quick else [])


if __name__ == "__main__":
    main()
