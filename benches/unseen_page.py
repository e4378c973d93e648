"""docs/unseen_style.md from what benches/pictosafe_inside.py and benches/unseen_choice.py measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inside_page import RATES, percent

NAMED = {
    "named": "both named rightly",
    "SSS, named rightly": "RR where they are",
    "SSS, not": "RR where not",
    "SSU, named rightly": "ASR SSU where they are",
    "SSU, not": "ASR SSU where not",
}
CHOSEN = {"masr_pooled": "mASR, pooled", "rr": "RR", "utility": "utility", "named": "both named rightly"}
STEPS = ("false alarms", "SSU", "unsafe")

PAGE = """# A style never seen: why tuning costs more there, and what mends it

    holisafe tune --base pictovlm --data pictosafe --recipe demo-robust --out tuned

PictoVLM tuned on drawings of the seen style refuses more safe pairs and answers fewer questions in the unseen one
(Twemoji). This page says why, what was tried, and what came of it. Every choice was made on the development style
(EmojiOne); the unseen style was measured once, at the end. Judges: `string-match:normalised`, `exact-match` for
utility.

    python benches/pictosafe_inside.py && python benches/unseen_choice.py

## Why

**Tuning makes the model name worse what it sees.** PictoVLM describes a picture before it decides, so the answers
tell what it took the pictures for. Unseen style, test split, mean over seeds, intervals of all seeds' answers
together:

{named}

Where both pictures are named rightly, a tuned model decides almost as in the seen style; where not, it decides on
something else. Before tuning it named more of them. The vision tower is frozen and the same before and after, so
what is lost is how projector and decoder read it: they once learnt on strongly distorted drawings of nine styles,
and tuning shows them clean ones of two. That the tower is not to blame for the difference does not acquit it: what
it takes for another thing, no tuning mends.

## What mends it

`demo-robust` is the demo's recipe with three of four pictures [distorted](tuning.md#recipes) and with more plain
questions. `full`, `lora` and `robust` have 3.5 epochs each.

{rates}

Wanted in the unseen style: RR at most 7 %, utility at most 5 points below the untuned model's, mASR no worse than
by the [recipe](results.md). {verdict}

## What was tried

One seed, development style: 560 pairs (SSS n=204, unsafe n=356) and 180 questions. Alpha keeps that share of
tuning's update.

{tried}

Taking the update back (alpha below 1) buys RR and utility with mASR; taking back a part of the model alone is worse,
since the parts were tuned to fit each other. The first tokens' bias is no cure
([inside_results.md](inside_results.md)).

## The guard on pairs

A threshold chosen for {alarms} % false alarms on the seen style, on the development style, or on unlabelled pairs of
the unseen style ([how](guard_eval.md#images-that-nobody-labelled); one in a hundred of them unsafe, which it is
told). Frozen PictoVLM, the pair head of [guard_results.md](guard_results.md); test pairs of the unseen style, for
the last row those of the other half of the clusters:

{guards}

The development style is as foreign to the guard as the unseen one, so a threshold chosen there holds; that costs
recall, as every higher threshold does.
"""


def unseen_page(found: Mapping[str, Any], docs: Path) -> str:
    """The page."""
    return PAGE.format(
        named=named_table(found["named"]),
        rates=rates_table(found["rows"]),
        verdict=verdict(found["rows"], json.loads((docs / "results.json").read_text(encoding="utf-8"))["recipe"]),
        tried=tried_table(json.loads((docs / "unseen_choice.json").read_text(encoding="utf-8"))),
        alarms="5",
        guards=guards_table(found["guards"]),
    )


def cell(one: Mapping[str, Any]) -> str:
    return f"{100 * one['rate']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def over_seeds(cells: Sequence[Mapping[str, Any]]) -> str:
    """The mean and, of several seeds, the least and the most; of one its interval."""
    if len(cells) == 1:
        return f"{cell(cells[0])} n={cells[0]['n']}"
    rates = [100 * one["rate"] for one in cells]
    return f"{statistics.mean(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


def named_table(named: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = [f"| % | {' | '.join(NAMED.values())} | seeds |", "|---" * (len(NAMED) + 2) + "|"]
    for row, seeds in named.items():
        cells = [over_seeds([one[key] for one in seeds]) for key in NAMED]
        lines.append(f"| {row} | {' | '.join(cells)} | {len(seeds)} |")
    return "\n".join(lines)


def rates_table(rows: Mapping[str, Any]) -> str:
    lines = [f"| % | style | {' | '.join(RATES.values())} | seeds |", "|---" * (len(RATES) + 3) + "|"]
    for row in ("before", "full", "lora", "robust"):
        for style, cells in rows.get(row, {}).items():
            told = [percent(cells[key]) for key in RATES]
            lines.append(f"| {row} | {style} | {' | '.join(told)} | {len(cells['rr']['seeds'])} |")
    return "\n".join(lines)


def verdict(rows: Mapping[str, Any], recipe: Sequence[Mapping[str, Any]]) -> str:
    """Which of the three wishes came true, in words; `recipe` is what docs/results.json has of the demo's."""
    longer = 100 * statistics.mean(one["unseen"]["masr_pooled"]["rate"] for one in recipe)
    if "robust" not in rows:
        return ""
    rates = {row: {key: 100 * statistics.mean(rows[row]["unseen"][key]["seeds"]) for key in RATES} for row in rows}
    robust, lost = rates["robust"], rates["before"]["utility"] - rates["robust"]["utility"]
    wishes = {
        f"RR {robust['rr']:.1f} %": robust["rr"] <= 7,
        f"utility {lost:.1f} points below": lost <= 5,
        f"mASR {robust['masr_pooled']:.1f} against {longer:.1f} % of the recipe's eight epochs": robust["masr_pooled"]
        <= longer,
    }
    told = "; ".join(f"{said}: {'**reached**' if yes else '**not reached**'}" for said, yes in wishes.items())
    return f"{told}. Full tuning with as few epochs as `robust` has mASR {rates['full']['masr_pooled']:.1f} %."


def tried_table(tried: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [f"| % | {' | '.join(CHOSEN.values())} |", "|---" * (len(CHOSEN) + 1) + "|"]
    for name, cells in tried.items():
        lines.append(f"| {name} | {' | '.join(cell(cells[key]) for key in CHOSEN)} |")
    return "\n".join(lines)


def guards_table(seeds: Sequence[Mapping[str, Any]]) -> str:
    lines = ["| % flagged | SSS (false alarms) | SSU | all unsafe | seeds |", "|---|---|---|---|---|"]
    for name in seeds[0]:
        cells = [over_seeds([one[name][key] for one in seeds]) for key in STEPS]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(seeds)} |")
    return "\n".join(lines)
