"""What pip-compile wrote, as the lock files that are kept: `make lock` calls it with pairs of FROM and TO."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADS = {
    "requirements.lock": (
        "# Everything that holisafe[hub,inspect,local,serve] needs, by version and content: `make lock` writes it.\n"
        "# torch is not in it, for which build fits (with or without GPU libraries) is the machine's; install\n"
        "# torch==2.13.0 first.\n"
        "#     pip install --require-hashes --no-deps -r requirements.lock\n"
    ),
    "build-requirements.lock": (
        "# What `make release` builds with, each by version and by content: `make lock` writes it.\n"
    ),
}


def kept(text: str) -> str:
    """The packages but for torch, without pip-compile's remarks."""
    packages = re.findall(r"^\S+==(?:[^\n]*\\\n)*[^\n]*\n", text, re.MULTILINE)
    return "".join(sorted(package for package in packages if not package.startswith("torch==")))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    for source, target in zip(arguments[::2], arguments[1::2], strict=True):
        path = Path(target)
        path.write_text(HEADS[path.name] + kept(Path(source).read_text(encoding="utf-8")), encoding="utf-8")
