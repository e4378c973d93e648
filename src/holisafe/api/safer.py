"""Make a model safer, and measure what guards it: names or objects for every argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..evaluation.progress import Progress
from .bars import watched
from .measure import Folder, expect
from .results import GuardScores, Run

if TYPE_CHECKING:
    import pandas as pd

    from ..benchmarks.base import Benchmark
    from ..guards.base import Guard
    from ..tuning.examples import Example
    from ..tuning.recipe import Recipe


def tune(
    base: str | Path | None,
    data: str | Sequence[str] | Sequence[Example] | None,
    recipe: Recipe | str | Path,
    out: str | Path,
    *,
    settings: Sequence[str] | Mapping[str, Any] = (),
    seed: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Safety-tune a model with a guard on it, and save both as one folder. Stopped, the same call goes on.

    Args:
        base: a hub id, a model folder, or `pictovlm`, the shipped tiny one; None: the recipe's.
        data: `pictosafe`, BENCHMARK:FOLDER, FILE.jsonl, `llava:FILE` or `holisafe:FILE`, one or several, or examples;
            None: the recipe's mix.
        recipe: the name of a shipped one (demo, lora ...), a .yaml file, or a recipe.
        out: the folder to make; it must not hold anything yet.
        settings: changes of the recipe, {"optimiser.epochs": 1} or ["optimiser.epochs=1"].
        seed: instead of the recipe's.
        progress: called with (stage, done, total); None: a bar in a notebook, nothing elsewhere.

    Returns:
        `out`. `hf/OUT` measures it, `load_guarded(out)` opens it, and so does stock transformers.

    Raises InputError for anything wrong with base, data, recipe or `out`, when a benchmark that the recipe names holds
    training data, and when the loss stops being a number; nothing is in `out` then.

    Example:
        changes = {"optimiser.max_steps": 2, "data.max_examples": 48}
        tuned = holisafe.tune("pictovlm", "pictosafe", "demo", "tuned", settings=changes)
        print(tuned)
    """
    from ..tuning.recipe import Recipe, load_recipe
    from ..tuning.train import tune as tuned

    expect("base", base, Folder | None)
    expect("data", data, str | Sequence | None)
    expect("recipe", recipe, Folder | Recipe)
    expect("out", out, Folder)
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    changes = [f"{name}={value}" for name, value in settings.items()] if isinstance(settings, Mapping) else settings
    with watched(progress) as told:

        def show(step: int, steps: int, losses: dict[str, float]) -> None:
            told("tuning", step, steps)

        return tuned(base, data, chosen.with_settings(changes), out, seed=seed, progress=show)


def evaluate_guard(
    data: str | Path | Benchmark | pd.DataFrame | Run,
    guard: str | Path | Guard | tuple[Any, Any] | None = None,
    *,
    on: Literal["images", "pairs"] = "images",
    split: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> GuardScores:
    """How good a guard is: false alarms on what is safe first, then what it finds, and how well its numbers rank.

    Args:
        data: a benchmark's name (NAME or NAME:ROOT), or one that is open; for images also a folder a label, or a table
            (image, label[, source]), as a file or a DataFrame, whose images are paths or open; for pairs also a run,
            whose stored readings are used.
        guard: a guarded model's folder or hub id; another's, such as `llama-guard/hf/ID`; a guard that is open; or
            (model, processor), as loaded; none for a run.
        on: "images", each for itself, or "pairs" of image and text, for a guard that reads both.
        split: such as "test".
        progress: called with (stage, done, total); None: bars in a notebook, nothing elsewhere.
        options: threshold, batch_size, seed, draws; on images out_of_distribution ({NAME: SET}) and published; on
            pairs choose_on and false_alarms.

    Returns:
        The numbers by name, every rate with n and its 95 % interval, as fractions; `frame()` has them as rows.

    Raises InputError for data without labels or combinations, an unknown label, or a guard that cannot be loaded.

    Example:
        found = holisafe.evaluate_guard("pictosafe", "tuned", split="test", draws=100)
        print(found)
    """
    import pandas as pd

    from ..benchmarks.base import Benchmark
    from ..evaluation.guard_images import evaluate_guard as on_images
    from ..evaluation.guard_pairs import evaluate_pairs
    from ..guards.base import Guard

    if on not in ("images", "pairs"):
        raise InputError(f"on is {on!r}; a guard is measured on images or on pairs")
    expect("data", data, Folder | Benchmark | pd.DataFrame | Run)
    expect("guard", guard, Folder | Guard | tuple | None)
    if guard is None and on == "images":
        raise InputError("no guard: name one; only pairs of a run bring their readings along")
    opened: Any = str(guard) if isinstance(guard, Path) else guard
    if isinstance(guard, tuple):
        opened = _loaded(*guard, options)
    measured: Any = on_images if on == "images" else evaluate_pairs
    with watched(progress) as told:
        given = str(data) if isinstance(data, Path) else str(data.folder) if isinstance(data, Run) else data
        return GuardScores(measured(given, opened, split=split, progress=told, **options))


def _loaded(model: Any, processor: Any, options: dict[str, Any]) -> Guard:
    """A guarded model that is in memory, as a guard."""
    from ..guard import labels_of
    from ..guards.visual_guard import VisualGuard

    limit, size = options.pop("threshold", None), options.pop("batch_size", 8)
    return VisualGuard(type(model).__name__, model, processor, labels_of(model), None, limit, size)
