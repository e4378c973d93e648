"""The points of a sweep: how each is named, what it learnt first, and the target that it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import digest
from ..registry import calibrations
from ..runs.folder import provenance
from ..targets.base import Target
from .base import FitData
from .learned import Learned, load_learned
from .sweep_config import UNTOUCHED, Fit, Method, SweepConfig, as_text

Files = Mapping[tuple[str, int], Path]
"""(method, seed) -> what it learnt."""


@dataclass(frozen=True)
class Setting:
    """The untouched model, a compared one (`compared` is its target), or a method with options and its seeds.

    `fitted` identifies how the method learnt, None where it learns nothing; `attack` is what it is asked under.
    """

    name: str
    target: str
    method: Method | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    fitted: str | None = None
    compared: bool = False
    attack: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int | None, ...]:
        return self.method.fit.seeds if self.method and self.method.fit else (None,)

    @property
    def kind(self) -> str:
        return "compared" if self.compared else "setting" if self.method else UNTOUCHED

    def folder(self, seed: int | None) -> str:
        """The folder of its runs, below OUT: another one for whatever makes it another setting."""
        kind = self.method.kind if self.method else None
        told = [self.target, kind, dict(self.options), self.fitted, seed, *self.attack]
        return f"runs/{slug(self.name)}-{digest(told)[:8]}"

    def calibrated(self, target: Target, seed: int | None, files: Files) -> Target:
        """The target as this setting asks it. Raises InputError where the method does not fit the target.

        Its name does not tell where the learned file lies, so that OUT may be moved; its description tells its content.
        """
        if self.method is None:
            return target
        load: Any = calibrations.get(self.method.kind).load
        told = {name: seeded(value, seed) for name, value in self.options.items()}
        if seed is not None and self.method.fit is not None:
            told[getattr(load, "file_option", "file")] = str(files[self.method.called, seed])
            again = {name: self.method.fit.options.get(name) for name in getattr(load, "told_again", ())}
            told |= {name: seeded(as_text(value), seed) for name, value in again.items() if value is not None}
        found: Target = load(target, told)
        found.name = f"{target.name}+{self.name}" + ("" if seed is None else f",seed={seed}")
        return found


def settings_of(config: SweepConfig) -> list[Setting]:
    """The untouched model, every combination of every method's grid, and the compared models.

    Raises InputError for an unknown method, and for one that is to learn and cannot.
    """
    found = [Setting(UNTOUCHED, config.target, attack=config.attack)]
    for method in config.methods:
        kind = calibrations.get(method.kind).load
        if method.fit is not None and not hasattr(kind, "fit"):
            raise InputError(f"{method.called} learns nothing: leave out its fit")
        if method.fit is not None and method.fit.data is None and not getattr(kind, "fits_without_data", False):
            raise InputError(f"{method.called} learns from labelled pairs: its fit needs data")
        fitted = None if method.fit is None else fit_key(config, method, method.fit)
        found += [
            Setting(name, config.target, method, told, fitted, attack=config.attack) for name, told in method.settings()
        ]
    others = config.compare.items()
    return [*found, *(Setting(name, spec, compared=True, attack=config.attack) for name, spec in others)]


def fit_key(config: SweepConfig, method: Method, fit: Fit) -> str:
    """Identifies what a method learns, but for the seed: another one for another target, other data or options."""
    told = fit.model_dump(mode="json", exclude={"seeds"})
    return digest([config.target, config.max_tokens, config.system, method.kind, told])[:8]


def learnt(
    out: Path, setting: Setting, seed: int, target: Target, pairs: FitData | None, tell: Callable[[str], None]
) -> Path:
    """The file of what a setting's method learnt, made now unless it is there, of this very model and these data."""
    method = setting.method
    if method is None or method.fit is None:
        raise ValueError(f"{setting.name} learns nothing")
    path = out / "learned" / f"{slug(method.called)}-seed{seed}-{setting.fitted}.safetensors"
    options = {name: seeded(as_text(value), seed) for name, value in method.fit.options.items()}
    origin = {"options": options, "model": target.describe(), "data": pairs and pairs.facts()}
    if path.is_file():
        facts = load_learned(path).facts
        if all(facts.get(name) == value for name, value in json.loads(json.dumps(origin)).items()):
            return path
    tell(f"{method.called} learns, seed {seed}")
    kind: Any = calibrations.get(method.kind).load
    learned = kind.fit(target, pairs, options)
    return Learned(learned.method, learned.tensors, {**origin, **provenance(), **learned.facts}).save(path)


def seeded(value: str, seed: int | None) -> str:
    """An option for one seed: `{seed}` in it stands for the number."""
    return value if seed is None else value.replace("{seed}", str(seed))


def slug(name: str) -> str:
    """A name as a folder can be called, at most 60 characters."""
    return re.sub(r"[^\w.=,-]+", "_", name)[:60].strip("_.") or "setting"
