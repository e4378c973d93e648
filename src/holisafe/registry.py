"""Names -> loaders. A plug-in is one file with one decorated function, in this package or in another's entry point.

    @benchmarks.register("figstep", summary="...")
    def load(root: Path | None) -> Benchmark: ...

Modules are imported only when a name is first looked up; they keep heavy imports inside their functions.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from .errors import InputError

Loader = TypeVar("Loader", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[Loader]):
    """A registered loader with the facts that listings show (size, licence, citation ...).

    `alone`: it needs nothing but what it is handed, no file, model or network, so that a file may name it.
    """

    name: str
    load: Loader
    facts: dict[str, str] = field(default_factory=dict)
    alone: bool = False


class Registry(Generic[Loader]):
    """One kind of plug-in. `package` holds this project's own files; `holisafe.<kind>s` entry points name others'."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self._entries: dict[str, Entry[Loader]] = {}
        self._discovered = False

    def register(self, name: str, *, alone: bool = False, **facts: str) -> Callable[[Loader], Loader]:
        """Decorate a loader. Raises ValueError when another loader already has the name."""

        def keep(loader: Loader) -> Loader:
            if name in self._entries and self._entries[name].load is not loader:
                raise ValueError(f"two {self.kind}s are called {name!r}")
            self._entries[name] = Entry(name, loader, facts, alone)
            return loader

        return keep

    def entries(self) -> dict[str, Entry[Loader]]:
        """Every known plug-in by name."""
        if not self._discovered:
            package = importlib.import_module(self.package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self.package}.{module.name}")
            for point in entry_points(group=f"holisafe.{self.kind}s"):
                self._load(point)
            self._discovered = True
        return dict(sorted(self._entries.items()))

    def _load(self, point: EntryPoint) -> None:
        """Import another package's plug-in. A broken one is named: nobody should search for it in here."""
        try:
            point.load()
        except Exception as error:
            raise InputError(
                f"the plug-in {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}"
            ) from error

    def get(self, name: str) -> Entry[Loader]:
        """The plug-in of that name. Raises InputError that lists the names, the nearest first."""
        known = self.entries()
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"no {self.kind} is called {name!r}; {hint}known: {', '.join(known)}")
        return known[name]


benchmarks: Registry[Callable[..., Any]] = Registry("benchmark", "holisafe.benchmarks")
targets: Registry[Callable[..., Any]] = Registry("target", "holisafe.targets")
judges: Registry[Callable[..., Any]] = Registry("judge", "holisafe.judges")
guards: Registry[Callable[..., Any]] = Registry("guard", "holisafe.guards")
calibrations: Registry[Callable[..., Any]] = Registry("calibration", "holisafe.calibration.methods")
attacks: Registry[Callable[..., Any]] = Registry("attack", "holisafe.calibration.attacks")
