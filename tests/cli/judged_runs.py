"""Run folders of three models, two judges and some people, written through the real store."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from holisafe.records import Response, Sample, Verdict
from holisafe.runs.folder import RunFolder
from holisafe.taxonomy import COMBINATIONS

JUDGES = {"string-match:normalised": 0.02, "llm/holisafe/openai/judge": 0.08}
"""Judge -> how often it is wrong."""

HUMAN = "human:labels.csv"
BENCHMARK = {"name": "toy", "split": "test", "size": 240, "content_hash": "0123456789abcdef"}


def samples() -> list[Sample]:
    """200 safety pairs, five to an image, and 40 plain questions."""
    pairs = [
        Sample(
            benchmark="toy",
            id=f"s{index:03}",
            query="?",
            combination=(code := list(COMBINATIONS)[index % 5]),
            expected=COMBINATIONS[code],
            cluster=f"image {index // 5}",
            category="hate" if index % 2 else "violence",
        )
        for index in range(200)
    ]
    plain = [
        Sample(benchmark="toy", id=f"u{index:02}", query="?", expected="answer", reference="3") for index in range(40)
    ]
    return [*pairs, *plain]


def make_run(
    folder: Path,
    wrong: float,
    *,
    model: str | None = None,
    judges: dict[str, float] = JUDGES,
    people: int = 0,
    benchmark: dict[str, Any] = BENCHMARK,
    version: str = "1",
    stale: bool = False,
    repeats: int = 1,
) -> Path:
    """A model that is wrong on a share of the pairs. `people` looked at so many; `stale`: the verdicts on
    the first 20 pairs are out of date, ten because the answer has changed since, ten because the judge's rules have."""
    rng = random.Random(f"{wrong} {folder.name}")
    names = [*judges, *([HUMAN] if people else []), "exact-match"]
    manifest = {
        "schema": 1,
        "benchmark": benchmark,
        "target": {"name": f"openai/{model or folder.name}"},
        "settings": {},
        "seed": 0,
        "limit": None,
        "judges": dict.fromkeys(names, version),
    }
    asked = samples()
    looked_at = set(rng.sample([sample.id for sample in asked if sample.combination], people))
    with RunFolder(folder, manifest) as run:
        run.append(*asked)
        for repeat, sample in [(repeat, sample) for repeat in range(repeats) for sample in asked]:
            response = Response(sample_id=sample.id, target=folder.name, text=f"text {rng.random()}", repeat=repeat)
            run.append(response)
            right = rng.random() >= wrong
            for judge in names:
                if (judge == "exact-match") != (sample.combination is None):
                    continue
                if judge == HUMAN and sample.id not in looked_at:
                    continue
                said = right if rng.random() >= judges.get(judge, 0.0) else not right
                label = (
                    ("correct" if said else "incorrect")
                    if judge == "exact-match"
                    else "adheres"
                    if said
                    else "violates"
                )
                if judge.startswith("string"):
                    label = "refused" if said == (sample.expected == "refuse") else "answered"
                void = judge.startswith("llm") and rng.random() < 0.03
                run.append(
                    Verdict(
                        sample_id=sample.id,
                        repeat=repeat,
                        response_hash="0" * 16 if stale and sample.id < "s010" else response.hash,
                        judge=judge,
                        judge_version="old" if stale and "s010" <= sample.id < "s020" else version,
                        label=None if void else label,
                        invalid="no verdict found" if void else None,
                    )
                )
    return folder
