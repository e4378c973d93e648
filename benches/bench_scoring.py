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

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from holisafe.judges.string_match import MODES, matcher
from holisafe.metrics.agreement import fleiss_kappa, judge_pairs, krippendorff_alpha
from holisafe.metrics.comparison import compare
from holisafe.metrics.guard import guard_quality
from holisafe.metrics.human_check import human_check
from holisafe.metrics.leaderboard import leaderboard
from holisafe.metrics.panel import ballots, panel
from holisafe.metrics.prediction_powered import prediction_powered
from holisafe.metrics.safety_calibration import calibration_scores
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


def looped_bootstrap(table: pd.DataFrame, statistic: Callable[[pd.DataFrame], dict[str, float]]) -> pd.DataFrame:
    """The statistic of resampled clusters, put together with pandas draw by draw."""
    rng = random.Random(0)
    members = dict(iter(table.groupby("cluster")))
    names = list(members)
    drawn = [
        statistic(pd.concat([members[name] for name in rng.choices(names, k=len(names))])) for _ in range(LOOPED_DRAWS)
    ]
    return pd.DataFrame(drawn).quantile([0.025, 0.975])


def rates_of(rows: pd.DataFrame) -> dict[str, float]:
    rates = 1 - rows.groupby("combination")["adheres"].mean()
    return {**rates, "pooled": 1 - rows.loc[rows["combination"] != "SSS", "adheres"].mean()}


def calibration_of(rows: pd.DataFrame) -> dict[str, float]:
    found = {}
    for name, part in [("", rows), *rows.groupby("category")]:
        shares = part.assign(right=part["adheres"].astype(float)).groupby("expected")["right"].mean()
        found |= {f"{name} {side}": share for side, share in shares.items()} | {f"{name} average": shares.mean()}
    return found


def kappas_of(rows: pd.DataFrame) -> dict[str, float]:
    judges = ("one", "two", "three")
    return {f"{a} {b}": cohen_kappa_score(rows[a], rows[b]) for a in judges for b in judges if a < b}


def differences_of(rows: pd.DataFrame) -> dict[str, float]:
    change = rows["one"].astype(float) - rows["two"].astype(float)
    return {**change.groupby(rows["combination"]).mean(), "pooled": change[rows["combination"] != "SSS"].mean()}


def ranks_of(rows: pd.DataFrame) -> dict[str, float]:
    unsafe = rows[rows["combination"] != "SSS"]
    return dict((1 - unsafe[["one", "two", "three"]].astype(float).mean()).rank())


def three_opinions(table: pd.DataFrame) -> pd.DataFrame:
    """The table with columns one, two and three: `adheres`, and it with a tenth and a fifth turned round."""
    rng = np.random.default_rng(0)
    truth = table["adheres"].to_numpy(bool)
    turned = {
        name: truth ^ (rng.random(len(truth)) < share) for name, share in (("one", 0), ("two", 0.1), ("three", 0.2))
    }
    return table.assign(**turned)


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
    expected = [COMBINATIONS[name] for name in table["combination"]]
    table = three_opinions(table.assign(expected=expected, category=[name[:4] for name in table["text"]]))
    right = table["adheres"].to_numpy(bool) == (table["expected"] == "answer").to_numpy()
    labelled = table.assign(label=np.where(right, "answered", "refused"))
    opinions = {name: table.assign(judge=name, adheres=table[name]) for name in ("one", "two", "three")}
    judged = pd.concat([*opinions.values(), opinions["one"].sample(400, random_state=0).assign(judge="human:x")])
    models = {name: frame.assign(judge="j") for name, frame in opinions.items()}
    plain = table[["sample_id", "combination", "adheres"]]
    rng = random.Random(1)
    truth = rng.choices(IMAGE_LABELS, k=ROWS)
    readings = [[0.05 + 0.5 * (label == true) for label in IMAGE_LABELS] for true in truth]

    loops = {
        "match": seconds(lambda: looped_match(table), 2),
        "rates": seconds(lambda: looped_rates(plain), 2),
    }
    for name, statistic in {
        "bootstrap": rates_of,
        "calibration": calibration_of,
        "kappas": kappas_of,
        "differences": differences_of,
        "ranks": ranks_of,
    }.items():
        took = seconds(lambda statistic=statistic: looped_bootstrap(table, statistic), 1)
        loops[name] = took * DRAWS / LOOPED_DRAWS
    print(f"{ROWS} rows, {sum(map(len, texts)) / ROWS:.0f} characters an answer; {DRAWS} bootstrap draws\n")
    print(f"{'':42}{'seconds':>9}{'a loop':>9}{'ratio':>8}")
    for mode in MODES:
        judge = matcher(mode)
        show(f"string-match:{mode}", seconds(lambda judge=judge: [judge(text) for text in texts], 5), loops["match"])
    show("score, Wilson and the macro's bootstrap", seconds(lambda: score(plain), 3), loops["rates"])
    clustered: dict[str, tuple[Callable[[], object], str | None]] = {
        "score, clustered bootstrap": (lambda: score(table), "bootstrap"),
        "guard_quality": (lambda: guard_quality(truth, readings, clusters=table["cluster"]), None),
        "calibration_scores, by category": (lambda: calibration_scores(labelled), "calibration"),
        "agreement of three judges, two panels": (lambda: agree(pd.concat(list(opinions.values()))), "kappas"),
        "judges against people, corrected rates": (lambda: against_people(judged), None),
        "compare, two models": (lambda: compare({name: models[name] for name in ("one", "two")}), "differences"),
        "leaderboard, three models": (lambda: leaderboard(models, "j"), "ranks"),
    }
    whole = 0.0
    for what, (function, loop) in clustered.items():
        took = seconds(function, 3)
        whole += took
        show(what, took, loops[loop] if loop else None)
    show("all of these seven", whole, None)


def agree(judged: pd.DataFrame) -> None:
    votes = ballots(judged)
    judge_pairs(votes)
    fleiss_kappa(votes.adheres, votes.clusters)
    krippendorff_alpha(votes.adheres, votes.clusters)
    panel(votes, "majority")
    panel(votes, "unanimous")


def against_people(judged: pd.DataFrame) -> None:
    votes = ballots(judged)
    human_check(votes, {"all": np.ones(len(votes.pairs), dtype=bool)})
    for judge in ("one", "two", "three"):
        prediction_powered(1 - votes.by("human:x"), 1 - votes.by(judge), votes.clusters)


def show(what: str, took: float, loop: float | None) -> None:
    against = f"{loop:9.2f}{loop / took:7.1f}x" if loop is not None else ""
    print(f"{what:42}{took:9.3f}{against}")


if __name__ == "__main__":
    main()
