"""What a look inside costs: a study against answering, and taking one large weight update apart.

    python benches/bench_mechanism.py                        both
    python benches/bench_mechanism.py --only update          dW of a 7B model's feed-forward layer, 3584 x 18944

The ratio is CPU seconds of a study of two models over those of one model's answers to the same pairs, as `holisafe run`
has them, of at most `--tokens` tokens. The update is timed as it is: one matrix, its leading singular vectors, all of
the base's, and the shares in its null space.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from typing import Any

import numpy as np

from holisafe.benchmarks import open_benchmark
from holisafe.mechanism.study import VECTORS, open_whole, study
from holisafe.mechanism.update import null_shares, singular


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def answer(target: Any, benchmark: Any, pairs: int) -> int:
    async def requests() -> Any:
        for sample in benchmark.samples[:pairs]:
            yield benchmark.request(sample, target.settings)

    return sum([1 async for _ in target.respond(requests())])


def against_answers(pairs: int, tokens: int) -> None:
    benchmark = open_benchmark("pictosafe", split="validation")
    base, tuned = open_whole("pictovlm", 32), open_whole("pictovlm", 32)
    for model in (base, tuned):
        model.settings = type(model.settings)(max_new_tokens=tokens)
    asyncio.run(answer(base, benchmark, 32))  # warm
    began = cpu()
    asyncio.run(answer(base, benchmark, pairs))
    once = cpu() - began
    began = cpu()
    study(base, tuned, benchmark, limit=pairs)
    took = cpu() - began
    print(f"{pairs} pairs: answers of at most {tokens} tokens by one model {once:.1f} s, study of two {took:.1f} s CPU")
    print(f"study / answers {took / once:.2f}")


def update(out: int, width: int) -> None:
    draw = np.random.default_rng(0)
    was, delta = (draw.standard_normal((out, width), dtype=np.float32) for _ in range(2))
    began = time.perf_counter(), cpu()
    leading = singular(delta, VECTORS)
    null_shares(singular(was), leading)
    print(f"{out} x {width}: {time.perf_counter() - began[0]:.1f} s, CPU {cpu() - began[1]:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"most memory {peak:.1f} GB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("study", "update"))
    parser.add_argument("--pairs", type=int, default=320)
    parser.add_argument("--tokens", type=int, default=64)
    told = parser.parse_args()
    if told.only != "update":
        against_answers(told.pairs, told.tokens)
    if told.only != "study":
        update(3584, 18944)
