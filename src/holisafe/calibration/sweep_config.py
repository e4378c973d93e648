"""What a sweep measures, as one YAML file: docs/calibration_sweep.md shows how to write one.

target: hf/pictovlm,batch_size=64
safety: {benchmark: pictosafe, choose: validation, report: test}
utility: {benchmark: pictosafe-utility, choose: validation, report: test}
methods:
  - method: reminder
    grid: {wording: [brief, strict], placement: [system, before]}
pick: {maximise: sra_u, limits: ["sra_s loss <= 0.02"]}
out: sweeps/reminder
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..errors import InputError
from ..metrics.frontier import Limit, parse_limit
from ..metrics.measures import SWEPT, lower_is_better
from ..specs import check_ordered, parse_spec
from ..typed_yaml import read_yaml, validated

Count = Annotated[int, Field(ge=1)]
Scalar = bool | int | float | str
UNTOUCHED = "untouched"
MOST_SETTINGS = 10_000
"""Of a sweep: each is a measurement of its own."""


class Settings(BaseModel):
    """What all parts have in common: unknown settings are errors, and nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Settings):
    """A split of a benchmark; without a split all of it."""

    benchmark: str
    root: str | None = None
    split: str | None = None


class Part(Settings):
    """A benchmark and two splits of it that share nothing: what settings are chosen on, and what is reported.

    `choose` is a split, or a source of its own; or a share of what is reported, drawn by cluster, which is then left
    out of the report: for benchmarks that come with one split.
    """

    benchmark: str
    report: str
    choose: Annotated[float, Field(gt=0, lt=1)] | str | Source
    root: str | None = None

    @model_validator(mode="after")
    def _apart(self) -> Part:
        whole = self.reporting.model_copy(update={"split": None})
        if not isinstance(self.choose, float) and self.choosing in (self.reporting, whole):
            raise ValueError("choose is what report is: nothing may be chosen on what is reported")
        return self

    @property
    def reporting(self) -> Source:
        return Source(benchmark=self.benchmark, root=self.root, split=self.report)

    @property
    def choosing(self) -> Source:
        """What is chosen on; `reporting` itself where it is a share of that."""
        if isinstance(self.choose, Source):
            return self.choose
        split = self.choose if isinstance(self.choose, str) else self.report
        return Source(benchmark=self.benchmark, root=self.root, split=split)


class LmmsEval(Settings):
    """Results files of lmms-eval on one task: {SETTING: FILE}, `untouched` among them, by what they are used for."""

    task: str
    metric: str
    choose: dict[str, Path]
    report: dict[str, Path] = {}


class Questions(Settings):
    """How usefulness is measured: on a benchmark, or by results that lmms-eval has written."""

    benchmark: str | None = None
    root: str | None = None
    choose: Annotated[float, Field(gt=0, lt=1)] | str | Source | None = None
    report: str | None = None
    judge: str = "exact-match"
    lmms_eval: LmmsEval | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Questions:
        asked = (self.benchmark, self.choose, self.report)
        if (self.lmms_eval is None) == (self.benchmark is None) or (self.benchmark is not None and None in asked):
            raise ValueError("needs benchmark, choose and report, or lmms_eval alone")
        return self

    @property
    def part(self) -> Part | None:
        if self.benchmark is None or self.choose is None or self.report is None:
            return None
        return Part(benchmark=self.benchmark, root=self.root, choose=self.choose, report=self.report)

    @model_validator(mode="after")
    def _splits_apart(self) -> Questions:
        self.part  # noqa: B018 - checks itself
        return self


class Fit(Settings):
    """What a method learns from before it is measured: pairs, how many, its options, and with which seeds. A method
    that needs no pairs is given none; its seeds then draw what `{seed}` in an option draws."""

    data: str | None = None
    root: str | None = None
    limit: Annotated[int, Field(ge=4)] | None = None
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
    options: dict[str, Scalar] = {}


class Method(Settings):
    """A method with the options that stay (after commas) and those that vary; `name` is what it is called here."""

    method: str
    name: str = ""
    fit: Fit | None = None
    grid: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = {}

    @field_validator("method")
    @classmethod
    def _written(cls, spec: str) -> str:
        try:
            parse_spec(spec, "calibration")
        except InputError as error:
            raise ValueError(error.problem) from None
        return spec

    @model_validator(mode="after")
    def _varied_once(self) -> Method:
        twice = [name for name in self.grid if name in parse_spec(self.method, "calibration").options]
        if twice:
            raise ValueError(f"{twice[0]!r} is in method and in grid")
        return self

    @property
    def kind(self) -> str:
        return parse_spec(self.method, "calibration").kind

    @property
    def called(self) -> str:
        return self.name or self.kind

    def settings(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Every combination of the grid, the last option varying fastest: its name, and all options as text."""
        fixed = parse_spec(self.method, "calibration").options
        for values in product(*self.grid.values()):
            varied = dict(zip(self.grid, map(as_text, values), strict=True))
            told = {**(fixed if not self.name else {}), **varied}
            yield ",".join([self.called, *(f"{key}={value}" for key, value in told.items())]), {**fixed, **varied}


class Pick(Settings):
    """The rate to make as high, or as low, as can be, and the limits on everything else."""

    maximise: str | None = None
    minimise: str | None = None
    limits: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Pick:
        if (self.maximise is None) == (self.minimise is None):
            raise ValueError("needs one of maximise and minimise")
        if self.measure not in SWEPT:
            raise ValueError(f"no measure {self.measure!r}; known: {', '.join(SWEPT)}")
        if lower_is_better(self.measure) == (self.maximise is not None):
            raise ValueError(f"{self.measure} is better when {'lower' if lower_is_better(self.measure) else 'higher'}")
        return self

    @field_validator("limits")
    @classmethod
    def _readable(cls, limits: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for text in limits:
                parse_limit(text)
        except InputError as error:
            raise ValueError(error.problem) from None
        return limits

    @property
    def measure(self) -> str:
        return self.maximise or self.minimise or ""

    @property
    def parsed(self) -> list[Limit]:
        return [parse_limit(text) for text in self.limits]


class SweepConfig(Settings):
    """One sweep. Paths are relative to where the command is given."""

    target: str
    safety: Part
    methods: Annotated[tuple[Method, ...], Field(min_length=1)]
    out: Path | None = None
    safe: Part | None = None
    utility: Questions | None = None
    judge: str = "string-match"
    max_tokens: Count = 512
    system: str | None = None
    attack: tuple[str, ...] = ()
    limit: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    compare: dict[str, str] = {}
    pick: Pick | None = None
    report_all: bool = False

    @model_validator(mode="after")
    def _names_apart(self) -> SweepConfig:
        if sum(math.prod(map(len, method.grid.values())) for method in self.methods) > MOST_SETTINGS:
            raise ValueError(f"more settings than the limit of {MOST_SETTINGS:,}")
        names = [UNTOUCHED, *self.compare, *(name for method in self.methods for name, _ in method.settings())]
        if twice := _twice(names):
            raise ValueError(f"two settings are called {twice!r}; give a method a name of its own")
        if twice := _twice([method.called for method in self.methods]):
            raise ValueError(f"two methods are called {twice!r}; give one of them a name of its own")
        lmms = self.utility.lmms_eval if self.utility else None
        for name in {**lmms.choose, **lmms.report} if lmms else {}:
            if name not in names:
                raise ValueError(f"utility.lmms_eval: no setting is called {name!r}; there are: {', '.join(names)}")
        return self


def _twice(names: Sequence[str]) -> str | None:
    return next((name for name, times in Counter(names).items() if times > 1), None)


def read_sweep(path: Path, overrides: Mapping[str, Any] | None = None, trust_file: bool = False) -> SweepConfig:
    """A sweep from its file; `overrides` win. Raises InputError naming file and field for whatever is wrong, and,
    without `trust_file`, for what only the user may give (`specs.FOR_THE_USER_TO_TYPE`)."""
    written = read_yaml(path)
    if not trust_file:
        check_ordered(written, path, "say --trust-file where you know who wrote the file")
    return validated(SweepConfig, {**written, **(overrides or {})}, path)


def as_text(value: Scalar) -> str:
    """An option as the command line would give it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
