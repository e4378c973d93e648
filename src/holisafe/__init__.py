"""Measure how safely a vision-language model (VLM) answers image-text pairs, and make it safer with a visual guard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .threads import sleep_while_waiting

if TYPE_CHECKING:
    from .api.measure import calibrated, compare, evaluate, open_benchmark, read_run, read_runs, score
    from .api.safer import evaluate_guard, study_mechanism, tune
    from .api.scans import scan
    from .errors import InputError
    from .guard import attach_guard, load_guarded

    __version__: str

__all__ = [
    "InputError",
    "__version__",
    "attach_guard",
    "calibrated",
    "compare",
    "evaluate",
    "evaluate_guard",
    "load_guarded",
    "open_benchmark",
    "read_run",
    "read_runs",
    "scan",
    "score",
    "study_mechanism",
    "tune",
]

_PLACES = {
    "api.measure": ("evaluate", "read_run", "read_runs", "compare", "score", "open_benchmark", "calibrated"),
    "api.safer": ("tune", "evaluate_guard", "study_mechanism"),
    "api.scans": ("scan",),
    "errors": ("InputError",),
    "guard": ("attach_guard", "load_guarded"),
}
"""Where the public names are, in the order in which docs/api.md tells of them."""

sleep_while_waiting()  # before anything loads torch or NumPy


def __getattr__(name: str) -> Any:
    """Resolve the public names on first use, so that `import holisafe` loads neither torch nor pandas nor pydantic."""
    if name == "__version__":
        from importlib.metadata import version

        return version("holisafe")
    for place, names in _PLACES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(f".{place}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
