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

import errno
import fcntl
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import InputError
from .records import Record, Response, Sample, Verdict, from_line, to_line

IDENTITY = ("schema", "benchmark", "target", "settings", "seed")
"""Manifest entries that a resumed run must share; limit and judges may grow, packages and git commit may change."""

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

FILES: dict[type, str] = {Sample: "samples.jsonl", Response: "responses.jsonl", Verdict: "verdicts.jsonl"}


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file whole: a reader sees the old one or the new one, never half."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises InputError when it cannot be read or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error})", where=path) from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """What a run folder measures. Raises InputError when the folder holds no run."""
    if not (folder / "manifest.json").is_file():
        raise InputError("no run folder (it has no manifest.json)", where=folder)
    manifest = read_json(folder / "manifest.json")
    if not isinstance(manifest, dict):
        raise InputError("not a JSON object", where=folder / "manifest.json")
    return manifest


def read_records(folder: Path, kind: type[Record]) -> dict[str, Record]:
    """Every record of one kind by key; of several lines with one key the last wins; a torn last line is left out."""
    path = folder / FILES[kind]
    if not path.exists():
        return {}
    *lines, rest = path.read_bytes().split(b"\n")
    del rest  # empty, or the torn line of a killed writer
    records: dict[str, Record] = {}
    for row, line in enumerate(lines, start=1):
        try:
            record = from_line(kind, line.decode("utf-8"), where=str(path), row=row)
        except UnicodeDecodeError:
            raise InputError("not UTF-8", where=path, row=row) from None
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
        self._files: dict[type, int] = {}
        self._lock: int | None = None

    def __enter__(self) -> RunFolder:
        try:
            self._claim()
            earlier = read_manifest(self.path) if self._known.exists() else None
            if earlier is not None:
                self._continue(earlier)
            if self.manifest != earlier:
                write_json(self._known, self.manifest)
            for kind, name in FILES.items():
                self._files[kind] = _open_for_append(self.path / name)
        except BaseException as error:
            self.close()
            if isinstance(error, PermissionError | FileExistsError | NotADirectoryError):
                raise InputError(f"no run can be kept here ({error.strerror})", where=self.path) from None
            raise
        return self

    @property
    def _known(self) -> Path:
        return self.path / "manifest.json"

    def _claim(self) -> None:
        """Make the folder and lock it, unless it is something else or somebody else's."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError("is a file, not a run folder", where=self.path)
        found = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        if found - {".lock", "manifest.json.tmp"} and not self._known.exists():
            raise InputError("the folder is not empty and holds no run", where=self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError("another process is writing to this run folder", where=self.path) from None

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
        kept = {name: {**earlier.get(name, {}), **self.manifest.get(name, {})} for name in ("judges", "judge_specs")}
        self.manifest = {**self.manifest, **kept, "created": earlier.get("created")}

    def append(self, *records: Sample | Response | Verdict) -> None:
        """Write records down; once this returns, killing the process does not lose them.

        Raises OSError when the disk does not take a whole line; what it took of the line is removed again.
        """
        for record in records:
            file, data = self._files[type(record)], (to_line(record) + "\n").encode()
            whole = os.fstat(file).st_size
            written = os.write(file, data)
            if written != len(data):
                os.ftruncate(file, whole)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path / FILES[type(record)]))

    def read(self, kind: type[Record]) -> dict[str, Record]:
        """What the folder holds of one kind, by key."""
        return read_records(self.path, kind)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()
        if self._lock is not None:
            os.close(self._lock)  # gives the lock back
            self._lock = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_for_append(path: Path) -> int:
    """Open for appending and cut off a torn last line."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
    with path.open("rb") as file:
        content = file.read()
    whole = content.rfind(b"\n") + 1
    if whole != len(content):
        os.ftruncate(descriptor, whole)
    return descriptor


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
        "git_commit": _git_commit(Path(__file__).parents[2]),
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
