"""Pictures that files of training examples name, still closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..images import inside, open_image, read_bytes
from ..records import Picture

Fault = Callable[..., InputError]
"""Makes the error of a row, whose field is still to be named."""


def picture_at(folder: Path, name: Any, fault: Fault, field: str) -> Picture:
    """The picture of a path in the folder. Raises the fault for one that is none, leaves the folder or is not there."""
    if not isinstance(name, str):
        raise fault("an image is a path", field=field)
    if (picture := image_at(folder, name, fault, field)) is None:
        raise fault(f"no such image {name!r}", field=field)
    return picture


def image_at(folder: Path, name: str, fault: Fault, field: str) -> Picture | None:
    """The picture of a path, None where there is none. Raises the fault for a path that leaves the folder."""
    try:
        path = inside(folder, name)
    except InputError as error:
        raise fault(error.problem, field=field) from None
    if not path.is_file():
        return None
    return Picture(str(path), partial(open_image, path), partial(read_bytes, path))
