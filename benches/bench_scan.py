"""What a scan costs beside the bare tower, whether its cost is straight in the number, and what kills do to it.

    python benches/bench_scan.py --work /tmp/scan-bench [--pictures 100000] [--kills 5] [--parts bare straight kills]

Pictures of 96 pixels are made once in WORK, a twentieth of them copies and one in 500 broken; the guard is PictoVLM
with a head of random weights, whose verdicts mean nothing and cost what others do.

    bare      the tower alone on tensors that are ready, the guard on them, and the guard with the processor before it
    straight  `holisafe scan` of an eighth, a quarter, a half and all: seconds by the clock and of CPU, the most memory
    kills     the scan of all, killed (kill -9) at random moments and resumed: no row twice, none missing, none other

Each scan is a process of its own; its seconds hold starting Python and loading the model, which `start` tells apart.
Tables are in Markdown; WORK/results.json has the numbers.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import platform
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src")]

SIDE, COPIES, BROKEN = 96, 20, 500
BATCH = 32
SCAN = [sys.executable, "-c", "from holisafe.cli import main; main()", "scan"]


def draw(number: int) -> bytes:
    """A JPEG of blobs in a few colours; of every twentieth number an earlier one again, of one in 500 half of it."""
    if number % COPIES == COPIES - 1:
        number = number // 2
    draws = np.random.default_rng(number)
    image = Image.fromarray(draws.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize((SIDE, SIDE), 3)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2] if number % BROKEN == BROKEN - 7 else buffer.getvalue()


def make_pictures(folder: Path, count: int) -> None:
    """A thousand a folder; those that are there stay."""
    for number in range(count):
        path = folder / f"{number // 1000:04}" / f"{number:07}.jpg"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(draw(number))


def make_guard(folder: Path) -> None:
    import torch

    import holisafe
    from holisafe.guard import load_model, save_guarded
    from holisafe.guard.folders import locate

    if folder.exists():
        return
    shutil.copytree(locate("pictovlm"), folder)
    model = holisafe.attach_guard(load_model("pictovlm"))
    torch.manual_seed(0)
    for parameter in model.img_safety_head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_guarded(model, folder)


def part(pictures: Path, folder: Path, count: int) -> Path:
    """A folder with the first so many pictures, as links to the same files."""
    for number in range(count):
        name = f"{number // 1000:04}/{number:07}.jpg"
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(pictures / name, folder / name)
    return folder


# What there is to compare with ----------------------------------------------------------------------------------------


def bare(work: Path, pictures: Path, rounds: int = 5, count: int = 640) -> dict[str, Any]:
    """Of tower, guard, and guard with its processor: pictures a second, the median of rounds in turns and their range,
    and the median of CPU milliseconds each."""
    import torch

    from holisafe.errors import InputError
    from holisafe.guard.attach import unwrap
    from holisafe.guard.conversation import image_batch, image_prompt
    from holisafe.images import open_image
    from holisafe.scanning.scan import open_scanner
    from holisafe.threads import choose_threads

    guard: Any = open_scanner(str(work / "guard"))
    choose_threads(guard.model)
    core, opened = unwrap(guard.model), []
    for path in sorted(pictures.rglob("*.jpg"))[: count + 20]:
        with suppress(InputError):  # the broken ones
            opened.append(open_image(path))
    batches = [opened[at : at + BATCH] for at in range(0, count, BATCH)]
    prompt = image_prompt(guard.processor, "What is in this image?")

    def prepared(batch: list[Any]) -> Any:
        return image_batch(guard.processor, core, [prompt] * len(batch), batch)

    ready = [prepared(batch) for batch in batches]

    def tower() -> None:
        for inputs in ready:
            core.model.vision_tower(inputs["pixel_values"])

    def alone() -> None:
        for inputs in ready:
            guard.model(**inputs, do_safety="alone")

    def with_processor() -> None:
        for batch in batches:
            guard.model(**prepared(batch), do_safety="alone")

    works = {"bare tower": tower, "guard": alone, "guard with its processor": with_processor}
    speeds: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    with torch.inference_mode():
        for _ in range(rounds + 1):
            for name, work_of in works.items():
                began, used = time.perf_counter(), time.process_time()
                work_of()
                speeds[name].append(count / (time.perf_counter() - began))
                cpu[name].append(1000 * (time.process_time() - used) / count)
    return {
        "threads": torch.get_num_threads(),
        **{
            name: [statistics.median(r[1:]), min(r[1:]), max(r[1:]), statistics.median(cpu[name][1:])]
            for name, r in speeds.items()
        },
    }


# Scans ----------------------------------------------------------------------------------------------------------------


def command(work: Path, pictures: Path, out: Path) -> list[str]:
    return [*SCAN, str(pictures), "--guard", str(work / "guard"), "--out", str(out), "--json"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}


def scanned(work: Path, pictures: Path, out: Path) -> dict[str, Any]:
    """One scan in a process of its own: seconds by the clock and of CPU, and the most memory in MiB."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    process = subprocess.Popen(command(work, pictures, out), env=environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    found = json.loads(process.stdout.read())
    _, status, used = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return {
        "n": found["n"],
        "seconds": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "mib": used.ru_maxrss / 1024,
    }


def straight(work: Path, pictures: Path, count: int) -> list[dict[str, Any]]:
    """First 64 pictures, which tell what starting takes, then an eighth, a quarter, a half and all."""
    sizes = [64, count // 8, count // 4, count // 2, count]
    return [scanned(work, part(pictures, work / f"first-{size}", size), work / f"out-{size}") for size in sizes]


def kills(work: Path, pictures: Path, count: int, times: int, calm: Path) -> dict[str, Any]:
    """Killed and resumed; what stands in the folder then, beside a scan that nothing disturbed."""
    out, draws, lost = work / "out-killed", random.Random(5), 0
    shutil.rmtree(out, ignore_errors=True)
    words = command(work, pictures, out)
    for moment in sorted(draws.sample(range(count // 50, count * 19 // 20), times)):
        process = subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE)
        while rows_so_far(out) < moment and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        lost = max(lost, moment - rows_so_far(out))
    subprocess.run(words, env=environment(), stdout=subprocess.PIPE, check=True)
    ids = Counter(row["id"] for row in rows(out, ["id"]))
    wanted = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*.jpg")}
    first, second = ({row["id"]: told(row) for row in rows(one)} for one in (calm, out))
    return {
        "kills": times,
        "rows": sum(ids.values()),
        "twice": sum(number - 1 for number in ids.values()),
        "missing": len(wanted - ids.keys()),
        "other than undisturbed": sum(first[name] != second.get(name) for name in first),
    }


def rows_so_far(out: Path) -> int:
    """Rows in parts and in lines."""
    from pyarrow import parquet

    files = list((out / "parts").glob("part-*.parquet")) if out.exists() else []
    lines = list((out / "parts").glob(".part-*.jsonl")) if out.exists() else []
    try:
        return sum(parquet.read_metadata(file).num_rows for file in files) + sum(
            line.read_bytes().count(b"\n") for line in lines
        )
    except OSError:
        return 0  # it is being renamed


def rows(out: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet

    for path in sorted((out / "parts").glob("part-*.parquet")):
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(2000, columns=columns):
                yield from batch.to_pylist()


def told(row: dict[str, Any]) -> str:
    """What a row says, numbers to 1e-5: pictures share their batch with others after a kill."""
    scores = [(name, round(value, 5)) for name, value in row["scores"] or ()]
    kept = {**row, "thumb": None, "score": row["score"] and round(row["score"], 5), "scores": scores}
    return hashlib.sha256(repr(sorted(kept.items())).encode()).hexdigest()


# Tables ---------------------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any]) -> Iterator[str]:
    if "bare" in found:
        yield "| pictures a second | median of rounds | range | ms of CPU each |\n|---|---|---|---|"
        for name, told_of in found["bare"].items():
            if name != "threads":
                yield f"| {name} | {told_of[0]:,.0f} | {told_of[1]:,.0f} to {told_of[2]:,.0f} | {told_of[3]:.2f} |"
    if "straight" in found:
        start, *others = found["straight"]
        yield "\n| pictures | seconds | less the start | a second | ms of CPU each | most memory |"
        yield "|---|---|---|---|---|---|"
        for one in others:
            clear, cpu = one["seconds"] - start["seconds"], one["cpu"] - start["cpu"]
            yield (
                f"| {one['n']:,} | {one['seconds']:,.0f} | {clear:,.0f} | {one['n'] / clear:,.0f} | "
                f"{1000 * cpu / one['n']:.2f} | {one['mib']:,.0f} MiB |"
            )
        yield f"\nThe start takes {start['seconds']:.1f} s and {start['mib']:,.0f} MiB."
    if "kills" in found:
        yield "\n" + ", ".join(f"{name}: {number:,}" for name, number in found["kills"].items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["bare", "straight", "kills"])
    told_of = parser.parse_args()
    work, count = told_of.work, told_of.pictures
    pictures = work / "pictures"
    make_pictures(pictures, count)
    make_guard(work / "guard")
    pictures = part(pictures, work / f"first-{count}", count)
    kept = work / "results.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    found |= {"machine": platform.processor() or platform.machine(), "cpus": os.cpu_count(), "load": os.getloadavg()}
    if "bare" in told_of.parts:
        found["bare"] = bare(work, pictures)
    if "straight" in told_of.parts:
        found["straight"] = straight(work, work / "pictures", count)
    if "kills" in told_of.parts:
        if not (work / f"out-{count}").exists():
            scanned(work, pictures, work / f"out-{count}")
        found["kills"] = kills(work, pictures, count, told_of.kills, work / f"out-{count}")
    found["own memory, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    kept.write_text(json.dumps(found, indent=2))
    print("\n".join(tables(found)))


if __name__ == "__main__":
    main()
