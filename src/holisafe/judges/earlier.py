"""The judges that a run had before: which of them go on, and which only keep what they said.

A manifest tells their specs, and a manifest may come from a stranger (see `specs`). A judge that needs nothing but the
responses goes on by itself; any other keeps its verdicts and is asked nothing until the user names it again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import InputError, Notice
from ..records import Sample, Verdict
from ..registry import judges as known
from ..specs import first_word
from . import open_judge
from .base import Judge, Judged
from .rubric import Words
from .thought import parted


@dataclass
class Kept:
    """An earlier judge that is asked nothing: what it said by its rules of then counts on."""

    name: str
    version: str
    spec: str
    measures: Mapping[str, Words] = field(default_factory=dict)

    def applies(self, sample: Sample) -> bool:
        del sample
        return False

    def judge(self, items: Iterable[Judged]) -> Iterator[Verdict]:
        return iter(())


def recorded(judges: Iterable[Judge]) -> dict[str, dict[str, Any]]:
    """What a manifest tells of judges: their versions, specs and own rates, each by name."""
    panel = list(judges)
    return {
        "judges": {judge.name: judge.version for judge in panel},
        "judge_specs": {judge.name: getattr(judge, "spec", judge.name) for judge in panel},
        "judge_measures": {
            judge.name: {rate: words if isinstance(words, dict) else list(words) for rate, words in own.items()}
            for judge in panel
            if (own := getattr(judge, "measures", {}))
        },
    }


def with_earlier(judges: Sequence[Judge], manifest: Mapping[str, Any]) -> list[Judge]:
    """The judges of a run's manifest, then the new ones: it keeps them, so that no verdict is lost.

    Raises InputError when two of the new ones share a name.
    """
    given: dict[str, Judge] = {}
    for judge in judges:
        if given.setdefault(judge.name, judge) is not judge:
            problem = f"two judges are called {judge.name!r}; give one of them another model name or rubric name"
            raise InputError(problem)
    versions, specs, measures = (manifest.get(entry, {}) for entry in ("judges", "judge_specs", "judge_measures"))
    earlier = {
        name: _earlier(Kept(name, version, specs.get(name, name), measures.get(name, {})))
        for name, version in versions.items()
        if name not in given
    }
    return [{**earlier, **given}[name] for name in {**versions, **given}]


def _earlier(kept: Kept) -> Judge:
    """The judge opened again, where it needs nothing but responses; else as it was kept, and a warning that tells."""
    try:
        kind, _ = first_word(parted(kept.spec)[0])
        if known.get(kind).alone and (opened := open_judge(kept.spec)).name == kept.name:
            return opened
    except InputError:
        pass  # of a version or a package that is not here
    warnings.warn(
        f"{kept.name} keeps the verdicts it gave and is asked nothing: a run folder does not decide what is opened or "
        f"called. To let it judge on, name it too: --judge {kept.spec}",
        Notice,
        stacklevel=2,
    )
    return kept
