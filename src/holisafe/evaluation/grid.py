"""Models x benchmarks, all by the same judges: every cell a run folder of its own, which goes on like any run.

    OUT/BENCHMARK           several benchmarks, one model
    OUT/MODEL/BENCHMARK     several of both

A cell that fails is named with its reason, and the others go on; stopping and the budget stop them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..benchmarks import open_tested
from ..benchmarks.base import Benchmark
from ..errors import InputError
from ..judges import open_judge
from ..judges.base import Judge
from ..records import GenerationSettings
from ..runs.folder import read_index
from ..runs.run import short_target
from ..runs.scores import Scores
from ..targets import open_target
from ..targets.base import Target
from .pairs import evaluate
from .progress import Progress


@dataclass(frozen=True)
class Cell:
    """One run of a grid: how its benchmark and its model are called, its folder, and then its scores or its fault."""

    benchmark: str
    target: str
    out: Path
    scores: Scores | None = None
    fault: Exception | None = None


class Planned(NamedTuple):
    """What a cell is made of: the target and the benchmark, as they were given."""

    target: Any
    benchmark: Any
    cell: Cell


def evaluate_grid(
    benchmarks: Sequence[str | Benchmark] | Mapping[str, str | Benchmark],
    targets: str | Target | Sequence[str | Target] | Mapping[str, str | Target],
    judges: Sequence[str | Judge],
    out: Path,
    *,
    split: str | None = None,
    settings: GenerationSettings | None = None,
    max_cost: float | None = None,
    prepare: Callable[[Target], Target] = lambda target: target,
    tell: Callable[[Cell], object] = lambda cell: None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Cell]:
    """Measure every model on every benchmark, model by model; the cells in that order, each with scores or a fault.

    Args:
        benchmarks: `BENCH[:ROOT]` as `open_tested` reads them, or ones that are open. A mapping gives them names, which
            their folders are called by; else they are called by themselves.
        targets: specs or open targets; one that is no list has no folder of its own. A model is opened once.
        judges: specs or open judges, for all.
        split, settings: of benchmarks and targets that are specs; `prepare` then wraps each target.
        max_cost: US dollars for all cells together.
        tell: is told of every cell when it is done.
        options: as `evaluate` takes them: limit, seed, repeats.

    Raises InputError before anything is asked when two are called alike, or a judge cannot be opened; KeyboardInterrupt
    as `evaluate`.
    """
    settings = settings or GenerationSettings()
    panel = [open_judge(one) if isinstance(one, str) else one for one in judges]
    cells = plan(benchmarks, targets, out)
    opened: tuple[str, Target | Exception] | None = None
    done: list[Cell] = []
    for spec, given, cell in cells:
        try:
            if opened is None or opened[0] != cell.target:
                opened = cell.target, _opened(spec, settings, prepare)  # the one before may go
            if isinstance(opened[1], Exception):
                raise opened[1]
            benchmark = open_tested(given, split=split) if isinstance(given, str) else given
            others = [one.cell.out for one in cells if one.cell is not cell] if max_cost is not None else []
            most = None if max_cost is None else max_cost - sum(read_index(other).spent for other in others)
            scores = evaluate(benchmark, opened[1], panel, cell.out, max_cost=most, progress=progress, **options)
            done.append(replace(cell, scores=scores))
        except Exception as fault:  # noqa: BLE001 - kept with its cell, for whoever asked
            done.append(replace(cell, fault=fault))
        tell(done[-1])
    return done


def plan(benchmarks: Any, targets: Any, out: Path) -> list[Planned]:
    """The cells to come, as `evaluate_grid` goes through them. Raises InputError when two are called alike."""
    several = isinstance(targets, Mapping | list | tuple)
    asked = _called([benchmarks] if isinstance(benchmarks, str) else benchmarks, "benchmarks")
    return [
        Planned(model, given, Cell(name, title, out / title / name if several else out / name))
        for title, model in _called(targets if several else [targets], "targets").items()
        for name, given in asked.items()
    ]


def _opened(spec: Any, settings: GenerationSettings, prepare: Callable[[Target], Target]) -> Target | Exception:
    """The target, or why there is none, for all of its cells."""
    try:
        return prepare(open_target(spec, settings) if isinstance(spec, str) else spec)
    except Exception as fault:  # noqa: BLE001 - as above
        return fault


def _called(given: Mapping[str, Any] | Sequence[Any], what: str) -> dict[str, Any]:
    """{the name of a folder: what it is for}. Raises InputError for two of one name."""
    pairs = list(given.items() if isinstance(given, Mapping) else _own_names(given, what))
    found: dict[str, Any] = {}
    for name, value in pairs:
        safe = re.sub(r"[^\w.@+-]+", "_", name).strip(".") or "_"
        if safe in found:
            raise InputError(f"two {what} are called {safe!r}; give each a name of its own, as {what}: {{NAME: SPEC}}")
        found[safe] = value
    return found


def _own_names(given: Sequence[Any], what: str) -> Iterator[tuple[str, Any]]:
    for one in given:
        spec = one if isinstance(one, str) else one.name
        yield (spec.partition(":")[0] if what == "benchmarks" else short_target(spec)), one
