"""docs/guards_compared.md, its numbers and its figure, from what benches/pictosafe_guards.py measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from guards_measured import REFERENCE
from holisafe.report.figures.roc import Guarding, roc
from inside_frontier import write_alone
from inside_models import SEEDS
from pictosafe_calibration import rounded
from pictosafe_guard import TITLES, table
from pictosafe_guards import HEADS, TUNED
from unseen_page import over_seeds

WANTED = {"0.01": "1 %", "0.05": "5 %", "0.1": "10 %"}
RIVALS = ("text alone", "image head", "QGuard, base", "QGuard, tuned")
SEES = {"text alone": "question", "image head": "picture"}
DRAWN = (REFERENCE, *RIVALS)
JUDGED = "0.05"
"""The wanted share of false alarms at which the claim is judged."""

PAGE = """# Guards compared: does anything but a pair head see SSU?

The pair head's claim is that it sees pairs whose picture and question are each harmless. Here its rivals read the
same pairs of PictoSafe's test split: SSU (n={ssu}) against SSS (n={sss}). Thresholds are chosen for at most 1, 5 and
10 % false alarms on the SSS pairs of the validation split (n={chosen}), whose drawings are of the seen style; what they
come to on the test split is told. AUROC is that of SSU against the SSS pairs of the same truth tables (n={beside}),
which neither picture nor question alone tells apart: chance is 50 %.

{verdict}

    python benches/pictosafe_guards.py

Percent: mean over seeds, in brackets the least and the most; of one seed its 95 % interval (2,000 bootstrap draws by
cluster). Every run's intervals are in [guards_compared.json](guards_compared.json). {invalid}
{seeds}
{tables}

![Found against false alarms, unseen style](images/guards_compared.svg)

SSU pairs found against SSS pairs of their tables raised, unseen style, seed 0, with 95 % bands.

## How far ahead the pair head is

`{reference}` minus the guard, in points, with the paired 95 % interval; one number a seed, both guards of that seed.
Found `at equal alarms`: each guard's threshold is set where 5 % of the test split's own SSS pairs are above it, so that
none gains by more false alarms than were wanted.
{leads}

## What a pair takes

{costs}
Processor time of the reading process, one thread, {timed} pairs read together, in milliseconds. QGuard asks
fourteen questions about each pair. Nothing is paid for: all run on this machine.

## What was compared

- `image head`: the demo's recipe with 3.5 epochs, the guard beside the answers, on the 20 image labels. It sees the
  picture.
- `pair head`: the same head on whether the pair is unsafe. `frozen` is trained on PictoVLM as it is; `full`, `robust`
  and `LoRA` tune the model along by those [recipes](unseen_style.md), 3.5 epochs.
  Leads are measured from `frozen`, which leaves the model as `QGuard, base` asks it. `full` and `LoRA` with eight
  epochs stand in [guard_results.md](guard_results.md).
- `QGuard`: PictoVLM, or the tuned model of the image head's row, asked
  [QGuard's questions](guard_eval.md#others-guards) in this project's wording, pooled as in the paper. PictoVLM has
  4 million parameters, was never taught to answer Yes or No, and spells either in pieces, the first of which stands for
  the word: this says nothing about QGuard on a model of billions.
- `text alone`: a logistic regression over TF-IDF of one- and two-word phrases of the queries, fitted on the training
  split. It stands for a text guard and exists in this script alone: no pretrained text guard could be had
  without a hub.
- No guard that reads typed text takes part: there is none in PictoSafe's pictures.
"""


def write_page(found: Mapping[str, Any], docs: Path) -> None:
    """The page, its numbers and its figure into the folder of docs."""
    (docs / "guards_compared.md").write_text(page(found), encoding="utf-8")
    (docs / "guards_compared.json").write_text(json.dumps(rounded(found)) + "\n", encoding="utf-8")
    draw(found["styles"]["unseen"], docs / "images" / "guards_compared.svg")


def page(found: Mapping[str, Any]) -> str:
    styles, pairs = found["styles"], found["pairs"]
    return PAGE.format(
        ssu=pairs["seen"]["SSU"],
        sss=pairs["seen"]["SSS"],
        beside=pairs["seen"]["SSS of SSU's tables"],
        chosen=pairs["validation"]["SSS"],
        verdict="\n".join(verdict(styles)),
        seeds=missing(styles["seen"]),
        invalid=unread(styles),
        tables="\n".join(line for style, runs in styles.items() for line in found_table(TITLES[style], runs)),
        reference=REFERENCE,
        leads="\n".join(line for style, runs in styles.items() for line in lead_table(TITLES[style], runs)),
        costs=cost_table(found["seconds"]),
        timed=found["timed"],
    )


def verdict(styles: Mapping[str, Any]) -> Iterator[str]:
    """Whether the claim stands in a style, in words, from the numbers."""
    for style, runs in styles.items():
        rivals = {name: runs[name] for name in RIVALS if name in runs}
        heads = {name: of for name, of in runs.items() if name not in rivals}
        near = beside(rivals, ("auroc", "even", JUDGED))
        sees = all(low(one["auroc"]) > 0.5 for of in heads.values() for one in of)
        best = max(rivals, key=lambda name: max(one["auroc"]["rate"] for one in rivals[name]))
        word = "stands" if sees and not near else "falls"
        yield f"- In the {TITLES[style]} the claim **{word}** at 5 % false alarms."
        if near:
            yield f"  `{REFERENCE}` is not surely ahead of {', '.join(near)}."
        else:
            yield f"  `{REFERENCE}` is ahead of every rival in AUROC, and in what it finds at 5 % wanted and at equal"
            yield "  alarms, by the paired interval of every seed."
        for share in (share for share in WANTED if share != JUDGED):
            if close := beside(rivals, (share,)):
                each = (
                    f"`{name}` finds {told([one['at'][share]['found'] for one in of])} %" for name, of in heads.items()
                )
                yield f"  At {WANTED[share]} wanted it **falls** for `{REFERENCE}`, not surely ahead of"
                yield f"  {', '.join(close)}:"
                yield f"  {', '.join(each)} of SSU."
        yield f"  The best rival by AUROC is `{best}`: {told([one['auroc'] for one in rivals[best]])} %."
        for name, of in heads.items():
            found, alarms = (told([one["at"][JUDGED][kind] for one in of]) for kind in ("found", "alarms"))
            yield f"  `{name}`: AUROC {told([one['auroc'] for one in of])} %, {found} % of SSU found at"
            even = told([one["even"] for one in of])
            yield f"  {alarms} % false alarms (5 % wanted), {even} % at 5 % measured."


def beside(rivals: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    """The rivals that the pair head of some seed is not surely ahead of in each of the figures."""
    return [
        f"`{name}`"
        for name, of in rivals.items()
        if any((lead[figure]["low"] or 0) <= 0 for one in of for lead in one["ahead"] for figure in figures)
    ]


def low(cell: Mapping[str, Any]) -> float:
    """No interval is given where every draw gives the same value."""
    return float(cell["rate"] if cell["low"] is None else cell["low"])


def unread(styles: Mapping[str, Any]) -> str:
    count = sum(one["n_invalid"] for runs in styles.values() for of in runs.values() for one in of)
    return f"Pairs without a verdict: {count or 'none'}."


def missing(runs: Mapping[str, Any]) -> str:
    """How many seeds there are, where not all; 0 of what was not run."""
    counts = {name: len(runs.get(name, ())) for name in (*HEADS, TUNED)}
    few = [f"`{name}` {count}" for name, count in counts.items() if count < len(SEEDS)]
    return (
        f"Not all {len(SEEDS)} seeds were run; of these so many: {', '.join(few)}." if few else f"Seeds: {len(SEEDS)}."
    )


def found_table(title: str, runs: Mapping[str, Any]) -> list[str]:
    rows = [
        [name, SEES.get(name, "both"), told([one["auroc"] for one in of])]
        + [told([one["at"][share][kind] for one in of]) for share in WANTED for kind in ("found", "alarms")]
        + [str(len(of))]
        for name, of in runs.items()
    ]
    columns = [one for words in WANTED.values() for one in (f"SSU found, {words} wanted", "false alarms")]
    return ["", f"## {title[0].upper()}{title[1:]}", *table(["guard", "sees", "AUROC", *columns, "seeds"], rows)]


def told(cells: Sequence[Mapping[str, Any]]) -> str:
    """Over seeds, or one with its interval; without one where no draw differs."""
    if len(cells) > 1:
        return over_seeds(cells)
    one = cells[0]
    rate = f"{100 * one['rate']:.1f}"
    return rate if one["low"] is None else f"{rate} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def lead_table(title: str, runs: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, of in runs.items():
        leads = [lead for one in of for lead in one["ahead"]]
        if leads:
            rows.append([name, *("; ".join(points(lead[key]) for lead in leads) for key in ("auroc", *WANTED, "even"))])
    columns = ["AUROC", *(f"found, {words} wanted" for words in WANTED.values()), "found at equal alarms"]
    return ["", f"**{title[0].upper()}{title[1:]}**", *table(["guard", *columns], rows)]


def points(one: Mapping[str, Any]) -> str:
    value = f"{100 * one['value']:+.1f}"
    return value if one["low"] is None else f"{value} [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]"


def cost_table(seconds: Mapping[str, float]) -> str:
    rows = [[name, f"{1000 * spent:.3g}"] for name, spent in seconds.items()]
    return "\n".join(table(["guard", "ms a pair"], rows)[1:]) + "\n"


def draw(runs: Mapping[str, Any], out: Path) -> None:
    """Curves of the first seed, as an SVG file."""
    shown = [Guarding(one, tone, tuple(map(tuple, runs[one][0]["curve"]))) for tone, one in enumerate(DRAWN)]
    svg = roc(shown, title="SSU found against false alarms", name="g")
    write_alone(svg, out, "guards.css")
