"""A sweep: methods and strengths over a safety benchmark and a utility benchmark, and what to choose of them.

    OUT/learned/METHOD-seedN-KEY.safetensors     what methods learnt first, kept for the next time
    OUT/runs/SETTING-KEY/choose-safety/ ...      one ordinary run folder a setting, seed and part
    OUT/frontier.json                            every rate, loss, front and pick

Every part is a run of `evaluate`, so a killed sweep goes on, and a longer grid only runs what is new. All settings are
measured on the split to choose on; on the split to report only the untouched model, the compared ones and what was
picked, unless everything is asked for. Nothing is ever picked by the report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..evaluation import evaluate
from ..journal import write_json
from ..records import GenerationSettings
from ..registry import targets
from ..runs.manifest import check_plain
from ..specs import parse_spec
from ..targets import open_target
from ..targets.base import Target
from . import attacked
from .sweep_config import SweepConfig
from .sweep_parts import asked_parts, pairs_to_fit
from .sweep_results import Results
from .sweep_settings import Files, Setting, learnt, settings_of

Progress = Callable[[int, int, str], None]
"""Called with how many answers of all settings are there, how many there will be, and what is being done."""


class Sweep:
    """A sweep ready to run. Making one opens benchmarks and judges, and loads no model.

    Raises InputError for whatever can be known so early: an unknown benchmark, judge, method or target, splits that
    share samples, pairs to learn from that are reported later, unusable results of lmms-eval.
    """

    def __init__(self, config: SweepConfig, out: Path, progress: Progress | None = None) -> None:
        self.config, self.out = config, out
        for spec in (config.target, *config.compare.values()):
            targets.get(parse_spec(spec).kind)
        self.generation = GenerationSettings(max_new_tokens=config.max_tokens, seed=config.seed, system=config.system)
        self.settings = settings_of(config)
        self.asked = list(asked_parts(config))
        opened: dict[tuple[str, str | None], Benchmark] = {}
        self.pairs = {
            (method.called, seed): data
            for method in config.methods
            if method.fit
            for seed, data in pairs_to_fit(method.fit, self.asked, opened)
        }
        self.results = Results(config, out, self.settings, self.asked)
        self.report, self.done = progress or (lambda done, total, doing: None), 0

    @cached_property
    def planned(self) -> dict[str, int]:
        """How many answers each phase takes. What will be picked is not known: of each method its first setting."""
        firsts = {setting.method.called: setting for setting in reversed(self.settings) if setting.method}
        reported = [s for s in self.settings if not s.method or self.config.report_all or s in firsts.values()]
        if self.config.pick is None and not self.config.report_all:
            reported = [setting for setting in self.settings if not setting.method]
        return {
            phase: sum(part.size(self.config.limit) for part in self.asked if part.phase == phase)
            * sum(len(setting.seeds) for setting in chosen)
            for phase, chosen in (("choose", self.settings), ("report", reported))
        }

    def run(self) -> dict[str, Any]:
        """Measure, choose, report; return what OUT/frontier.json then holds too.

        Raises InputError before anything is asked when a method does not fit the target; KeyboardInterrupt when
        stopped, once what was in flight is stored.
        """
        if self.out.is_dir():
            check_plain(self.out)
        self._tell("loading the model")
        target = open_target(self.config.target, self.generation)
        self._check(target)
        own = [setting for setting in self.settings if not setting.compared]
        by_method = {setting.method.called: setting for setting in own if setting.method}
        files = {
            (called, seed): learnt(self.out, by_method[called], seed, target, data, self._tell)
            for (called, seed), data in self.pairs.items()
        }
        for setting in own:  # one that does not fit the target fails now
            for seed in setting.seeds:
                setting.calibrated(target, seed, files)
        for setting in own:
            self._measure(setting, "choose", target, files)
        picks = self.results.picks()
        chosen = {own[0].name, *picks["methods"].values()}
        reported = [setting for setting in own if self.config.report_all or setting.name in chosen]
        for setting in reported:
            self._measure(setting, "report", target, files)
        del target
        for setting in self.settings[len(own) :]:
            other = open_target(setting.target, self.generation)
            for phase in ("choose", "report"):
                self._measure(setting, phase, other, files)
            reported.append(setting)
            del other  # one model at a time
        self.report(self.done, self.done, "computing intervals")
        found = self.results.frontier(picks, reported)
        write_json(self.out / "frontier.json", found)
        return found

    def _measure(self, setting: Setting, phase: str, target: Target, files: Files) -> None:
        for seed in setting.seeds:
            asked = attacked(setting.calibrated(target, seed, files), setting.attack)
            for part in self.asked:
                if part.phase != phase:
                    continue
                doing, before = f"{setting.name}, {part.folder}", self.done

                def count(stage: str, done: int, total: int, doing: str = doing, before: int = before) -> None:
                    self.done = before + done if stage == "responses" else self.done
                    self._tell(doing if stage == "responses" else f"{doing}: {stage}")

                evaluate(
                    part.benchmark,
                    asked,
                    [part.judge],
                    self.out / setting.folder(seed) / part.folder,
                    limit=self.config.limit,
                    seed=self.config.seed,
                    settings=self.generation,
                    progress=count,
                )
                self.done = before + part.size(self.config.limit)
                self._tell(doing)

    def _tell(self, doing: str) -> None:
        total = sum(self.planned.values())
        self.report(self.done, max(total, self.done), doing)

    def _check(self, target: Target) -> None:
        """Raise InputError for what a later part could only find when the earlier ones have been paid for."""
        can, most = target.capabilities.images_per_request, _most_images(self)
        if can is not None and most > can:
            raise InputError(f"{target.name} takes {can} images a request; {most} are needed")
        if self.config.system and not target.capabilities.system_prompt:
            raise InputError(f"{target.name} takes no system prompt")


def _most_images(sweep: Sweep) -> int:
    return max(len(sample.every_image) for part in sweep.asked for sample in part.benchmark.samples)


def failed(points: Sequence[dict[str, Any]]) -> int:
    """How many calls failed, over all points and phases."""
    return sum(phase["failed"] for point in points for phase in (point["choose"], point["report"]) if phase)
