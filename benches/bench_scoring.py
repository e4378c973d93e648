"""How long judging by strings and scoring take on 4,031 rows, the benchmark's size, against plain pandas loops.

    python benches/bench_scoring.py

Times are seconds of processor, the least of several: what to look at is the ratio, for the machine may be busy.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from importlib.resources import files

import pandas as pd

from holisafe.judges.string_match import MODES, matcher
from holisafe.metrics.guard import guard_quality
from holisafe.metrics.score import score
from holisafe.taxonomy import COMBINATIONS, IMAGE_LABELS, UNSAFE_COMBINATIONS

ROWS, IMAGES, DRAWS = 4031, 1796, 2000
LOOPED_DRAWS = 20
"""The loop would take minutes: it draws this often, and its time is scaled up."""

SENTENCES = (
    "The picture shows a wooden table with a red cup and a folded newspaper on it.",
    "You can't miss the large window behind it, which lets in the evening light.",
    "It is important to note that the cup stands close to the edge.",
    'A sign on the wall says: "No smoking".',
    "First, move the cup to the middle; then fold the newspaper and put it away.",
    "If you're unsure, ask somebody for help.",
)


def a_table() -> pd.DataFrame:
    """Answers of about 800 characters, a third of them refusals, on images with several queries each."""
    rng = random.Random(0)
    rows = []
    for index in range(ROWS):
        text = " ".join(rng.choices(SENTENCES, k=12))
        opening = rng.choice(["I’m sorry, but I can’t help with that. ", "Sure! ", "Thank you for asking. "])
        image = rng.randrange(IMAGES)
        rows.append((str(index), rng.choice(list(COMBINATIONS)), rng.random() < 0.7, f"image {image}", opening + text))
    return pd.DataFrame(rows, columns=["sample_id", "combination", "adheres", "cluster", "text"])


def looped_match(table: pd.DataFrame) -> list[bool]:
    """HoliSafe's own rule, row by row and phrase by phrase."""
    rule = json.loads(files("holisafe.judges").joinpath("phrases.json").read_text(encoding="utf-8"))["holisafe"]
    found = []
    for _, row in table.iterrows():
        text = row["text"].strip().lower()
        refused = False
        for phrase in rule["starts"]:
            refused = refused or text.startswith(phrase)
        for phrase in rule["contains"]:
            refused = refused or phrase in text
        found.append(refused)
    return found


def looped_rates(table: pd.DataFrame) -> dict[str, float]:
    counts: dict[str, list[int]] = {}
    for _, row in table.iterrows():
        for name in (row["combination"], "pooled" if row["combination"] in UNSAFE_COMBINATIONS else "safe"):
            failed, n = counts.setdefault(name, [0, 0])
            counts[name] = [failed + (not row["adheres"]), n + 1]
    return {name: failed / n for name, (failed, n) in counts.items()}


def looped_bootstrap(table: pd.DataFrame) -> pd.DataFrame:
    rng = random.Random(0)
    members = dict(iter(table.groupby("cluster")))
    names = list(members)
    drawn = []
    for _ in range(LOOPED_DRAWS):
        rows = pd.concat([members[name] for name in rng.choices(names, k=len(names))])
        rates = 1 - rows.groupby("combination")["adheres"].mean()
        drawn.append({**rates, "pooled": 1 - rows.loc[rows["combination"] != "SSS", "adheres"].mean()})
    return pd.DataFrame(drawn).quantile([0.025, 0.975])


def seconds(what: Callable[[], object], times: int) -> float:
    least = float("inf")
    for _ in range(times):
        start = time.process_time()
        what()
        least = min(least, time.process_time() - start)
    return least


def main() -> None:
    table = a_table()
    texts = table["text"].tolist()
    plain = table.drop(columns=["cluster", "text"])
    rng = random.Random(1)
    truth = rng.choices(IMAGE_LABELS, k=ROWS)
    readings = [[0.05 + 0.5 * (label == true) for label in IMAGE_LABELS] for true in truth]

    loops = {
        "match": seconds(lambda: looped_match(table), 2),
        "rates": seconds(lambda: looped_rates(plain), 2),
        "bootstrap": seconds(lambda: looped_bootstrap(table), 1) * DRAWS / LOOPED_DRAWS,
    }
    print(f"{ROWS} rows, {sum(map(len, texts)) / ROWS:.0f} characters an answer; {DRAWS} bootstrap draws\n")
    print(f"{'':42}{'seconds':>9}{'a loop':>9}{'ratio':>8}")
    for mode in MODES:
        judge = matcher(mode)
        show(f"string-match:{mode}", seconds(lambda judge=judge: [judge(text) for text in texts], 5), loops["match"])
    show("score, Wilson and the macro's bootstrap", seconds(lambda: score(plain), 3), loops["rates"])
    show("score, clustered bootstrap", seconds(lambda: score(table), 3), loops["bootstrap"])
    show(
        "guard_quality, clustered bootstrap",
        seconds(lambda: guard_quality(truth, readings, clusters=table["cluster"]), 1),
        None,
    )


def show(what: str, took: float, loop: float | None) -> None:
    against = f"{loop:9.2f}{loop / took:7.1f}x" if loop is not None else ""
    print(f"{what:42}{took:9.3f}{against}")


if __name__ == "__main__":
    main()
