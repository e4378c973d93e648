"""Who may import whom. Every import counts, also those inside functions and those only for type checkers."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import holisafe

PACKAGE = Path(__file__).parents[1] / "src" / "holisafe"

GROUND = (
    "beside",
    "threads",
    "stepping",
    "visible",
    "errors",
    "limits",
    "specs",
    "journal",
    "tables",
    "typed_yaml",
    "taxonomy",
    "thoughts",
    "records",
    "finish",
    "image_bytes",
    "image_kinds",
    "archives",
    "images",
    "image_files",
    "image_hashes",
    "read_pictures",
    "near_duplicates",
    "registry",
)
"""In this order: each may import those before it."""

ALLOWED: dict[str, set[str]] = {
    **{name: set(GROUND[:position]) for position, name in enumerate(GROUND)},
    "": {"threads", "errors", "api", "guard"},  # the package itself offers these under its own name
    "__main__": {"cli"},
    "benchmarks": {*GROUND},
    "clients": {*GROUND},
    "metrics": {*GROUND, "runs"},
    "runs": {*GROUND},
    "interchange": {*GROUND, "runs", "metrics"},
    "guard": {*GROUND},
    "guards": {*GROUND, "clients", "guard", "targets"},
    "judges": {*GROUND, "clients", "guards", "targets"},
    "mechanism": {*GROUND, "benchmarks", "guard", "metrics", "targets", "tuning"},
    "targets": {*GROUND, "clients"},
    "tuning": {*GROUND, "guard", "benchmarks"},
    "evaluation": {*GROUND, "runs", "benchmarks", "targets", "judges", "guard", "guards", "metrics"},
    "calibration": {*GROUND, "runs", "benchmarks", "guard", "targets", "metrics"},
    "report": {*GROUND, "runs", "metrics"},
    "serving": {*GROUND, "runs", "clients", "targets", "guard", "guards", "calibration"},
    "scanning": {*GROUND, "runs", "guards", "metrics"},
    "api": {
        *GROUND,
        "runs",
        "benchmarks",
        "mechanism",
        "targets",
        "judges",
        "metrics",
        "evaluation",
        "interchange",
        "report",
        "guard",
        "guards",
        "tuning",
        "calibration",
        "scanning",
    },
}
"""Folder or file at the top -> the others it may import. `cli` may import everything; nothing may import `cli`, and
nothing else `api`."""

ALLOWED_FILES: dict[str, set[str]] = {
    "targets/huggingface.py": {"guard"},
    "targets/huggingface_inside.py": {"guard"},
    "calibration/harm_readers.py": {"guards"},
    "calibration/sweep.py": {"evaluation"},
    "calibration/sweep_parts.py": {"judges"},
    "calibration/methods/rewrite.py": {"judges"},
    "calibration/sweep_results.py": {"interchange"},
    "evaluation/foresight.py": {"clients"},
    "interchange/inspect_logs.py": {"benchmarks", "clients"},
    "interchange/training_data.py": {"benchmarks"},
    "interchange/inspect_scoring.py": {"judges"},
    "interchange/inspect_tasks.py": {"benchmarks", "clients", "judges"},
}
"""What single files may import besides."""

OFFERED: dict[str, tuple[str, ...]] = holisafe._PLACES
"""What the package offers under its own name, by the place where it is."""

HEAVY = {"torch", "torchvision", "transformers", "peft", "accelerate", "vllm"}
HEAVY_PLACES = (
    "threads.py",
    "guard/",
    "tuning/",
    "targets/huggingface",
    "calibration/activation",
    "calibration/weight",
    "calibration/decoding",
    "mechanism/",
    "serving/vllm/",
    "cli/doctor.py",  # asks torch which device there is
)
"""Where, by the beginning of its path, a file may import the deep-learning stack."""


class Import(NamedTuple):
    """One imported module, by its full name, and the line of the import."""

    module: str
    line: int


def imports(path: Path, package: Path) -> Iterator[Import]:
    """Every module that a file imports, written relatively, absolutely or as `import_module("name")`."""
    inside = [package.name, *path.relative_to(package).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                start = inside[: len(inside) - (len(name.value) - len(name.value.lstrip("."))) + 1]
                relative = name.value.startswith(".")
                yield Import(".".join([*(start if relative else []), name.value.lstrip(".")]), node.lineno)


def violations(package: Path) -> list[str]:
    """`file:line: what is wrong`, for every import that the rules forbid."""
    tops = {path.stem if path.is_file() else path.name for path in package.iterdir()} - {"__init__", "__pycache__"}
    found = []
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        top = file.split("/")[0].removesuffix(".py").removesuffix("__init__")
        allowed = {*tops} if top == "cli" else ALLOWED.get(top, set()) | ALLOWED_FILES.get(file, set())
        if top != "cli" and top not in ALLOWED:
            found.append(f"{file}:1: there is no rule for {top!r}")
        for name, line in imports(path, package):
            first, _, rest = name.partition(".")
            if first in HEAVY and not file.startswith(HEAVY_PLACES):
                found.append(f"{file}:{line}: imports {name}, which only {', '.join(HEAVY_PLACES)} may")
            if first != package.name:
                continue
            other = rest.split(".")[0]
            if other not in tops:
                other = next((place.split(".")[0] for place, names in OFFERED.items() if other in names), top)
            if other != top and other not in allowed:
                found.append(f"{file}:{line}: {top or 'the package'} must not import {other}")
    return found


def test_the_package_keeps_the_rules() -> None:
    found = violations(PACKAGE)
    assert not found, "\n" + "\n".join(found)


def test_every_rule_is_about_something_known() -> None:
    names = {name for name in ALLOWED if name} | {"cli"}
    assert {name for allowed in [*ALLOWED.values(), *ALLOWED_FILES.values()] for name in allowed} <= names
    assert [name for name in GROUND if not [*PACKAGE.glob(f"{name}.py"), *PACKAGE.glob(name)]] == []


PLANTED = {
    "a run folder evaluates nothing": ("runs/folder.py", "from ..evaluation import evaluate", True),
    "upwards in the ground": ("journal.py", "from .records import Sample", True),
    "downwards in the ground": ("images.py", "from .journal import read_json", False),
    "ground imports a stage": ("registry.py", "from . import benchmarks", True),
    "sideways": ("metrics/rates.py", "def f():\n    from ..judges.base import Judge", True),
    "sideways, absolutely": ("metrics/rates.py", "import holisafe.judges.base", True),
    "sideways, by name of the package": ("metrics/rates.py", "from holisafe import judges", True),
    "sideways, as text": ("metrics/rates.py", "import importlib\nimportlib.import_module('holisafe.judges')", True),
    "sideways, as relative text": ("metrics/rates.py", "import_module('..judges', __package__)", True),
    "from a deeper folder": ("benchmarks/deep/er/x.py", "from ....judges import base", True),
    "own folder from a deeper one": ("benchmarks/deep/er/x.py", "from ...base import Benchmark", False),
    "only for type checkers": ("judges/a.py", "if TYPE_CHECKING:\n    from ..metrics.rates import Cell", True),
    "judges may call APIs": ("judges/a.py", "from ..clients import chat", False),
    "judges may ask models": ("judges/a.py", "from ..targets import open_target", False),
    "targets do not judge": ("targets/a.py", "from ..judges import open_judge", True),
    "command line": ("evaluation/pairs.py", "from ..cli.run import run", True),
    "command line imports all": ("cli/run.py", "from .. import evaluation\nfrom ..guard import attach_guard", False),
    "a verb imports another": ("cli/run.py", "from .score import score", False),
    "guard in one target": ("targets/huggingface.py", "from ..guard import load_guarded\nimport torch", False),
    "guard in another target": ("targets/replay.py", "from ..guard import load_guarded", True),
    "a stage through the package's own name": ("metrics/rates.py", "from holisafe import evaluate", True),
    "the API from below": ("evaluation/pairs.py", "from ..api.measure import read_run", True),
    "the API has no verbs": ("api/measure.py", "from ..cli.compare import compare", True),
    "the API shows": ("api/results.py", "from ..report.fragment import fragment", False),
    "a verb calls the API": ("cli/compare.py", "from ..api.measure import compare", False),
    "guard through the package's own name": ("targets/replay.py", "from holisafe import load_guarded", True),
    "torch in the ground": ("images.py", "import torch", True),
    "torch under another name": ("metrics/rates.py", "def f():\n    import torch.nn.functional as F", True),
    "transformers in a verb": ("cli/tune.py", "from transformers import Trainer", True),
    "torch where models are": ("tuning/train.py", "import torch\nfrom transformers import Trainer", False),
    "vLLM beside the gateway": ("serving/upstream.py", "from vllm import PoolingParams", True),
    "vLLM in its plug-in": ("serving/vllm/model.py", "import torch\nfrom vllm.config import VllmConfig", False),
    "torch beside the pictograms": ("benchmarks/pictosafe/scenes.py", "import torch", True),
    "only the sweep evaluates": ("calibration/sweep.py", "from ..evaluation import run", False),
    "no other calibration evaluates": ("calibration/reminder.py", "from ..evaluation import run", True),
    "a folder without a rule": ("helpers/x.py", "", True),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_import_is_found_or_let_pass(tmp_path: Path, name: str) -> None:
    file, code, forbidden = PLANTED[name]
    package = tmp_path / "holisafe"
    for top in {*ALLOWED, "cli"} - {""}:
        path = package / f"{top}.py" if top in (*GROUND, "__main__") else package / top / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    planted = package / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(code)
    found = violations(package)
    line = code.count("\n") + 1
    assert [text.split(": ")[0] for text in found] == ([f"{file}:{line}"] if forbidden else [])


def test_looking_up_plug_ins_loads_nothing_heavy() -> None:
    heavy = sorted(HEAVY | {"pandas", "scipy", "sklearn", "plotly", "pydantic", "pyarrow"})
    code = (
        "import sys\n"
        "from holisafe import registry\n"
        "kinds = registry.benchmarks, registry.targets, registry.judges, registry.guards\n"
        "assert all([kind.entries() for kind in kinds])\n"
        f"print(sorted(set({heavy}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
