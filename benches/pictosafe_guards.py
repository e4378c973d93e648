"""Regenerate docs/guards_compared.md: our guards, QGuard and a text-only guard on the same PictoSafe pairs.

    python benches/pictosafe_guards.py [HEAD ...]

Two or three hours on two cores; stopped and started again, it goes on. With names of our heads the others are left
alone, and what the page tells of them stays. Reads SSS and SSU pairs alone, in both styles: the claim in question is
that a pair head sees SSU. Thresholds are chosen on the validation split. Every reading is kept in
build/guards_compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holisafe.guards.base import Item, Kind, Reading, reading
from inside_models import BASE, MODELS, SEEDS, SHORTER
from pictosafe_guard import STYLES
from unseen_style import GUARD

if TYPE_CHECKING:
    from holisafe.benchmarks.base import Benchmark
    from holisafe.guards.base import Guard

READ = ("SSS", "SSU")
SETS = {"validation": ("pictosafe", "validation"), **{style: (name, "test") for style, name in STYLES.items()}}
TIMED = 64
"""Pairs that are read once more, to time a guard by itself."""

PAIR = [*SHORTER, "guard.labels=pair"]
IMAGE_HEAD = "image head"
HEADS: dict[str, list[str]] = {
    IMAGE_HEAD: SHORTER,
    "pair head, frozen": GUARD,
    "pair head, full": PAIR,
    "pair head, robust": [*PAIR, *MODELS["robust"]],
    "pair head, LoRA": [*PAIR, *MODELS["lora"]],
}
"""Our guards: name -> settings laid over the demo's recipe."""

TEXT, UNTUNED, TUNED = "text alone", "QGuard, base", "QGuard, tuned"
"""Rivals. The tuned model that QGuard asks is the one with the image head."""


@dataclass(frozen=True)
class WordsGuard:
    """A logistic regression over TF-IDF of one- and two-word phrases, of the queries of PictoSafe's training split."""

    pipeline: Any
    name: str = "tf-idf of the query"
    version: str = "1"
    takes: frozenset[Kind] = frozenset({"text"})
    taxonomy: str | None = None
    decides: str = "P(unsafe) above 0.5"
    note: str = "It reads the question alone."

    @classmethod
    def fitted(cls) -> WordsGuard:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        pairs = [one for one in opened("pictosafe", "train").samples if one.combination]
        pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
        return cls(pipeline.fit([one.query for one in pairs], [one.expected == "refuse" for one in pairs]))

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        for item in items:
            score = float(self.pipeline.predict_proba([item.text])[0, 1])
            yield reading(self, item, score > 0.5, score=score)


@cache
def opened(name: str, split: str) -> Benchmark:
    """A split, each picture drawn once: QGuard asks fourteen times about it."""
    from holisafe.benchmarks import open_benchmark

    benchmark = open_benchmark(name, split=split)
    return replace(benchmark, open_image=cache(benchmark.open_image))


def asked(name: str, split: str) -> Benchmark:
    """Its SSS and SSU pairs."""
    whole = opened(name, split)
    return replace(whole, samples=tuple(one for one in whole.samples if one.combination in READ))


def folder(work: Path, name: str, seed: int) -> Path:
    """Where one of our guards lies, or will."""
    return work / "models" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def trained(work: Path, name: str, seed: int) -> Path:
    """One of our guards, trained in a process of its own unless it is there."""
    out = folder(work, name, seed)
    if not out.exists():
        command = [sys.executable, __file__, "--work", str(work), "--train", name, "--seed", str(seed)]
        subprocess.run(command, check=True)
    return out


def train(work: Path, name: str, seed: int) -> None:
    from holisafe.tuning.recipe import load_recipe
    from holisafe.tuning.train import tune

    recipe = load_recipe("demo").with_settings(HEADS[name])
    tune(BASE, "pictosafe", recipe, folder(work, name, seed), seed=seed)


def guards(work: Path, heads: Iterable[str], only_done: bool) -> dict[tuple[str, int], Guard]:
    """(name, seed) -> guard, in the order in which they read."""
    from holisafe.evaluation.guards import open_guard

    found: dict[tuple[str, int], Guard] = {(TEXT, 0): WordsGuard.fitted()}
    for seed, name in product(SEEDS, heads):
        if not only_done or folder(work, name, seed).exists():
            found[name, seed] = open_guard(str(trained(work, name, seed)), batch_size=TIMED)
    found[UNTUNED, 0] = open_guard(f"qguard/hf/{BASE}", batch_size=TIMED)
    for seed in SEEDS:
        if (IMAGE_HEAD, seed) in found:
            found[TUNED, seed] = open_guard(f"qguard/hf/{folder(work, IMAGE_HEAD, seed)}", batch_size=TIMED)
    if not only_done:
        return found
    known = {part: kept(work, part) for part in SETS}
    whole = {part: len(asked(*SETS[part]).samples) for part in SETS}
    return {
        key: guard
        for key, guard in found.items()
        if all(len(known[part].get(guard.name, ())) == whole[part] for part in SETS)
    }


def kept(work: Path, part: str) -> dict[str, dict[str, float | None]]:
    """Guard -> score by pair, of one of `SETS`, as far as it was read."""
    from holisafe.evaluation.guard_boards import READINGS

    file = work / part / READINGS
    found: dict[str, dict[str, float | None]] = {}
    for line in map(json.loads, file.read_text(encoding="utf-8").splitlines() if file.exists() else ()):
        found.setdefault(line["guard"], {})[line["item"]] = line["reading"]["score"]
    return found


def read(work: Path, part: str, compared: Mapping[tuple[str, int], Guard]) -> dict[tuple[str, int], Any]:
    """(name, seed) -> score by pair; what is missing is read, and the page of `holisafe guard pairs` written."""
    from holisafe.evaluation.guard_boards import compare_guards
    from holisafe.report.guard_board import write_board_page

    out = work / part
    board = compare_guards(asked(*SETS[part]), [*compared.values()], on="pairs", out=out, progress=told)
    write_board_page(board, out / "index.html")
    known = kept(work, part)
    return {key: known[guard.name] for key, guard in compared.items()}


def told(stage: str, done: int, total: int) -> None:
    """How far a guard is, now and then."""
    if done % 100 == 0 or done == total:
        print(f"{stage}: {done} of {total}", flush=True)


def seconds(work: Path, compared: Mapping[tuple[str, int], Guard]) -> dict[str, float]:
    """Guard -> processor seconds of one thread that a pair takes, by the first seed. Other work on the machine does
    not count into it."""
    from holisafe.guards.base import item_of, read_fitted

    file = work / "seconds.json"
    found: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
    benchmark = asked(*SETS["validation"])
    items = [item_of(one, benchmark.pictures(one), one.id) for one in benchmark.samples[:TIMED]]
    for item in items:
        item.pictures[0].open()
    for (name, _), guard in compared.items():
        if name not in found:
            began = time.process_time()
            list(read_fitted(guard, items))
            found[name] = (time.process_time() - began) / len(items)
            file.write_text(json.dumps(found))
    return found


def main() -> None:
    """Train and read what is missing, then write the page, its numbers and its figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", nargs="*", default=list(HEADS), metavar="HEAD", help="; ".join(HEADS))
    parser.add_argument("--work", type=Path, default=Path("build/guards_compared"))
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    parser.add_argument("--only-done", action="store_true", help="write the page from what there is")
    parser.add_argument("--train", choices=list(HEADS), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(options.work, options.train, options.seed)
        return
    from guards_measured import measured
    from guards_page import write_page

    if unknown := {*options.heads} - {*HEADS}:
        parser.error(f"no such head: {'; '.join(unknown)}")
    compared = guards(options.work, options.heads, options.only_done)
    scores = {part: read(options.work, part, compared) for part in SETS}
    found = measured({part: asked(*SETS[part]).samples for part in SETS}, scores)
    before = json.loads((options.docs / "guards_compared.json").read_text(encoding="utf-8"))
    found["styles"] = {style: {**before["styles"][style], **of} for style, of in found["styles"].items()}
    took = {**before["seconds"], **seconds(options.work, compared)}
    write_page({**found, "seconds": took, "timed": TIMED}, options.docs)


if __name__ == "__main__":
    main()
