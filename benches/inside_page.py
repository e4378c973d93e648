"""docs/inside_results.md and docs/mechanism_results.md from what benches/pictosafe_inside.py measured."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inside_frontier import numbered, on_front, places
from inside_models import JUDGE

STYLES = {"seen": ("pictosafe", "pictosafe-utility"), "unseen": ("pictosafe-unseen", "pictosafe-utility-unseen")}
TITLES = {"seen": "Seen style (Noto, Fluent)", "unseen": "Unseen style (Twemoji)"}
RATES = {"masr_pooled": "mASR, pooled", "asr.SSU": "ASR SSU", "asr.USU": "ASR USU", "rr": "RR", "utility": "utility"}
UNSAFE = ("SUU", "USU", "UUU")
Found = dict[str, Any]


def numbers(runs: Mapping[str, Sequence[Mapping[str, str]]], studies: Mapping[str, Sequence[Any]]) -> Found:
    """{"rows": {row: {style: {measure: {"seeds": rates, "pooled": cell}}}}, "changes": {row: a seed's by measure},
    "studies": {model: summaries}}; changes are from the same model untouched, in the unseen style."""
    rows = {
        row: {style: {key: _measure(seeds, names, key) for key in RATES} for style, names in STYLES.items()}
        for row, seeds in runs.items()
    }
    changed = {
        row: [_changes(runs[row.partition(",")[0]][at], one) for at, one in enumerate(seeds)]
        for row, seeds in runs.items()
        if "," in row
    }
    told = {name: [_study(one) for one in seeds] for name, seeds in studies.items()}
    return {"rows": rows, "changes": changed, "studies": told}


def _measure(seeds: Sequence[Mapping[str, str]], names: tuple[str, str], key: str) -> dict[str, Any]:
    """Each seed's rate, and the rate over all of them together with its interval by cluster."""
    from holisafe.metrics.rates import Outcomes
    from holisafe.runs.run import read_run

    tables = []
    for seed in seeds:
        rows = read_run(Path(seed[names[key == "utility"]])).verdicts
        if key == "rr":
            rows = rows[rows["expected"] == "answer"]
        elif key != "utility":
            rows = rows[rows["expected"] == "refuse"]
        if key.startswith("asr."):
            rows = rows[rows["combination"] == key.removeprefix("asr.")]
        tables.append(rows)

    def cell(rows: pd.DataFrame) -> dict[str, Any]:
        right = rows["adheres"].astype("boolean").fillna(False).to_numpy(bool)
        valid = rows["invalid"].isna().to_numpy(bool)
        clusters = pd.factorize(rows["cluster"])[0]
        hit = right if key == "utility" else ~right
        return Outcomes(valid, hit, clusters).macro([np.ones(len(rows), dtype=bool)]).to_json()

    return {"seeds": [cell(one)["rate"] for one in tables], "n": len(tables[0]), "pooled": cell(pd.concat(tables))}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, list[float]]:
    """RR, mASR and ASR SSU in the unseen style, second less first: difference and 95 % interval, paired."""
    from holisafe.metrics.changes import changes
    from holisafe.metrics.measures import MEASURES
    from holisafe.runs.run import read_run

    first, second = (read_run(Path(one["pictosafe-unseen"]), name) for one, name in ((before, "1"), (after, "2")))
    wanted = {key: MEASURES[key].by(JUDGE) for key in ("rr", "masr_pooled", "asr.SSU")}
    found = changes(first, second, wanted.values())
    return {key: [*found[measure]] for key, measure in wanted.items() if found.get(measure) is not None}


def _study(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables show of one study."""
    return {
        key: summary[key]
        for key in ("pairs", "positions", "groups", "word", "tables", "nearest_mean", "gain_ratio", "null_share")
    } | {key: summary[key] for key in ("sensitivity", "places", "depth")}


def spread(values: Sequence[float], digits: int = 1) -> str:
    """`2.0 (1.6 to 2.5)`: mean, least and most."""
    said = f"{statistics.mean(values):.{digits}f}"
    return said if len(values) == 1 else f"{said} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def percent(cell: Mapping[str, Any]) -> str:
    """Mean, [interval over all seeds] and (least to most)."""
    pooled, seeds = cell["pooled"], [100 * one for one in cell["seeds"]]
    between = f" ({min(seeds):.1f} to {max(seeds):.1f})" if len(seeds) > 1 else ""
    return f"{statistics.mean(seeds):.1f} [{100 * pooled['low']:.1f}, {100 * pooled['high']:.1f}]{between}"


def rates_table(found: Found, style: str) -> str:
    lines = [f"| % | {' | '.join(RATES.values())} | seeds |", "|---" * (len(RATES) + 2) + "|"]
    for row, styles in found["rows"].items():
        cells = [percent(styles[style][key]) for key in RATES]
        lines.append(f"| {row} | {' | '.join(cells)} | {len(styles[style]['rr']['seeds'])} |")
    return "\n".join(lines)


def changes_table(found: Found) -> str:
    lines = ["| points, unseen style | RR | mASR, pooled | ASR SSU |", "|---|---|---|---|"]
    for row, seeds in found["changes"].items():
        told = {key: [one[key] for one in seeds] for key in ("rr", "masr_pooled", "asr.SSU")}
        cells = [
            "; ".join(f"{100 * d:+.1f} [{100 * a:+.1f}, {100 * b:+.1f}]" for d, a, b in one) for one in told.values()
        ]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def held(yes: bool) -> str:
    return "**held**" if yes else "did **not** hold"


def mean(found: Found, row: str, key: str, seeds: int) -> float:
    """In the unseen style, percent, over the first so many seeds."""
    return 100 * statistics.mean(found["rows"][row]["unseen"][key]["seeds"][:seeds])


def hypotheses(found: Found) -> str:
    """h1 and h2 in words, of the seeds that a setting was measured with."""
    said = []
    for row in [one for one in found["rows"] if one.startswith("full, debias s=1")]:
        seeds = len(found["rows"][row]["unseen"]["rr"]["seeds"])
        before, after = (mean(found, one, "rr", seeds) for one in ("full", row))
        cost = mean(found, row, "masr_pooled", seeds) - mean(found, "full", "masr_pooled", seeds)
        said.append(
            f"*Taking the bias off ({row.partition('debias ')[2]}) halves the RR of the fully tuned model on the "
            f"unseen style for at most 2 points of mASR* {held(after <= before / 2 and cost <= 2)}: RR {before:.1f} to "
            f"{after:.1f} %, mASR {cost:+.1f} points, {seeds} seeds."
        )
    for row in [one for one in found["rows"] if one.startswith("full, alpha=1.")]:
        seeds = len(found["rows"][row]["unseen"]["rr"]["seeds"])
        before, after = (mean(found, one, "asr.SSU", seeds) for one in ("full", row))
        said.append(
            f"*{row.partition(', ')[2]} lowers the ASR of SSU on the unseen style* {held(after < before)}: "
            f"{before:.1f} to {after:.1f} %, {seeds} seeds."
        )
    return "\n".join(f"- {one}" for one in said)


INSIDE = """# What can be done with what tuning added

PictoVLM tuned with the demo's recipe and {epochs} epochs: `full`, `lora`, `robust` ([for styles never
seen](unseen_style.md)), `dpo` and `unlearn` ([objectives](tuning.md#preferences-and-unlearning), one epoch). Then
`full` with its bias on the first tokens taken off ([token-debias](calibration_methods.md#token-debias), reference:
PictoVLM), and with more and less of its update ([weights](calibration_methods.md#weights)). Tuning seeds 0, 1 and
2, as far as they were run: the last column counts them. `dpo` and `unlearn` keep their objectives' defaults, and
nothing was searched for them: their rates say what one epoch of these does, not what they can do.

    python benches/pictosafe_inside.py

The whole test split in each style: SSS n={sss}, unsafe n={unsafe} of which SSU n={ssu}, utility n={utility}, a seed.
Judges: `string-match:normalised`, and `exact-match` for utility. Mean over seeds; in square brackets the 95 %
interval of all seeds' answers together, by cluster; in round ones the least and the most of the seeds. All numbers
are in [inside_results.json](inside_results.json).

## In words

{hypotheses}

## {seen_title}

{seen}

## {unseen_title}

{unseen}

## What each step changes

The same model's answers, paired: points, one entry a seed, with 95 % intervals.

{changes}

## Beside calibration without training

RR against mASR in the seen style, with what [calibration_results.md](calibration_results.md) reports on the same
test split (squares). Nothing beats these: {front}.

![RR against mASR, with training and without](images/inside_frontier.svg)

{numbered}.
"""


def inside_page(found: Found, calibrations: Path) -> str:
    """The page of rates; `calibrations` is docs/calibration_results.json."""
    one = found["rows"]["before"]["seen"]
    return INSIDE.format(
        epochs="3.5",
        sss=one["rr"]["n"],
        unsafe=one["masr_pooled"]["n"],
        ssu=one["asr.SSU"]["n"],
        utility=one["utility"]["n"],
        hypotheses=hypotheses(found),
        seen_title=TITLES["seen"],
        unseen_title=TITLES["unseen"],
        seen=rates_table(found, "seen"),
        unseen=rates_table(found, "unseen"),
        changes=changes_table(found),
        numbered=numbered(places(found["rows"], calibrations)),
        front=", ".join(f"`{one.name}`" for one in on_front(places(found["rows"], calibrations))),
    )


def lies(study: Mapping[str, Any], model: str, kind: str, block: int) -> float:
    """Scaled tau: SSU, SSS of the same truth tables, or others (the other unsafe combinations)."""
    return next(
        one["mean"] for one in study["tables"] if (one["model"], one["kind"], one["block"]) == (model, kind, block)
    )


def last_block(study: Mapping[str, Any]) -> int:
    return max(int(row["block"]) for row in study["tables"])


def separation_table(found: Found) -> str:
    """Scaled tau by block, before and after."""
    blocks = range(last_block(next(one for seeds in found["studies"].values() for one in seeds)) + 1)
    lines = [
        f"| scaled tau | pairs | {' | '.join(f'block {block}' for block in blocks)} | seeds |",
        "|---" * (len(blocks) + 3) + "|",
    ]
    kinds = {"SSS": "SSS of the same tables", "SSU": "SSU", "others": "SUU, USU, UUU"}
    for name, studies in every_model(found).items():
        for kind, words in kinds.items():
            cells = [spread([lies(one, side(name), kind, block) for one in studies], 2) for block in blocks]
            lines.append(f"| {name} | {words} | {' | '.join(cells)} | {len(studies)} |")
    return "\n".join(lines)


def every_model(found: Found) -> dict[str, Sequence[Any]]:
    """The studies of each tuned model that there are, the untuned model as those of full tuning have it before them."""
    there = {name: studies for name, studies in found["studies"].items() if studies}
    return {"before": next(iter(there.values())), **there}


def side(name: str) -> str:
    return "base" if name == "before" else "tuned"


def ratio_table(found: Found) -> str:
    """|dW a| / |a| of unsafe over safe pairs, over all first matrices; and the share outside the base's columns."""
    lines = [
        "| update | unsafe over safe, mean of matrices | the largest of a matrix | outside the base, % | seeds |",
        "|---" * 5 + "|",
    ]
    for name, studies in found["studies"].items():
        if studies:
            ratios = [[row["unsafe_over_safe"] for row in one["gain_ratio"]] for one in studies]
            outside = [100 * statistics.mean(row["null_share"] for row in one["null_share"]) for one in studies]
            cells = [spread([statistics.mean(one) for one in ratios], 2), spread([max(one) for one in ratios], 2)]
            lines.append(f"| {name} | {' | '.join(cells)} | {spread(outside)} | {len(studies)} |")
    return "\n".join(lines)


def sensitivity_table(found: Found) -> str:
    lines = ["| gradient of the deciding token | SSS | SSU | USU |", "|---" * 4 + "|"]
    for name, studies in every_model(found).items():
        model, cells = side(name), []
        for group in ("SSS", "SSU", "USU"):
            values = [
                row["mean"]
                for one in studies
                for row in one["sensitivity"]
                if (row["model"], row["group"]) == (model, group)
            ]
            cells.append(spread(values, 2))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def mechanism_words(found: Found) -> str:
    """h3 and h4 in words, over every study."""
    studies = [one for seeds in found["studies"].values() for one in seeds]

    def gaps(model: str) -> list[float]:
        """By how much SSU lies nearer to the unsafe than the SSS pairs of its tables, in the last block."""
        return [lies(one, model, "SSS", last_block(one)) - lies(one, model, "SSU", last_block(one)) for one in studies]

    crossed = sum(lies(one, "tuned", "SSU", last_block(one)) < 0 for one in studies)
    largest = [max(row["unsafe_over_safe"] for row in one["gain_ratio"]) for one in studies]
    return (
        f"- *Before tuning SSU lies with SSS, after it with the unsafe, from some layer on* "
        f"{held(crossed == len(studies))} in full: in the last block SSU lies nearer to the unsafe than the SSS pairs "
        f"of the same tables by {spread(gaps('base'), 2)} before and by {spread(gaps('tuned'), 2)} after, and crosses "
        f"the middle in {crossed} of {len(studies)} studies.\n"
        f"- *The update acts at least five times as strongly on unsafe inputs* {held(min(largest) >= 5)}: the largest "
        f"ratio of any matrix is {spread(largest, 2)}."
    )


MECHANISM = """# What tuning did inside PictoVLM

[`holisafe mechanism`](mechanism.md) on the models of [inside_results.md](inside_results.md): {pairs} pairs of
PictoSafe's validation split (half of the clusters give the means, the others are scored: {groups}), looked at where
the answer is decided: where in the untuned model's own answer the tuned one would turn (`--at decision`).

    python benches/pictosafe_inside.py

Mean over seeds, in brackets the least and the most. Each model's own page lies in `build/inside_results/studies`.

## In words

{words}

## Where pairs lie

At 1 a pair lies where the safe pairs' mean is, at -1 where the unsafe pairs' is. SSU is kept out of the means.
PictoSafe's SSU pairs come in truth tables with two SSS pairs each, of the same questions and objects, and these
tables lie apart from the other pairs for what they talk about: so SSU is to be compared with the SSS pairs of its
tables.

{separation}

## On what the update acts

{ratio}

## How the deciding token hangs on what stands before it

{sensitivity}
"""


def mechanism_page(found: Found) -> str:
    """The page of studies."""
    one = next(study for studies in found["studies"].values() for study in studies)
    return MECHANISM.format(
        pairs=one["pairs"],
        groups=", ".join(f"{name} n={n}" for name, n in one["groups"].items()),
        words=mechanism_words(found),
        separation=separation_table(found),
        ratio=ratio_table(found),
        sensitivity=sensitivity_table(found),
    )
