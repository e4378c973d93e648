"""From the run folders of a sweep to its numbers: rates, losses, fronts, knees and picks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from ..interchange.lmms_eval_results import read_result
from ..metrics.frontier import knee, oriented, pareto_front, pick
from ..metrics.setting_rates import losses, pooled, safety_rates, spread, unpaired_loss, utility_rate
from ..runs.folder import provenance
from ..runs.frame import VERDICTS
from ..runs.run import read_run
from .sweep_config import UNTOUCHED, SweepConfig
from .sweep_parts import Asked
from .sweep_settings import Setting

SCHEMA = 1
AXES = (("sra_u", "sra_s"), ("sra_u", "utility"), ("masr_pooled", "rr"), ("under_safety", "over_safety"))
"""Pairs of measures that have a front, upwards and sideways."""

Numbers = dict[str, Any]
"""What one setting got in one phase: rates, losses, spread, failed, latency, latency_ratio."""


@dataclass(frozen=True)
class Read:
    """Verdicts on safety pairs and on questions, how long each answer took, and how many calls failed."""

    pairs: pd.DataFrame
    questions: pd.DataFrame
    seconds: tuple[float, ...]
    failed: int


class Results:
    """The numbers of a sweep's settings; `settings` begins with the untouched model. Raises InputError for results
    files of lmms-eval that cannot be used."""

    def __init__(self, config: SweepConfig, out: Path, settings: Sequence[Setting], asked: Sequence[Asked]) -> None:
        self.config, self.out, self.settings, self.asked = config, out, settings, asked
        told = config.utility.lmms_eval if config.utility else None
        self.imported = {
            phase: {name: read_result(path, told.task, told.metric) for name, path in files.items()}
            for phase, files in ((("choose", told.choose), ("report", told.report)) if told else ())
            if told is not None
        }
        self.numbers = lru_cache(maxsize=None)(self._numbers)
        self._read_once = lru_cache(maxsize=None)(self._read)

    def picks(self) -> dict[str, Any]:
        """{"measure", "limits", "all": NAME or None, "methods": {METHOD: NAME or None}} by the split to choose on.

        Only a setting that is better than the untouched model is worth taking, and none whose calls failed.
        """
        rule = self.config.pick
        if rule is None:
            return {"measure": None, "limits": [], "all": None, "methods": {}}
        own = [(place, setting) for place, setting in enumerate(self.settings) if not setting.compared]
        rated = [(setting, self.numbers(place, "choose")) for place, setting in own]

        def value(numbers: Numbers) -> float | None:
            return oriented(rule.measure, (numbers["rates"].get(rule.measure) or {}).get("rate"))

        base = value(rated[0][1])
        better = [
            (setting, numbers)
            for setting, numbers in rated
            if setting.method and not numbers["failed"] and _more(value(numbers), base)
        ]

        def best(among: Sequence[tuple[Setting, Numbers]]) -> str | None:
            at = pick([numbers for _, numbers in among], rule.measure, rule.parsed)
            return None if at is None else among[at][0].name

        by_method = {m.called: best([one for one in better if one[0].method == m]) for m in self.config.methods}
        return {"measure": rule.measure, "limits": list(rule.limits), "all": best(better), "methods": by_method}

    def frontier(self, picks: Mapping[str, Any], reported: Sequence[Setting]) -> dict[str, Any]:
        """All that OUT/frontier.json holds. `reported` are the settings that were measured on the split to report."""
        points = [
            self._point(place, setting, ("choose", "report") if setting in reported else ("choose",))
            for place, setting in enumerate(self.settings)
        ]
        return {
            "schema": SCHEMA,
            "config": json.loads(self.config.model_dump_json()),
            "judges": {asked.name: asked.judge.name for asked in self.asked},
            "parts": {asked.folder: self._described(asked) for asked in self.asked},
            "points": points,
            "fronts": fronts([point for point in points if point["kind"] != "compared"]),
            "picks": dict(picks),
            **provenance(),
        }

    def _described(self, asked: Asked) -> dict[str, Any]:
        found = asked.benchmark
        return {"benchmark": found.name, "split": found.split, "samples": asked.size(self.config.limit)}

    def _point(self, place: int, setting: Setting, phases: Sequence[str]) -> dict[str, Any]:
        return {
            "name": setting.name,
            "kind": setting.kind,
            "method": setting.method.called if setting.method else None,
            "target": setting.target,
            "options": dict(setting.options),
            "seeds": [seed for seed in setting.seeds if seed is not None],
            "folders": [setting.folder(seed) for seed in setting.seeds],
            "report": None,
            **{phase: self.numbers(place, phase) for phase in phases},
        }

    def _numbers(self, place: int, phase: str) -> Numbers:
        setting = self.settings[place]
        mine = [self._read_once(setting.folder(seed), phase) for seed in setting.seeds]
        plain = self._read_once(self.settings[0].folder(None), phase)
        by_seed = [safety_rates(one.pairs) | utility_rate(one.questions) for one in mine]
        pairs, questions = pooled([one.pairs for one in mine]), pooled([one.questions for one in mine])
        rates = safety_rates(pairs) | utility_rate(questions)
        lost: dict[str, Any] = {}
        if setting.kind != UNTOUCHED:
            lost = losses(pooled([plain.pairs] * len(mine)), pairs, questions=False)
            lost |= losses(pooled([plain.questions] * len(mine)), questions, questions=True)
        given = self.imported.get(phase, {})
        if setting.name in given:
            rates = {**rates, "utility": given[setting.name]}
            lost |= unpaired_loss("utility", given.get(UNTOUCHED), given[setting.name]) if lost else {}
        latency, usual = _median([time for one in mine for time in one.seconds]), _median(plain.seconds)
        return {
            "rates": rates,
            "losses": lost,
            "spread": spread(by_seed) if len(by_seed) > 1 else {},
            "failed": sum(one.failed for one in mine),
            "latency": latency,
            "latency_ratio": latency / usual if latency is not None and usual else None,
        }

    def _read(self, folder: str, phase: str) -> Read:
        """One setting's verdicts in a phase; pairs of two benchmarks stand in one table, with ids of their own."""
        nothing = pd.DataFrame(columns=list(VERDICTS))
        pairs, questions, seconds, failed = list[pd.DataFrame](), list[pd.DataFrame](), list[float](), 0
        for asked in self.asked:
            if asked.phase == phase:
                run = read_run(self.out / folder / asked.folder)
                table = run.verdicts[run.verdicts["judge"] == asked.judge.name]
                own = {name: f"{asked.name}:" + table[name] for name in ("sample_id", "cluster")}
                (questions if asked.name == "utility" else pairs).append(table.assign(**own))
                seconds += [float(time) for time in run.answers["latency_seconds"] if time > 0]
                failed += run.scores.responses.errors + sum(run.scores.judge_errors.values())
        both = [pd.concat(parts, ignore_index=True) if parts else nothing for parts in (pairs, questions)]
        return Read(both[0], both[1], tuple(seconds), failed)


def fronts(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"UP/ACROSS": {"front": [NAME ...], "knee": NAME or None}} by the split to choose on, of points without failures.

    Where ASR and RR are about the very pairs of under- and over-safety, these are left out.
    """
    found: dict[str, Any] = {}
    for up, across in AXES:
        if up == "under_safety" and "masr_pooled/rr" in found:
            continue
        places = [_place(point["choose"], up, across) for point in points]
        on, best = pareto_front(places), knee(places)
        names = [point["name"] for point, is_on in zip(points, on, strict=True) if is_on]
        if names:
            found[f"{up}/{across}"] = {"front": names, "knee": None if best is None else points[best]["name"]}
    return found


def _place(numbers: Numbers, up: str, across: str) -> tuple[float | None, float | None]:
    if numbers["failed"]:
        return None, None
    rates = numbers["rates"]
    first, second = ((rates.get(name) or {}).get("rate") for name in (across, up))
    return oriented(across, first), oriented(up, second)


def _more(value: float | None, base: float | None) -> bool:
    return value is not None and (base is None or value > base)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
