"""What identifies a model folder's content, cheaply: a run is not resumed by a model that changed in place."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUFFIXES = frozenset({".bin", ".jinja", ".json", ".model", ".pt", ".py", ".safetensors", ".tiktoken", ".txt"})
WHOLE = 100 * 2**20
"""A folder of at most so many bytes is hashed whole."""

BLOCK, BLOCKS = 4096, 256


def fingerprint(folder: Path) -> str:
    """SHA-256, 16 hexadecimal digits, of the names, sizes and content of the files that make up a model.

    Above `WHOLE` bytes together, files larger than a megabyte are sampled: their first and last block, which hold a
    safetensors header, and `BLOCKS` between, evenly spread. Notes and logs in the folder do not count.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    sampled = sum(path.stat().st_size for path in files) > WHOLE
    value = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        value.update(f"{path.relative_to(folder).as_posix()}\n{size}\n".encode())
        with path.open("rb") as file:
            if sampled and size > 2**20:
                for block in range(BLOCKS + 1):
                    file.seek((size - BLOCK) * block // BLOCKS)
                    value.update(file.read(BLOCK))
            else:
                value.update(file.read())
    return value.hexdigest()[:16]
