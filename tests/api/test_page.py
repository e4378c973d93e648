"""docs/api.md is what the docstrings say, and all of its examples run, in one program."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from tools import api_page

import holisafe

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_docstrings_say() -> None:
    assert api_page.PAGE.read_text(encoding="utf-8") == api_page.page(), "run: python tools/api_page.py"


def test_every_example_runs_where_the_one_before_it_left_off(tmp_path: Path) -> None:
    order = ("evaluate(", "calibrated(", "tune(")  # these make what the others read
    found = sorted(api_page.examples(), key=lambda code: [n for n, made in enumerate(order) if made in code] or [9])
    assert len(found) == len(holisafe.__all__) - 2
    program = "\n".join(["import holisafe, pandas", *found])
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "mASR, pooled" in done.stdout
    assert "0.5 2 1" in done.stdout


def test_type_checkers_see_every_name_that_is_offered() -> None:
    tree = ast.parse((ROOT / "src/holisafe/__init__.py").read_text(encoding="utf-8"))
    told = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {
        f"{node.module}:{alias.name}" for node in told.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {f"{place}:{name}" for place, names in holisafe._PLACES.items() for name in names}
    assert {name.split(":")[1] for name in seen} | {"__version__"} == set(holisafe.__all__) <= set(dir(holisafe))
    for name in holisafe.__all__:
        assert getattr(holisafe, name)


def test_importing_it_is_light() -> None:
    code = (
        "import sys, holisafe; dir(holisafe)\n"
        "assert not {'torch', 'pandas', 'pydantic', 'numpy', 'PIL', 'typer'} & {*sys.modules}\n"
        "holisafe.evaluate, holisafe.compare\n"
        "assert not {'torch', 'transformers', 'typer', 'IPython'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
