from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from holisafe import registry as module
from holisafe.errors import InputError
from holisafe.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package with one plug-in file, and a registry `things.registry` that it registers with."""
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "__init__.py").write_text(
        "from holisafe.registry import Registry\nregistry = Registry('thing', 'things')\n"
    )
    (tmp_path / "things" / "stone.py").write_text(
        "from things import registry\n@registry.register('stone', weight='3')\ndef load():\n    return 'a stone'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "things"
    for name in ("things", "things.stone"):
        sys.modules.pop(name, None)


def test_a_file_in_the_package_is_found_by_name(package: str) -> None:
    import things  # type: ignore[import-not-found]

    assert "things.stone" not in sys.modules  # found only when first looked for
    entry = things.registry.get("stone")
    sys.modules.pop("things.stone")
    assert things.registry.get("stone") is entry
    assert "things.stone" not in sys.modules  # nor looked for a second time
    assert entry.load() == "a stone"
    assert entry.facts == {"weight": "3"}


def test_an_unknown_name_gets_the_nearest_and_all(package: str) -> None:
    import things

    with pytest.raises(InputError, match="no thing is called 'stome'; did you mean 'stone'\\? known: stone"):
        things.registry.get("stome")


def test_two_loaders_of_one_name_are_refused() -> None:
    registry: Registry[Any] = Registry("thing", "nowhere")
    registry.register("a")(test_two_loaders_of_one_name_are_refused)
    registry.register("a")(test_two_loaders_of_one_name_are_refused)  # the same one again, as after a second import
    with pytest.raises(ValueError, match="two things are called 'a'"):
        registry.register("a")(print)


def test_a_broken_plug_in_of_another_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import things

    broken = EntryPoint("glass", "missing_package.glass:load", "holisafe.things")
    monkeypatch.setattr(module, "entry_points", lambda group: [broken] if group == "holisafe.things" else [])
    with pytest.raises(InputError, match=r"the plug-in 'glass' \(missing_package\.glass:load\) cannot be loaded"):
        things.registry.get("stone")
    monkeypatch.setattr(module, "entry_points", lambda group: [])
    assert list(things.registry.entries()) == ["stone"]  # repaired, it works without a new process


@pytest.mark.parametrize("kind", ["benchmarks", "targets", "judges", "guards"])
def test_looking_up_names_loads_nothing_heavy(kind: str) -> None:
    heavy = "{'torch', 'transformers', 'pandas', 'scipy', 'sklearn', 'plotly', 'pydantic'}"
    code = (
        f"import sys; from holisafe.registry import {kind} as r; r.entries(); print(sorted({heavy} & {{*sys.modules}}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
