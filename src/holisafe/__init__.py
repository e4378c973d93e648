"""Measure how safely a vision-language model (VLM) answers image-text pairs, and make it safer with a visual guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .threads import sleep_while_waiting

if TYPE_CHECKING:
    from .guard import attach_guard, load_guarded

    __version__: str

__all__ = ["__version__", "attach_guard", "load_guarded"]


sleep_while_waiting()  # before anything loads torch or NumPy


def __getattr__(name: str) -> Any:
    """Resolve the public names on first use, so that `import holisafe` loads neither torch nor transformers."""
    if name == "__version__":
        from importlib.metadata import version

        return version("holisafe")
    if name in __all__:
        from . import guard

        return getattr(guard, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
