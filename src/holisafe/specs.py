"""`KIND/NAME,option=value` taken apart, and how far one is believed: what a user typed, or what stands in a file.

    typed on the command line, or passed from Python      everything
    in a YAML file that a user names to be carried out    all but FOR_THE_USER_TO_TYPE; names on the hub too
    in the options of Inspect AI, which may be a log's    the same, but nothing is fetched (`fetching_nothing`)
    in anything that tells of what was done before        data of what was measured, in a folder of this machine, and
    (a manifest, a learned file, a log, a model's config)  judges that need nothing but the responses: nothing else

A run folder, a learned file or a configuration may come from a stranger. Whoever reads a spec out of one goes through
here; SECURITY.md says what is promised.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from .errors import InputError

FOR_THE_USER_TO_TYPE = {
    "trust_remote_code": "runs a model's own code",
    "key": "sends a secret of this machine",
    "base_url": "sends what is asked to another machine",
    "report_to": "sends what is measured to another machine",
}
"""Options that a file may not set, and why. `base_url` may name this very machine, `report_to` what stays on it."""

WRITTEN = {
    "target": "KIND/NAME, such as hf/FOLDER or replay/FILE",
    "judge": "KIND, KIND:OPTION or llm/RUBRIC/SPEC, such as string-match:normalised",
    "calibration": "METHOD[,NAME=VALUE ...]",
    "attack": "NAME[,OPTION=VALUE ...]",
    "guard": "NAME/SPEC, such as llama-guard/hf/ID, or a guarded model's folder or hub id",
}
"""How a spec of each kind of plug-in is written."""


ELSEWHERE = ("//", "\\\\")
"""How the folders of other machines begin."""


class Spec(NamedTuple):
    """`hf/folder,dtype=float32` -> ("hf", "folder", {"dtype": "float32"}); `name` is "" where there is none."""

    kind: str
    name: str
    options: dict[str, str]


def parse_spec(text: str, what: str = "target") -> Spec:
    """A spec with its options. Raises InputError when it is not written as a spec of its kind is, or says one twice."""
    head, *written = text.split(",")
    kind, slash, name = head.partition("/")
    if not kind or (what in ("target", "guard")) != bool(slash and name):
        raise InputError(f"{what} {text!r} is not written {WRITTEN[what]}")
    return Spec(kind, name, read_pairs(written, what))


def read_pairs(written: Iterable[str], what: str) -> dict[str, str]:
    """`NAME=VALUE` each. Raises InputError for one that is not, or is there twice."""
    pairs: dict[str, str] = {}
    for pair in written:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in pairs:
            raise InputError(f"{what} option {pair!r} is not written NAME=VALUE, once each")
        pairs[name] = value
    return pairs


def first_word(text: str, what: str = "judge") -> tuple[str, str | None]:
    """What stands before the first `:` or `/`, and all that comes after it; None without one.

    `string-match:holisafe` -> ("string-match", "holisafe"); `llm/holisafe/openai/m` -> ("llm", "holisafe/openai/m").
    Raises InputError when either part is empty.
    """
    separator = next((character for character in text if character in ":/"), ":")
    kind, found, rest = text.partition(separator)
    if not kind or (found and not rest):
        raise InputError(f"{what} {text!r} is not written {WRITTEN[what]}")
    return kind, rest or None


def check_ordered(values: Any, where: str | Path, remedy: str) -> None:
    """Raise InputError when a file's settings, however deep, hold an option that only the user may give.

    `remedy` tells what to type instead.
    """
    for path, name, value in _said(values, ""):
        if (reason := FOR_THE_USER_TO_TYPE.get(name)) and not _harmless(name, value):
            raise InputError(
                f"says {name}={value}, which {reason}: no file decides that; {remedy}", where=where, field=path
            )


def _said(values: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Every setting with its path: of mappings, and of specs in texts."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            inner = f"{path}.{name}".removeprefix(".")
            for one in value if isinstance(value, list | tuple) else (value,):
                if isinstance(one, str | int | float | bool):
                    yield inner, str(name), str(one)
            yield from _said(value, inner)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _said(value, path)
    elif isinstance(values, str):
        for part in values.split(","):
            name, equals, value = part.partition("=")
            if equals:
                yield path, name.strip().rpartition(".")[2], value  # of reader.base_url the last word


def _harmless(name: str, value: str) -> bool:
    if name == "base_url":
        return is_local(value.split(",")[0])
    if name == "report_to":
        return value in ("tensorboard", "none")
    return name == "trust_remote_code" and value.lower() == "false"


def is_local(address: str) -> bool:
    """Whether a server is on this machine, by its name."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


NOT_FETCHED = "no file makes anything be fetched"
_FETCHING: ContextVar[bool] = ContextVar("fetching", default=True)


@contextmanager
def fetching_nothing() -> Iterator[None]:
    """Within it, the hub's names lead to what this machine holds of them: a file names them, and asks no hub."""
    token = _FETCHING.set(False)
    try:
        yield
    finally:
        _FETCHING.reset(token)


def may_fetch() -> bool:
    """Whether a name may make something be asked of the hub."""
    return _FETCHING.get()


def typed_path(path: str | Path) -> Path:
    """A path with `~` as a shell has it; one of a user who is not there stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def recorded_place(path: Any, where: str | Path) -> Path | None:
    """Where a file says that data lie on this machine; None for nowhere. What follows a question mark is left to the
    reader of tables. Raises InputError for a hub's name, another machine's folder, a device, a pipe, or nothing there.
    """
    if path is None or path == "":
        return None
    if not isinstance(path, str) or not path.isprintable():
        raise InputError("is no path", where=where, field="root")
    if path.startswith(("hub:", *ELSEWHERE)):
        problem = f"names {path!r}, and {NOT_FETCHED}; where the benchmark is, is told with --root"
        raise InputError(problem, where=where, field="root")
    found = Path(path)
    data = found if found.exists() else Path(path.partition("?")[0])
    if not (data.is_dir() or data.is_file()) or data.resolve().is_relative_to("/proc"):
        problem = f"{path!r} is not there, or holds no data; where the benchmark is now, is told with --root"
        raise InputError(problem, where=where, field="root")
    return found
