"""Calls by which a stranger's file would run code or reach the network: named here, and where each may stand at all.

ruff's rules (S) find eval, exec, shells, weak temporary files and the like; these are the calls of our libraries.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "requests", "httpx", "urllib3", "ftplib"}
"""Modules that nothing of ours imports: they run what they read, or fetch past the one client."""

NEVER = {
    "os.system", "os.popen", "pty.spawn", "np.load", "numpy.load", "joblib.load", "read_pickle", "torch.hub.load",
    "urlopen", "urlretrieve", "extractall", "load_dataset", "mktemp", "breakpoint",
}  # fmt: skip
"""Calls by their last name, or in full."""

ONLY_IN = {
    "yaml.load": ("typed_yaml.py",),
    "yaml.safe_load": (),
    "yaml.unsafe_load": (),
    "yaml.full_load": (),
    "snapshot_download": ("benchmarks/hub.py",),
    "hf_hub_download": ("guard/folders.py",),
    "cached_file": ("guard/folders.py",),
    "get_class_from_dynamic_module": ("guard/loading.py",),
    "import_module": ("registry.py", "cli/__init__.py", "__init__.py"),
    "ast.literal_eval": ("judges/plain.py",),
}
"""Call -> the files of the package that may make it."""

DATA_CLASSES = ("Config", "Processor", "Tokenizer", "TokenizerFast", "PeftModel")
"""Ends of names of classes whose `from_pretrained` opens no weights, or only those that `check_weights` has seen."""


def findings(source: str, file: str) -> Iterator[tuple[int, str]]:
    """Line and problem of every dangerous call in a file of the package, by its path in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from ((node.lineno, f"imports {name}") for name in names if name.split(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        told = {word.arg: ast.unparse(word.value) for word in node.keywords}
        last = called.rsplit(".", 1)[-1]
        for name in (called, last):
            if name in NEVER or (name in ONLY_IN and file not in ONLY_IN[name]):
                yield node.lineno, f"calls {called}"
                break
        if called == "torch.load" and told.get("weights_only") != "True":
            yield node.lineno, "torch.load without weights_only=True"
        if last == "from_pretrained" and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if owner.startswith("Auto") and "trust_remote_code" not in told:
                yield node.lineno, f"{called} without trust_remote_code: it asks at the keyboard whether to run code"
            if not owner.endswith((*DATA_CLASSES, "loader")) and told.get("use_safetensors") != "True":
                yield node.lineno, f"{called} without use_safetensors=True"
        if told.get("trust_remote_code") == "True":
            yield node.lineno, f"{called} with trust_remote_code=True"
        if last == "Environment" and told.get("autoescape") != "True":
            yield node.lineno, "a template that escapes nothing"


def test_the_package_makes_none() -> None:
    package = ROOT / "src" / "holisafe"
    found = [
        f"{path.relative_to(package)}:{line}: {problem}"
        for path in sorted(package.rglob("*.py"))
        for line, problem in findings(path.read_text(encoding="utf-8"), path.relative_to(package).as_posix())
    ]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from pickle import loads",
        "def f():\n    import requests",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "AutoConfig.from_pretrained(source)",
        "AutoModelForImageTextToText.from_pretrained(source, trust_remote_code=False)",
        "cls.from_pretrained(source)",
        "cls.from_pretrained(source, use_safetensors=False)",
        "AutoTokenizer.from_pretrained(source, trust_remote_code=True)",
        "yaml.safe_load(text)",
        "huggingface_hub.snapshot_download(name)",
        "np.load(path)",
        "urllib.request.urlopen(url)",
        "zipfile.ZipFile(path).extractall(out)",
        "Environment(loader=loader)",
        "importlib.import_module(name)",
    ],
)
def test_a_planted_one_is_found(planted: str) -> None:
    assert list(findings(planted, "judges/planted.py"))


@pytest.mark.parametrize(
    "harmless",
    [
        "torch.load(path, weights_only=True)",
        "AutoConfig.from_pretrained(source, trust_remote_code=False)",
        "cls.from_pretrained(source, use_safetensors=True)",
        "Environment(loader=loader, autoescape=True)",
        "json.loads(text)",
    ],
)
def test_the_safe_way_is_let_pass(harmless: str) -> None:
    assert not list(findings(harmless, "judges/planted.py"))
