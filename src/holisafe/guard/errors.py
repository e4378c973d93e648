"""What the guard refuses to do, and what the libraries under it say about broken folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from ..errors import InputError


class GuardError(InputError, ValueError):
    """The guard cannot be attached, saved or loaded this way; the message says why."""


LIBRARY_ERRORS = (
    OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, ImportError, ArithmeticError,
    StrictDataclassError, SafetensorError,
)  # fmt: skip
"""What transformers, PEFT and safetensors raise on a folder that they cannot read."""


@contextmanager
def one_line(where: str | Path, problem: str = "cannot be loaded") -> Iterator[None]:
    """Around calls that open or use what lies in a user's folder: what they raise becomes one line of InputError."""
    try:
        yield
    except InputError:
        raise
    except LIBRARY_ERRORS as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1]) if lines else type(error).__name__
        raise InputError(f"{problem}: {said}", where=where) from error
