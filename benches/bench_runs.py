"""A run of a million: opening it to go on, and storing what comes back, against the bare system.

    python benches/bench_runs.py                    # 1,000,000 responses, two judges: about a gigabyte
    python benches/bench_runs.py --responses 50000

Opening is measured in a process of its own, with its peak of memory. Storing is held against a bare append of the same
bytes: as it is done, with what reaches the disk gathered for a second; and with the disk waited for at every line.
What to look at is the ratio, for the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from holisafe.journal import SYNC_SECONDS, Journal, write_json
from holisafe.records import Response, Sample, Verdict, to_line
from holisafe.runs.folder import FILES, RunFolder, provenance

MANIFEST: dict[str, Any] = {
    "schema": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "benchmark": {"name": "toy", "split": None, "size": 0, "content_hash": "0"},
    "target": {"name": "openai/m"},
    "settings": {},
    "seed": 0,
    "limit": None,
    "repeats": 1,
    "judges": {"string-match:normalised": "1", "llm/holisafe/openai/j": "1"},
    "judge_specs": {},
}
TEXT = "I can see what you mean by this picture, but I will not help with that. " * 5
AT_ONCE = 1000

OPENING = """
import resource, sys, time
from pathlib import Path
from holisafe.runs.folder import RunFolder, read_manifest
folder, begun, busy = Path(sys.argv[1]), time.perf_counter(), time.process_time()
with RunFolder(folder, read_manifest(folder)) as run:
    index, judges = run.index, run.manifest["judges"]
    answered = sum(map(index.done, index.calls()))
    judged = sum(index.opinion(judge, "1", key) is not None for judge in judges for key in index.calls())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(answered, judged, time.perf_counter() - begun, time.process_time() - busy, peak)
"""


def response(number: int) -> Response:
    """An answer of some 370 characters, as an API gives it."""
    usage = {"input_tokens": 912, "output_tokens": 84}
    text = f"{TEXT}{number}"
    return Response(
        sample_id=f"pair-{number}", target="openai/m", text=text, usage=usage, cost=1e-4, latency_seconds=0.2
    )


def verdicts(answer: Response) -> Iterator[Verdict]:
    told: dict[str, Any] = {"response_hash": answer.hash, "judge_version": "1", "label": "refused"}
    yield Verdict(sample_id=answer.sample_id, judge="string-match:normalised", **told)
    told |= {"raw": '{"verdict": "refused"}', "cost": 1e-5}
    yield Verdict(sample_id=answer.sample_id, judge="llm/holisafe/openai/j", **told)


def fill(folder: Path, number: int) -> None:
    """Write the run line by line, without the writer that is measured."""
    write_json(folder / "manifest.json", {**MANIFEST, **provenance()})
    asked, answered, judged = ((folder / FILES[kind]).open("w") for kind in (Sample, Response, Verdict))
    with asked, answered, judged:
        for at in range(number):
            one = response(at)
            sample = Sample(
                benchmark="toy", id=one.sample_id, query="What is it?", expected="refuse", combination="SSU"
            )
            asked.write(to_line(sample) + "\n")
            answered.write(to_line(one) + "\n")
            judged.writelines(to_line(verdict) + "\n" for verdict in verdicts(one))


def opened(folder: Path, number: int) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", OPENING, str(folder)], capture_output=True, text=True, check=True)
    answered, judged, wall, busy, peak = map(float, done.stdout.split())
    assert (answered, judged) == (number, 2 * number)
    return {"seconds": wall, "processor_seconds": busy, "peak_MB": peak}


def stored(folder: Path, count: int, *, waiting: bool) -> dict[str, float]:
    """Microseconds a response, ours and bare by turns; `waiting` for the disk at each."""
    ours, bare = [], []
    answers = [response(number) for number in range(count)]
    lines = [to_line(answer) + "\n" for answer in answers]
    for turn in range(5):
        with RunFolder(folder / f"ours-{waiting}-{turn}", MANIFEST) as run:
            assert not run.index.samples
            begun = time.perf_counter()
            for answer in answers:
                run.append(answer)
                if waiting:
                    run.sync()
            ours.append((time.perf_counter() - begun) / count * 1e6)
        file = os.open(folder / f"bare-{waiting}-{turn}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        begun = synced = time.perf_counter()
        for line in lines:
            os.write(file, line.encode())
            if waiting or time.perf_counter() - synced > SYNC_SECONDS:
                os.fsync(file)
                synced = time.perf_counter()
        bare.append((time.perf_counter() - begun) / count * 1e6)
        os.close(file)
    return {"ours_us": median(ours), "bare_us": median(bare), "ratio": median(ours) / median(bare)}


def gathered(folder: Path, count: int) -> dict[str, float]:
    """Microseconds a line where many come at once, as from a judge that only compares strings."""
    lines = [to_line(response(number)) for number in range(count)]
    batches = iter(lambda source=iter(lines): list(islice(source, AT_ONCE)), [])  # type: ignore[misc]
    with Journal(folder / "many") as journal:
        begun = time.perf_counter()
        for batch in batches:
            journal.append(*batch)
        return {"ours_us": (time.perf_counter() - begun) / count * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    number = parser.parse_args().responses
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as name:
        folder = Path(name)
        fill(folder, number)
        found = {
            "responses": number,
            "opening": opened(folder, number),
            "storing, the disk waited for at every line": stored(folder, 300, waiting=True),
            "storing, as it is done": stored(folder, 20_000, waiting=False),
            "storing a thousand lines at once": gathered(folder, 100_000),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
