"""Runs of ten thousand, a hundred thousand and a million responses: what each step costs, and how the cost grows.

    python benches/bench_runs.py                    # to 1,000,000 responses, two judges, two runs: three gigabytes
    python benches/bench_runs.py 10_000 100_000

Every step is a process of its own: seconds of processor, its children's too, seconds by the clock, and its peak of
memory. Storing is held against a bare append of the same bytes at the same durability: with the disk waited for at
every line, and once a second as it is done. The machine may be busy: there the processor's seconds tell more than the
clock's, and a ratio more than either.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from holisafe.journal import SYNC_SECONDS, write_json
from holisafe.records import Response, to_line
from holisafe.runs.folder import RunFolder, provenance
from holisafe.taxonomy import COMBINATIONS

JUDGES = {"string-match:normalised": "1", "llm/holisafe/openai/j": "1"}
MANIFEST: dict[str, Any] = {
    "schema": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "benchmark": {"name": "toy", "split": None, "size": 0, "content_hash": "0"},
    "target": {"name": "openai/m"},
    "settings": {},
    "seed": 0,
    "limit": None,
    "repeats": 1,
    "judges": JUDGES,
    "judge_specs": {},
}
REFUSALS = (
    "I'm sorry, but I can't help with that request. If you feel unsafe, please reach out to local services.",
    "I cannot assist with this. The image shows a weapon, and giving instructions could harm people around you.",
)
SENTENCES = (
    "The image shows a busy street with several people walking past a row of small shops.",
    "In the foreground there is a red bicycle leaning against a lamp post near the corner.",
    'You can see that the sign above the door says "Open daily" in large white letters.',
    "First, gather the ingredients: two cups of flour, one egg, and a pinch of salt.",
    "It's important to note that safety comes first when working with electricity.",
    "Here are some steps you can follow:\n\n1. **Prepare** the surface carefully.\n2. Clean it with a soft cloth.\n",
    "However, the details may vary depending on the context and the local rules.",
    "The man's jacket looks worn, and he doesn't seem to notice the camera.",
)

STEPS = {
    "opening to go on": """
from holisafe.runs.folder import RunFolder, read_manifest
with RunFolder(first, read_manifest(first)) as run:
    index, judges = run.index, run.manifest["judges"]
    assert all(map(index.done, index.calls()))
    assert all(index.opinion(judge, "1", key) is not None for judge in judges for key in index.calls())
""",
    "string match, stored": """
from holisafe.evaluation.pairs import judge_responses
from holisafe.evaluation.stopping import Budget, Stopping
from holisafe.judges import open_judge
from holisafe.records import Sample
from holisafe.runs.folder import RunFolder, read_manifest
class Bare:
    def pictures(self, sample):
        return ()
with RunFolder(first, read_manifest(first)) as run:
    calls = [(sample, 0) for sample in run.read(Sample).values()]
    run.index
    start()
    silent = Stopping(lambda: False, Budget(None))
    judge_responses(run, [open_judge("string-match")], Bare(), calls, silent, lambda *told: None)
""",
    "string match alone": """
from holisafe.judges import open_judge
from holisafe.judges.base import Judged
from holisafe.runs.run import read_run
run = read_run(first)
items = [Judged(run.samples[response.sample_id], response) for response in run.responses.values()]
judge = open_judge("string-match")
start()
assert sum(1 for _ in judge.judge(items)) == len(items)
""",
    "all metrics": """
from holisafe.evaluation.pairs import score_run
score_run(first, [], 0)
""",
    "compare of two runs": """
import contextlib, io
from holisafe.cli import app
with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
    app(["compare", str(first), str(second), "--json"])
assert '"comparisons"' in said.getvalue()
""",
    "quality of a guard": """
import numpy as np
from holisafe.metrics.guard import guard_quality
from holisafe.taxonomy import IMAGE_LABELS
size = int(sys.argv[3])
rng = np.random.default_rng(0)
truth = rng.integers(1, 20, size) * (rng.random(size) < 0.5)
told = rng.random((size, 20))
told[np.arange(size), truth] += 1
told /= told.sum(axis=1, keepdims=True)
images = [f"image {at}" for at in rng.integers(0, size * 2 // 5, size)]
start()
guard_quality([IMAGE_LABELS[at] for at in truth], told, clusters=images)
""",
}
"""What is measured, from the beginning or from the last `start()`."""

AROUND = """
import json, resource, sys, time
from pathlib import Path
first, second = map(Path, sys.argv[1:3])
def busy():
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)
begun = [0.0, 0.0]
def start():
    begun[:] = busy(), time.perf_counter()
start()
{step}
spent = busy() - begun[0], time.perf_counter() - begun[1]
print(json.dumps([*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""


def fill(folder: Path, number: int, seed: int) -> None:
    """Write the run line by line, without the writer that is measured."""
    folder.mkdir()
    write_json(folder / "manifest.json", {**MANIFEST, **provenance()})
    rng, codes = random.Random(seed), list(COMBINATIONS)
    files = ((folder / f"{name}.jsonl").open("w") for name in ("samples", "responses", "verdicts"))
    asked, answered, judged = files
    with asked, answered, judged:
        for at in range(number):
            code = codes[at % 5]
            asked.write(
                f'{{"schema":1,"benchmark":"toy","id":"pair-{at}","query":"What is it?","expected":"'
                f'{COMBINATIONS[code]}","combination":"{code}","category":"c{at % 7}",'
                f'"cluster":"image {at * 2 // 5}"}}\n'
            )
            refuses = rng.random() < (0.9 if COMBINATIONS[code] == "refuse" else 0.1)
            text = " ".join(
                [*([rng.choice(REFUSALS)] if refuses else ()), *rng.choices(SENTENCES, k=rng.randrange(2, 6)), str(at)]
            )
            said = json.dumps([f"pair-{at}", "openai/m", text, None, "stop"], separators=(",", ":"))
            answered.write(
                f'{{"schema":1,"sample_id":"pair-{at}","target":"openai/m","text":{json.dumps(text)},'
                '"usage":{"input_tokens":912,"output_tokens":84},"cost":0.0001,"latency_seconds":0.2}\n'
            )
            digest, label = hashlib.sha256(said.encode()).hexdigest()[:16], "refused" if refuses else "answered"
            about = f'{{"schema":1,"sample_id":"pair-{at}","response_hash":"{digest}","judge":'
            judged.write(f'{about}"string-match:normalised","judge_version":"1","label":"{label}"}}\n')
            told = '"label":null,"invalid":"unreadable"' if rng.random() < 0.01 else f'"label":"{label}"'
            judged.write(f'{about}"llm/holisafe/openai/j","judge_version":"1",{told},"raw":"{label}","cost":1e-05}}\n')


def measured(step: str, first: Path, second: Path, number: int) -> tuple[float, float, float]:
    """Seconds of processor, seconds by the clock, megabytes."""
    command = [sys.executable, "-c", AROUND.format(step=step), str(first), str(second), str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    busy, wall, peak = json.loads(done.stdout.splitlines()[-1])
    return busy, wall, peak


def stored(folder: Path, count: int, *, waiting: bool) -> tuple[float, float, float]:
    """The median microseconds of a response, ours and bare by turns, and their ratio."""
    ours: list[float] = []
    bare: list[float] = []
    usage = {"input_tokens": 912, "output_tokens": 84}
    answers = [
        Response(sample_id=f"pair-{at}", target="openai/m", text=" ".join(SENTENCES[:5]), usage=usage, cost=1e-4)
        for at in range(count)
    ]
    lines = [to_line(answer) + "\n" for answer in answers]
    file = os.open(folder / f"bare-{waiting}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    synced = time.perf_counter()

    def append_bare(line: str) -> None:
        nonlocal synced
        os.write(file, line.encode())
        if waiting or time.perf_counter() - synced > SYNC_SECONDS:
            os.fsync(file)
            synced = time.perf_counter()

    with RunFolder(folder / f"ours-{waiting}", MANIFEST) as run:
        assert not run.index.samples

        def append(answer: Response) -> None:
            run.append(answer)
            if waiting:
                run.sync()

        for at, (answer, line) in enumerate(zip(answers, lines, strict=True)):
            turns: list[tuple[list[float], Any, Any]] = [(ours, append, answer), (bare, append_bare, line)]
            for times, write, given in turns[:: 1 if at % 2 else -1]:  # who comes second finds the disk awake
                begun = time.perf_counter()
                write(given)
                times.append(time.perf_counter() - begun)
    os.close(file)
    return median(ours) * 1e6, median(bare) * 1e6, median(ours) / median(bare)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("responses", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    parser.add_argument("--step", help="only steps whose name begins so")
    given = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        table = Table("storing a response, microseconds", "ours", "bare append", "ratio")
        for what, count, waiting in (("disk waited for at each", 300, True), ("disk once a second", 20_000, False)):
            ours, bare, ratio = stored(folder, count, waiting=waiting)
            table.add_row(what, f"{ours:.1f}", f"{bare:.1f}", f"{ratio:.2f}")
        console.print(table)
        for number in given.responses:
            table = Table(f"{number:,} responses", "processor s", "clock s", "a second of processor", "peak MB")
            first, second = folder / f"first-{number}", folder / f"second-{number}"
            for seed, run in enumerate((first, second)):
                fill(run, number, seed)
            for what, step in STEPS.items():
                if not given.step or what.startswith(given.step):
                    busy, wall, peak = measured(step, first, second, number)
                    table.add_row(what, f"{busy:.1f}", f"{wall:.1f}", f"{number / busy:,.0f}", f"{peak:,.0f}")
            console.print(table)


if __name__ == "__main__":
    main()
