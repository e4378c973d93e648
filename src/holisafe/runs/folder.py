"""The run folder: what was asked, answered and judged, so that nothing paid for is lost or done twice.

    RUN/manifest.json    what the run measures; a run resumes only when this is the same
    RUN/samples.jsonl    the samples it asks about, without their pixels
    RUN/responses.jsonl  one response a line, appended as calls finish
    RUN/verdicts.jsonl   one verdict a line, every judge's
    RUN/scores.json      the numbers, written anew whenever they are computed

Lines are appended with one write each, so kill -9 loses at most the calls in flight; a torn last line is cut off on
the next open. A lock keeps a second writer out. The last line of a key wins.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..journal import Journal, clean, locked, make_private, read_json, read_lines, said_of, write_json
from ..records import Record, Response, Sample, Verdict, from_line, to_line

IDENTITY = ("schema", "benchmark", "target", "settings", "seed")
"""Manifest entries that a resumed run must share; limit and judges may grow, packages and git commit may change."""

JUDGES = ("judges", "judge_specs", "judge_measures")
"""Manifest entries by judge, to which a later sitting only adds."""

ANYWHERE = frozenset({"benchmark.reader", "benchmark.root", "benchmark.revision", "target.base_url"})
"""Parts of those entries that only say where the samples came from: a benchmark may be moved between two sittings."""

IN_WORDS = {
    "schema": "the format of the run folder",
    "benchmark.name": "the benchmark",
    "benchmark.split": "--split",
    "benchmark.size": "the number of samples",
    "benchmark.content_hash": "the content of the benchmark (content_hash)",
    "settings.max_new_tokens": "--max-new-tokens",
    "settings.system": "--system",
    "settings.seed": "--seed",
    "target.generation.max_new_tokens": "--max-new-tokens",
    "target.generation.system": "--system",
    "target.generation.seed": "--seed",
    "target.fingerprint": "the content of the model (fingerprint)",
    "seed": "--seed",
}
"""How the places where a run can differ are called when somebody is told of them; others by their path."""

PACKAGES = ("holisafe", "torch", "transformers", "peft", "accelerate", "numpy", "pandas", "scipy", "pillow")

LOCK = ".lock"
LEFT_OVER = (".manifest.json.unfinished", "manifest.json.tmp", "scores.json.tmp")
"""What killed writers leave, today's and those before."""

FILES: dict[type, str] = {Sample: "samples.jsonl", Response: "responses.jsonl", Verdict: "verdicts.jsonl"}


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a run folder measures. Raises InputError when the folder holds no run."""
    if not (folder / "manifest.json").is_file():
        raise InputError("no run folder (it has no manifest.json)", where=folder)
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict):
        raise InputError("not a JSON object", where=folder / "manifest.json")
    return manifest


def read_records(folder: Path, kind: type[Record]) -> dict[Any, Record]:
    """Every record of one kind by key; of several lines with one key the last wins; a torn last line is left out."""
    path = folder / FILES[kind]
    records: dict[Any, Record] = {}
    for row, line in read_lines(path):
        record = from_line(kind, line, where=str(path), row=row)
        records.pop(record.key, None)
        records[record.key] = record
    return records


class RunFolder:
    """A run folder opened for reading and appending, held by one process at a time.

        with RunFolder(path, manifest) as run:
            run.append(response)

    Entering creates the folder or checks that `manifest` continues it. Raises InputError when another process holds
    it, when it is some other folder, or when the manifest differs in what it measures, naming each difference.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self.path, self.manifest = path, dict(manifest)
        self._files: dict[type, Journal] = {}

    def __enter__(self) -> RunFolder:
        with ExitStack() as opened, said_of(self.path):
            self._claim(opened)
            earlier = read_manifest(self.path) if self._known.exists() else None
            if earlier is not None:
                self._continue(earlier)
            if self.manifest != earlier:
                write_json(self._known, self.manifest)
            for kind, name in FILES.items():
                self._files[kind] = opened.enter_context(Journal(self.path / name))
            self._opened = opened.pop_all()
        return self

    @property
    def _known(self) -> Path:
        return self.path / "manifest.json"

    def _claim(self, opened: ExitStack) -> None:
        """Make the folder and lock it, unless it is something else or somebody else's."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError("is a file, not a run folder", where=self.path)
        found = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if found - {LOCK, *LEFT_OVER} and not self._known.exists():
            raise InputError("the folder is not empty and holds no run", where=self.path)
        make_private(self.path)
        opened.enter_context(locked(self.path / LOCK, self.path))
        clean(self.path, *LEFT_OVER)

    def _continue(self, earlier: Mapping[str, Any]) -> None:
        """Carry on an earlier manifest. Raises InputError when that one measured something else."""
        differences = [
            line for name in IDENTITY for line in _differences(name, earlier.get(name), self.manifest.get(name))
        ]
        before, now = earlier.get("repeats", 1), self.manifest.get("repeats", 1)
        if now < before:
            differences.append(f"--repeats was {before}, is now {now}, and can only grow")
        before, now = earlier.get("limit"), self.manifest.get("limit")
        if now is not None and (before is None or now < before):
            differences.append(f"--limit was {'none' if before is None else before}, is now {now}, and can only grow")
        if differences:
            raise InputError(
                "this run measured something else: "
                + "; ".join(dict.fromkeys(differences))
                + " (another --out starts a new run)",
                where=self.path,
            )
        kept = {name: {**earlier.get(name, {}), **self.manifest.get(name, {})} for name in JUDGES}
        self.manifest = {**self.manifest, **kept, "created": earlier.get("created")}

    def append(self, *records: Sample | Response | Verdict) -> None:
        """Write records down, as `Journal.append` does."""
        for kind, alike in groupby(records, type):
            self._files[kind].append(*map(to_line, alike))

    def read(self, kind: type[Record]) -> dict[Any, Record]:
        """What the folder holds of one kind, by key."""
        return read_records(self.path, kind)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)


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
