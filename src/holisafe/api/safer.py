"""Make a model safer, and measure what guards it: names or objects for every argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..evaluation.progress import Progress
from .bars import watched
from .measure import Folder, expect
from .results import GuardScores, MechanismStudy, Run

if TYPE_CHECKING:
    import pandas as pd

    from ..benchmarks.base import Benchmark
    from ..guards.base import Guard
    from ..targets.huggingface import HuggingFaceTarget
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


def study_mechanism(
    base: str | Path | HuggingFaceTarget,
    tuned: str | Path | HuggingFaceTarget,
    data: str | Path | Benchmark,
    *,
    split: str | None = None,
    part: Literal["text", "vision", "projector"] = "text",
    at: Literal["first", "decision"] = "first",
    run: str | Path | Run | None = None,
    positions: int = 10,
    limit: int | None = 400,
    seed: int = 0,
    progress: Progress | None = None,
) -> MechanismStudy:
    """What did safety tuning do inside a model: which pairs lie together, block by block, where the update writes and
    on what it acts, and how deep it reaches.

    Args:
        base: the model before tuning: a folder, a hub id, or a local target that is open.
        tuned: the same, tuned; an adapter is merged first.
        data: a benchmark's name (NAME or NAME:ROOT), or one that is open, with safe and unsafe pairs, none tuned on.
        split: such as "validation"; None: `test`, where there is one.
        part: the decoder, the vision tower or the projector.
        at: what is looked at of an answer: its beginning, or the place where tuning moved it most.
        run: a judged run of `tuned`, which tells the attacks that succeed.
        positions: how many first tokens of an answer.
        limit: a stratified part of so many pairs.
        seed: draws the pairs, and which give the means.
        progress: called with (stage, done, total); None: bars in a notebook, nothing elsewhere.

    Returns:
        The study: `summary`, `frame("separation")` and four other tables, `save(out)`.

    Raises InputError where the two are not one model, or safe or unsafe pairs are missing.

    Example:
        found = holisafe.study_mechanism("pictovlm", "tuned", "pictosafe", split="validation", limit=24, positions=2)
        print(found.frame("separation").groupby(["model", "block", "group"])["scaled"].mean())
    """
    from ..benchmarks import open_tested
    from ..benchmarks.base import Benchmark
    from ..mechanism.study import open_whole, study
    from ..targets.huggingface import HuggingFaceTarget
    from .measure import open_benchmark, read_run

    for name, given in (("base", base), ("tuned", tuned)):
        expect(name, given, Folder | HuggingFaceTarget)
    expect("data", data, Folder | Benchmark)
    expect("run", run, Folder | Run | None)
    pairs = open_benchmark(data, None, split) if isinstance(data, Benchmark) else open_tested(str(data), split=split)
    judged = read_run(run) if run is not None else None
    first, second = (one if isinstance(one, HuggingFaceTarget) else open_whole(str(one)) for one in (base, tuned))
    with watched(progress) as told:
        return MechanismStudy(
            study(
                first, second, pairs, part=part, at=at, limit=limit, positions=positions, seed=seed,
                succeeded=frozenset(judged.failed) if judged else frozenset(), progress=told,
            )
        )  # fmt: skip


def _loaded(model: Any, processor: Any, options: dict[str, Any]) -> Guard:
    """A guarded model that is in memory, as a guard."""
    from ..guard import labels_of
    from ..guards.visual_guard import VisualGuard

    limit, size = options.pop("threshold", None), options.pop("batch_size", 8)
    return VisualGuard(type(model).__name__, model, processor, labels_of(model), None, limit, size)
