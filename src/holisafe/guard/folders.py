"""Model folders: where a name leads, what files are there, and what is wrong with them before anything is loaded."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from ..errors import InputError
from ..journal import read_json
from ..limits import beyond, limits
from ..specs import ELSEWHERE, NOT_FETCHED, fetching_nothing, may_fetch, typed_path

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED: Final = "pictovlm"
"""Name of the tiny model inside the package."""

RUNS_CODE: Final = {
    **dict.fromkeys(("attn_implementation", "_attn_implementation", "_attn_implementation_internal"), "/"),
    **dict.fromkeys(("transformers_weights", "megatron_config"), ""),
}
"""Settings by which a library would take code from the hub (an attention kernel OWNER/NAME), import a module by its
name, or read other weights than those that were checked -> what their value must hold to be such."""

MANY: Final = re.compile(r"(layers|blocks|experts|depths?|labels)$")
MOST: Final = 10_000
"""Settings whose name ends so say how much of a model is made, one by one, before the first weight is missed; no model
has more of anything."""

SETTINGS: Final = frozenset({".json", ".jinja", ".txt", ".model"})
"""Files of a model folder that the libraries read whole."""

_HUB_ID: Final = re.compile(r"[\w.-]+(/[\w.-]+)?")


def shipped_folder() -> Path:
    """Where the tiny model lies."""
    return Path(__file__).parents[1] / SHIPPED


def locate(path: str | Path) -> str:
    """A folder's path or a hub id, from what a user wrote; from what a file says, the folder of what is here already
    (`specs.fetching_nothing`). Raises InputError, saying what to type, when it is none of them."""
    if str(path) == SHIPPED:
        path = shipped_folder()
    if not may_fetch() and str(path).startswith(ELSEWHERE):
        raise InputError("is a folder of another machine", where=path)
    folder = typed_path(path)
    if folder.is_dir():
        for file in folder.iterdir():
            if file.suffix in SETTINGS and file.is_file() and file.stat().st_size > limits().value:
                raise beyond("value", "bytes", file)
        return str(folder)
    if folder.exists():
        raise InputError("is a file, not a model folder", where=folder)
    if isinstance(path, Path) or not _HUB_ID.fullmatch(path) or path.startswith("."):
        raise InputError("no such model folder", where=path)
    if may_fetch():
        _require_hub(path)
        return path
    from huggingface_hub import try_to_load_from_cache

    held = try_to_load_from_cache(path, "config.json")
    if not isinstance(held, str):
        raise InputError(
            f"no such model folder, nor a model on this machine; {NOT_FETCHED}: hf download {path}", where=path
        )
    return str(Path(held).parent)


def portable_name(place: str) -> str:
    """A model's place as another machine knows it: the shipped model and those in the hub's cache by their names."""
    folder = Path(place)
    if folder == shipped_folder():
        return SHIPPED
    cached = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    return folder.parent.parent.name.removeprefix("models--").replace("--", "/") if cached else place


def locate_named(name: Any, source: str, where: Path) -> str:
    """Where the model lies that a file of the model `source` names, such as an adapter's base.

    A local folder never makes a download happen: what it names is a folder, or a hub model that is here already. Raises
    InputError, saying what to type, when it is neither.
    """
    if not isinstance(name, str) or not name:
        raise InputError("does not name the base model", where=where, field="base_model_name_or_path")
    if not Path(source).is_dir():
        return locate(name)
    try:
        with fetching_nothing():
            return locate(name)
    except InputError as error:
        raise InputError(str(error), where=where, field="base_model_name_or_path") from None


def refuse_code(fields: Any, where: str | Path) -> None:
    """Raise InputError when a model's settings, however deep, name code to fetch or to import, or more parts than any
    model has."""
    for name, value in fields.items() if isinstance(fields, dict) else ():
        if isinstance(value, dict):
            refuse_code(value, where)
        if value is not None and RUNS_CODE.get(name, "\0") in str(value):
            problem = f"{str(value)!r} is code that the model's files bring in, and is not run"
            raise InputError(problem, where=where, field=name)
        numbers = value if isinstance(value, list) else [value]
        if MANY.search(name) and any(isinstance(one, int | float) and one > MOST for one in numbers):
            raise InputError(f"more than any model has ({MOST:,})", where=where, field=name)


def require_config(source: str, name: str = "config.json") -> dict[str, Any]:
    """A model's config. Raises InputError when there is none, for a hub id with the hub's reason."""
    file = find_file(source, name)
    if file is None:
        problem = f"holds no model: {name} is missing"
        raise InputError(problem if Path(source).is_dir() else _why_not(source, name) or problem, where=source)
    fields = read_object(file)
    refuse_code(fields, file)
    return fields


def _why_not(name: str, file: str) -> str | None:
    """Why the hub does not give a file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        hf_hub_download(name, file)
    except GatedRepoError:
        return "is gated: ask for access on its page, then log in with `hf auth login`"
    except RepositoryNotFoundError:
        return "no such model on the hub, or a private one: log in with `hf auth login`"
    except LocalEntryNotFoundError:
        return "is not on this machine, and the hub cannot be reached"
    except (HfHubHTTPError, OSError) as error:
        return f"the hub did not answer ({str(error).splitlines()[0]})"
    return None


def _require_hub(name: str) -> None:
    """Raise InputError when a hub id is neither cached nor can be asked for: transformers would try for minutes."""
    from huggingface_hub import constants, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(name, file), str) for file in ("config.json", "adapter_config.json")):
        return
    problem = "no such model folder, nor is a hub model of that name on this machine"
    if constants.HF_HUB_OFFLINE:
        raise InputError(f"{problem}, and HF_HUB_OFFLINE is set", where=name)
    if not getproxies():
        try:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
        except OSError:
            raise InputError(f"{problem}, and the hub cannot be reached", where=name) from None


def find_file(source: str, name: str) -> Path | None:
    """A file of a folder or hub model, downloaded if need be; None when it has no such file, is gated or out of reach.

    Raises InputError when the hub knows no such model.
    """
    if os.path.isdir(source):  # noqa: PTH112 - a hub id is no path
        file = Path(source, name)
        return file if file.is_file() else None
    from transformers.utils.hub import cached_file

    try:
        found = cached_file(
            source,
            name,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError as error:
        raise InputError(_why_not(source, name) or str(error).splitlines()[0], where=source) from None
    return Path(found) if found else None


def read_object(file: Path) -> dict[str, Any]:
    """A JSON file's object. Raises InputError when it is none."""
    value = read_json(file)
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=file)
    return value


def check_weights(source: str, stem: str, needed: str) -> None:
    """Raise InputError when a folder lacks the file `needed`, or has no or not all safetensors weights called `stem`.

    Weights in pickles are refused: opening one runs whatever code it holds. A hub id is left to the download.
    """
    folder = Path(source)
    if not folder.is_dir():
        return
    if not (folder / needed).is_file():
        raise InputError(f"holds no model: {needed} is missing", where=folder)
    if any((folder / f"{stem}.safetensors{index}").is_file() for index in ("", ".index.json")):
        weight_files(source, stem)
        return
    pickles = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in folder.glob(kind))
    if pickles:
        raise InputError(f"weights must be safetensors; {pickles[0]} is a pickle and is not opened", where=folder)
    raise InputError(f"holds no weights: {stem}.safetensors is missing", where=folder)


def weight_files(source: str, stem: str) -> list[Path]:
    """The safetensors files called `stem` of a folder or hub model, downloaded if need be: all shards of an index.

    Raises InputError when there are none, when one that the index names is not there, or lies outside the folder.
    """
    index = find_file(source, f"{stem}.safetensors.index.json")
    if index is None:
        file = find_file(source, f"{stem}.safetensors")
        if file is None:
            raise InputError(f"holds no weights: {stem}.safetensors is missing", where=source)
        return [file]
    shards = read_object(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InputError("names no weights", where=index, field="weight_map")
    files = []
    for name in sorted(set(shards.values())):
        file = find_file(source, name) if Path(name).name == name else None
        if file is None:
            raise InputError(f"the file {name} that it names is missing", where=index)
        files.append(file)
    return files


def open_weights(source: str, stem: str) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of everything in the `stem` safetensors files of a folder or hub model, on the CPU.

    Raises InputError when a file is missing, cut short or is no safetensors file.
    """
    for file in weight_files(source, stem):
        with opened_weights(file) as opened:
            yield from ((key, opened.get_tensor(key)) for key in opened.keys())  # noqa: SIM118


def weight_shapes(source: str, stem: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in the `stem` safetensors files of a folder or hub model; reads headers only.

    Raises InputError when a file is missing, cut short or is no safetensors file.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(source, stem):
        with opened_weights(file) as opened:
            shapes |= {key: tuple(opened.get_slice(key).get_shape()) for key in opened.keys()}  # noqa: SIM118
    return shapes


@contextmanager
def opened_weights(file: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (SafetensorError, OSError) as error:
        raise InputError(f"broken safetensors file ({error})", where=file) from None
