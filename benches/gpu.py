"""Everything about the guard's cost that wants a GPU, in one run of less than twelve minutes.

    python benches/gpu.py --out OUT              a Qwen2.5-VL-7B shape with random weights; 80 GB hold it
    python benches/gpu.py --out OUT --tiny       the same on a CPU and on small shapes: does it run at all

Three parts, each a bench of its own in its own process, so that one that fails or runs out of time costs only itself:
prefill and generate, stock against guarded; a reading by the guard alone, at every place it can be read, against a
verdict of 8 tokens; a step of LoRA training, stock against guarded. OUT gets what each printed and `gpu.json`, which
says how each ended. Figures are paired ratios with 95 % intervals; docs/guard_cost.md says how they are made.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

PARTS = {
    "pass": "bench_guard.py --device cuda --model qwen-7b --no-training --rounds 40 --json",
    "alone": "bench_guard_early.py --device cuda --shape qwen-7b --only speed --rounds 24",
    "training": "bench_guard_tuning.py --device cuda --shape 7b --method lora --steps 24 --json",
}
TINY = {
    "pass": "bench_guard.py --model qwen --no-training --rounds 4 --json",
    "alone": "bench_guard_early.py --shape qwen --only speed --rounds 3",
    "training": "bench_guard_tuning.py --shape tiny --steps 6 --json",
}
SECONDS = 220
"""For each part: loading is most of it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    ended: dict[str, dict[str, object]] = {}
    for part in given.part:
        script, *options = (TINY if given.tiny else PARTS)[part].split()
        started = time.monotonic()
        with (given.out / f"{part}.txt").open("w") as said:
            try:
                code: object = subprocess.run(
                    [sys.executable, HERE / script, *options], stdout=said, stderr=subprocess.STDOUT, timeout=SECONDS
                ).returncode
            except subprocess.TimeoutExpired:
                code = f"stopped after {SECONDS} s"
        ended[part] = {"ended": code, "seconds": round(time.monotonic() - started, 1)}
        (given.out / "gpu.json").write_text(json.dumps(ended, indent=1) + "\n")
        print(f"{part}: {ended[part]}", flush=True)


if __name__ == "__main__":
    main()
