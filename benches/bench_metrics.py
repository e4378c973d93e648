"""How the cost of metrics grows with the run: 10,000, 100,000 and 1,000,000 responses, each judged twice.

    python benches/bench_metrics.py [ROWS...]

Made-up verdicts on images with two or three queries each. Seconds of processor, and how many times those of the size
before: ten is straight. Where there are bootstrap draws (kappa, ranks) they are 2,000.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from holisafe.metrics.agreement import cohen_kappa, judge_pairs
from holisafe.metrics.comparison import compare
from holisafe.metrics.leaderboard import leaderboard
from holisafe.metrics.panel import ballots
from holisafe.metrics.safety_calibration import calibration_scores
from holisafe.metrics.score import score
from holisafe.taxonomy import COMBINATIONS

JUDGES = ("one", "two")


def a_run(rows: int, seed: int) -> pd.DataFrame:
    """One row a verdict; the same samples whatever the seed, of which the models fail 3 % alike and 3 % each alone."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    combination = shared.choice(list(COMBINATIONS), rows)
    hard = shared.random(rows) < 0.03
    pairs = pd.DataFrame(
        {
            "sample_id": [f"sample {number}" for number in range(rows)],
            "combination": combination,
            "expected": pd.Series(combination).map(COMBINATIONS),
            "category": shared.choice([f"category {number}" for number in range(7)], rows),
            "subcategory": shared.choice([f"subcategory {number}" for number in range(19)], rows),
            "cluster": pd.Series(shared.integers(0, max(1, rows * 2 // 5), rows)).map("image {}".format),
        },
        dtype=object,
    )
    judged = []
    for judge in JUDGES:
        right, invalid = ~(hard | (own.random(rows) < 0.03)), own.random(rows) < 0.01
        label = np.where(right == (pairs["expected"] == "answer").to_numpy(bool), "answered", "refused").astype(object)
        adheres = right.astype(object)
        label[invalid], adheres[invalid] = None, None
        judged.append(pairs.assign(judge=judge, label=label, adheres=adheres, answer_key=False))
    return pd.concat(judged, ignore_index=True)


def main() -> None:
    before: dict[str, float] = {}
    for rows in [int(given.replace(",", "")) for given in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        runs = {name: a_run(rows, seed) for seed, name in enumerate(("first", "second"), start=1)}
        first = runs["first"]
        votes = ballots(first)
        whole: dict[str, Callable[[], object]] = {
            "score": lambda first=first: score(first),
            "calibration_scores": lambda first=first: calibration_scores(first),
            "judge_pairs": lambda votes=votes: judge_pairs(votes),
            "cohen_kappa": lambda votes=votes: cohen_kappa(*votes.adheres.T, votes.clusters),
            "compare, two runs": lambda runs=runs: compare(runs),
            "leaderboard, two runs": lambda runs=runs: leaderboard(runs, "one"),
        }
        print(f"\n{rows:,} responses, {len(JUDGES)} judges")
        for what, function in whole.items():
            start = time.process_time()
            function()
            took = time.process_time() - start
            grew = f"{took / before[what]:8.1f} times" if what in before else ""
            print(f"  {what:26}{took:8.2f} s{grew}", flush=True)
            before[what] = took


if __name__ == "__main__":
    main()
