"""Who may ask: keys from a file or the environment, kept as digests and told to nobody."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

from ..errors import InputError

VARIABLE = "HOLISAFE_SERVE_KEYS"
SHORTEST = 16


class Keys:
    """The keys that open the gateway; none open it to everyone who reaches it."""

    def __init__(self, keys: list[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def opens(self, authorization: str | None) -> bool:
        """Whether a header `Authorization: Bearer KEY` holds one of them, in the same time whichever."""
        kind, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        found = [hmac.compare_digest(given, known) for known in self._digests]
        return kind.lower() == "bearer" and any(found)


def read_keys(path: Path | None) -> Keys:
    """The keys in a file, one a line, `#` beginning a remark, and those in the environment, separated by commas.

    Raises InputError, repeating no key, for a file that is not there, and for a key that could be guessed.
    """
    keys = [key.strip() for key in os.environ.get(VARIABLE, "").split(",") if key.strip()]
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise InputError("cannot be read", where=path) from None
        keys += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise InputError("holds no key", where=path)
    if any(len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key for key in keys):
        where = path if path is not None else VARIABLE
        raise InputError(f"a key has at least {SHORTEST} printable ASCII characters and no space", where=where)
    return Keys(keys)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
