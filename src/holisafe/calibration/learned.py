"""What a method learnt, as one file: tensors in safetensors, everything else as JSON in its header.

    FILE.safetensors    tensors by name;  metadata "holisafe": {"schema", "method", "options", "model", "data", ...}

Any tool that reads safetensors opens it; `holisafe calibrate show FILE` tells what is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import InputError
from ..journal import whole_file
from ..specs import typed_path

SCHEMA: Final = 1


@dataclass(frozen=True)
class Learned:
    """`tensors` by name; `facts` is JSON: the options it was fitted with, the model and the data it came from, and what
    was found on the way. `path` and `content` (SHA-256, 16 digits) tell the file it was read from."""

    method: str
    tensors: Mapping[str, np.ndarray[Any, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    content: str | None = None

    def fact(self, name: str, kind: Any) -> Any:
        """A fact that is of this kind. Raises InputError naming the file and the fact: it may be a stranger's."""
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(kind).validate_python(self.facts.get(name))
        except ValidationError as error:
            raise InputError(error.errors()[0]["msg"].lower(), where=self.path, field=name) from None

    def numbers(self, name: str, axes: int) -> np.ndarray[Any, Any]:
        """A tensor of real, finite numbers with so many axes. Raises InputError naming the file and the tensor."""
        found = self.tensors.get(name)
        if found is None or found.ndim != axes or found.dtype.kind not in "fiu" or not np.isfinite(found).all():
            raise InputError(f"is not there, or no numbers along {axes} axes", where=self.path, field=name)
        return found

    def save(self, path: Path) -> Path:
        """Write the file whole or not at all. Raises InputError unless it is called *.safetensors."""
        from safetensors.numpy import save

        if path.suffix != ".safetensors":
            raise InputError("a learned file is called NAME.safetensors", where=path)
        header = json.dumps({"schema": SCHEMA, "method": self.method, **self.facts})
        tensors = {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}
        with whole_file(path) as unfinished:
            unfinished.write_bytes(save(tensors, metadata={"holisafe": header}))
        return path


def load_learned(path: str | Path, method: str | None = None) -> Learned:
    """Read a file. Raises InputError when it is missing, no such file, of another method, or from a later schema."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    where = typed_path(path)
    try:
        if where.exists() and not where.is_file():
            raise ValueError("a folder, a pipe or a device")
        body = where.read_bytes()
        tensors = load(body)
        length = int.from_bytes(body[:8], "little")
        header = dict(json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["holisafe"]))
        schema, learnt_by = int(header.pop("schema")), str(header.pop("method"))
    except FileNotFoundError:
        raise InputError("no such file", where=where) from None
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        raise InputError("is no file that `holisafe calibrate fit` wrote", where=where) from None
    if schema > SCHEMA:
        raise InputError("written by a newer holisafe", where=where, field="schema")
    if method is not None and learnt_by != method:
        raise InputError(f"holds what {learnt_by} learnt, not {method}", where=where, field="method")
    return Learned(learnt_by, tensors, header, str(where), hashlib.sha256(body).hexdigest()[:16])
