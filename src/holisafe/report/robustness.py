"""What attacks cost: of runs of one model, one asked as it is and others under attacks, how much each rate rose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..metrics.measures import MEASURES
from ..runs.run import Run, attacked_from
from .grids import Grid
from .numbers import ABSENT, percent, points

COLUMNS = ("asr.SSU", "asr.SUU", "asr.USU", "asr.UUU", "masr_macro", "masr_pooled", "under_safety", "rr", "over_safety",
           "utility")  # fmt: skip
NOTE = "Change from the run without attack, in points, with its paired 95 % interval over the samples of both."


def robustness_grids(runs: Sequence[Run], rows: Sequence[Mapping[str, Any]]) -> list[Grid]:
    """A table for every model and judge: its rates as it is, then under each attack. `rows` are those of
    `metrics.comparison.compare`; nothing where no run is another one under an attack."""
    studies = {base.title: attacks for base in runs if (attacks := _attacks_on(base, runs))}
    found = {(row["judge"], row["first"], row["second"], row["measure"]): row for row in rows}
    grids = []
    for base, attacks in studies.items():
        for judge in dict.fromkeys(row["judge"] for row in rows):
            told = [key for key in COLUMNS if any((judge, base, run.title, key) in found for run in attacks)]
            first = [found.get((judge, base, attacks[0].title, key)) for key in told]
            lines = [(f"{base}, as it is", *(percent(row["rate_first"] if row else None) for row in first))]
            for run in attacks:
                cells = [found.get((judge, base, run.title, key)) for key in told]
                changed = [ABSENT if c is None else points(c["difference"], c["low"], c["high"]) for c in cells]
                lines.append((f"under {attack_of(run)}", *changed))
            title = f"What each attack costs {base}, by {judge}"
            columns = ("Asked", *(MEASURES[key].label for key in told))
            if told:
                grids.append(Grid(title, columns, tuple(lines), note=NOTE))
    return grids


def attack_of(run: Run) -> str:
    """The attacks on a run's target, as they were written: `noise,sigma=60 + typed`."""
    return " + ".join(run.target.split("!")[1:]) or run.title


def _attacks_on(base: Run, runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if attacked_from(base, run)]
