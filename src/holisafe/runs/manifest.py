"""`manifest.json`: what a run measures and was made with; a run goes on only as the same run."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Required

from annotated_types import Interval
from typing_extensions import TypedDict

from ..errors import InputError
from ..journal import read_json
from ..records import SCHEMA_VERSION

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FILE = "manifest.json"

IDENTITY = ("schema", "benchmark", "target", "settings", "seed")
"""Manifest entries that a resumed run must share; limit and judges may grow, packages and git commit may change."""

KEPT = ("image_probe",)
"""Manifest entries that a later sitting keeps unless it finds them anew."""

JUDGES = ("judges", "judge_specs", "judge_measures")
"""Manifest entries by judge, to which a later sitting only adds."""

ANYWHERE = frozenset(
    {"benchmark.reader", "benchmark.root", "benchmark.revision", "target.base_url", "target.tuned_from"}
)
"""Parts of those entries that only say where samples and model came from: a benchmark may be moved between sittings."""

IN_WORDS = {
    "schema": "the format of the run folder",
    "benchmark.name": "the benchmark",
    "benchmark.split": "--split",
    "benchmark.size": "the number of samples",
    "benchmark.content_hash": "the content of the benchmark (content_hash)",
    "settings.max_new_tokens": "--max-tokens",
    "settings.system": "--system",
    "settings.seed": "--seed",
    "target.generation.max_new_tokens": "--max-tokens",
    "target.generation.system": "--system",
    "target.generation.seed": "--seed",
    "target.fingerprint": "the content of the model (fingerprint)",
    "seed": "--seed",
}
"""How the places where a run can differ are called when somebody is told of them; others by their path."""

PACKAGES = ("holisafe", "torch", "transformers", "peft", "accelerate", "numpy", "pandas", "scipy", "pillow")

Whole = Annotated[int, Interval(ge=0, lt=2**31)]
Count = Annotated[int, Interval(ge=1, lt=2**31)]


class _Benchmark(TypedDict, total=False):
    name: Required[str]
    reader: str | None
    root: str | None
    revision: str | None
    split: str | None
    size: Whole
    content_hash: str


class _Target(TypedDict, total=False):
    name: Required[str]
    tuned_from: str
    calibration: list[dict[str, Any]]
    attacks: list[dict[str, Any]]


class _Settings(TypedDict, total=False):
    max_new_tokens: Whole
    temperature: Annotated[float, Interval(ge=0, lt=1e9)]
    seed: Whole
    system: str | None


class _Manifest(TypedDict, total=False):
    """The entries by name; a target, and packages of later versions, may say more."""

    schema: Annotated[int, Interval(ge=1, le=SCHEMA_VERSION)]
    created: str
    benchmark: Required[_Benchmark]
    target: Required[_Target]
    settings: _Settings
    seed: Whole
    limit: Count | None
    repeats: Count
    judges: dict[str, str]
    judge_specs: dict[str, str]
    judge_measures: dict[str, dict[str, list[str]]]
    packages: dict[str, str | None]


@cache
def _adapter() -> TypeAdapter[_Manifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(_Manifest)


def check_plain(folder: Path) -> None:
    """Raise InputError when the folder of a run or a sweep, which may be a stranger's, holds a link that leads out of
    it, a pipe or a device: what is read or written through those is not the folder's."""
    for entry in folder.iterdir():
        out = entry.is_symlink() and not entry.resolve().is_relative_to(folder.resolve())
        if out or not (entry.is_file() or entry.is_dir()):
            raise InputError("is a link out of its folder, a pipe or a device", where=entry)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a run folder measures. Raises InputError when the folder holds no run, or naming an entry that is none."""
    path = folder / FILE
    if not path.is_file():
        held = sorted(one.parent.name for one in folder.glob(f"*/{FILE}"))
        hint = f"it holds runs: {', '.join(held[:4])}" if held else f"it has no {FILE}"
        raise InputError(f"no run folder ({hint})", where=folder)
    check_plain(folder)
    manifest = read_json(path)
    if not isinstance(manifest, dict):
        raise InputError("not a JSON object", where=path)
    check_entries(manifest, path)
    return manifest


def check_entries(manifest: Mapping[str, Any], where: Path | None = None) -> None:
    """Raise InputError naming an entry that is none: what could not be read again is not written either."""
    from pydantic import ValidationError

    try:
        _adapter().validate_python(manifest, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False)[0]
        problem = "missing" if fault["type"] == "missing" else f"unusable value {str(fault['input'])[:60]!r}"
        raise InputError(problem, where=where, field=".".join(map(str, fault["loc"]))) from None


def continued(earlier: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The manifest that carries `earlier` on. Raises InputError when that one measured something else."""
    differences = [line for name in IDENTITY for line in _differences(name, earlier.get(name), now.get(name))]
    before, wanted = earlier.get("repeats", 1), now.get("repeats", 1)
    if wanted < before:
        differences.append(f"--repeats was {before}, is now {wanted}, and can only grow")
    before, wanted = earlier.get("limit"), now.get("limit")
    if wanted is not None and (before is None or wanted < before):
        differences.append(f"--limit was {'none' if before is None else before}, is now {wanted}, and can only grow")
    if differences:
        raise InputError(
            "this run measured something else: "
            + "; ".join(dict.fromkeys(differences))
            + " (another --out starts a new run)",
            where=where,
        )
    kept = {name: {**earlier.get(name, {}), **now.get(name, {})} for name in JUDGES}
    kept |= {name: earlier[name] for name in KEPT if name in earlier and name not in now}
    return {**now, **kept, "created": earlier.get("created")}


def _differences(name: str, earlier: Any, now: Any) -> Iterable[str]:
    """One line for every value that changed, named by its path."""
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        for key in sorted({*earlier, *now}):
            yield from _differences(f"{name}.{key}", earlier.get(key), now.get(key))
    elif earlier != now and name not in ANYWHERE:
        was, is_now = ("none" if value is None else repr(value) for value in (earlier, now))
        yield f"{IN_WORDS.get(name, name)} was {was}, is now {is_now}"


def provenance() -> dict[str, Any]:
    """What a run was made with: versions of the main packages, Python, platform, and this checkout's git commit."""
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = None
    return {
        "packages": packages,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": _git_commit(Path(__file__).parents[3]),
    }


def _git_commit(checkout: Path) -> str | None:
    """The checkout's commit, with "-dirty" when files differ from it; None for an installed package."""
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
