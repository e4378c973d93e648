"""`holisafe doctor`: what is installed, what is missing, and what to type."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import typer

from ..errors import ExitCode


class Finding(NamedTuple):
    """One line of the answer. `remedy` is what to type or do; a finding that has one counts as missing."""

    subject: str
    state: str
    remedy: str = ""


def doctor() -> None:
    """holisafe doctor

    Tell what is installed, what is missing, and what to type. Leaves with 0 when all is there, else with 1.
    """
    from rich.text import Text

    from .screen import screen

    console = screen(soft_wrap=True)
    missing = 0
    for title, findings in {
        "Software": software(),
        "This machine": machine(),
        "Shipped parts": shipped_parts(),
    }.items():
        console.print(title, style="bold")
        for subject, state, remedy in findings:
            missing += bool(remedy)
            mark = ("✗", "red") if remedy else ("✓", "green")
            console.print(Text.assemble("  ", mark, f" {subject:<16} {state}{f'   -> {remedy}' if remedy else ''}"))
    console.print("Something is missing: see the arrows." if missing else "All there. Try: holisafe demo")
    raise typer.Exit(ExitCode.GATE_FAILED if missing else ExitCode.DONE)


def software() -> Iterator[Finding]:
    """Python, and every package that this distribution asks for, with the `local` extra's."""
    yield Finding("python", platform.python_version())
    yield Finding("holisafe", metadata.version("holisafe"))
    for requirement in metadata.requires("holisafe") or ():
        name, least, extra = parse_requirement(requirement)
        if extra in ("", "local"):
            yield package(name, least, "pip install 'holisafe[local]'" if extra else "pip install holisafe")
    has_torchvision = find_spec("torchvision") is not None
    yield Finding("torchvision", metadata.version("torchvision") if has_torchvision else "not installed, not needed")


def parse_requirement(text: str) -> tuple[str, str, str]:
    """`torch>=2.8; extra == "local"` -> ("torch", "2.8", "local"); parts that are not there are empty."""
    wanted, _, marker = text.partition(";")
    name = re.match(r"[\w.-]+", wanted.strip())
    least = re.search(r">=\s*([\w.]+)", wanted)
    extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
    return (name[0] if name else wanted.strip(), least[1] if least else "", extra[1] if extra else "")


def package(name: str, least: str, remedy: str) -> Finding:
    """Whether a package is there in the version it takes; nothing is imported."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", remedy)
    if _numbers(version) < _numbers(least):
        return Finding(name, f"{version}, older than {least}", f"pip install '{name}>={least}'")
    return Finding(name, version)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: `2.13.0+cpu` -> (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def machine() -> Iterator[Finding]:
    """Cores, memory, and where a local model would run. Loads torch, if it is there, to ask for the device."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", str(cores))
    yield Finding("memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB")
    yield device()


def device() -> Finding:
    """What torch would use. A torch that does not load is missing."""
    if not find_spec("torch"):
        return Finding("device", "unknown without torch")
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("device", f"torch does not load ({error})", "pip install --force-reinstall torch")
    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return Finding("device", ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GiB)" for one in found))
    if torch.backends.mps.is_available():
        return Finding("device", "Apple GPU (mps)")
    return Finding("device", "CPU only: fine for the demo, slow for real models")


def shipped_parts() -> Iterator[Finding]:
    """The tiny model and the sprite sheets that the demo draws its benchmark from."""
    home = Path(__file__).parents[1]
    again = "pip install --force-reinstall --no-deps holisafe"
    places = {"tiny model": "pictovlm/*.safetensors", "sprite sheets": "benchmarks/pictosafe/sprites/*.png"}
    for subject, pattern in places.items():
        files = sorted(home.glob(pattern))
        size = sum(file.stat().st_size for file in files) / 1e6
        state = f"{', '.join(file.stem for file in files)} ({size:.1f} MB)" if files else "not there"
        yield Finding(subject, state, "" if files else again)
