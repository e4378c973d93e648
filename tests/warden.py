"""Runs one command line of HoliSafe as if for a stranger's files, and writes down whatever it must not do.

    python warden.py REPORT FOLDER GIB -- ARGUMENTS

FOLDER is the stranger's. Watched through Python's audit hooks, which no library goes around: sockets, programs, code
and modules out of FOLDER, pickles, reading the secret file beside it. What is forbidden is refused; REPORT has a line.
Memory is limited to GIB of address space, time to two minutes of CPU.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path
from typing import Any

import holisafe

SECRET_FILE = "secret.txt"
ALLOWED_PROGRAMS = ("git", "uname", "lscpu", "ldconfig", "gcc", "cc", "c++", "g++")
"""What the libraries themselves start: to name a commit, a machine, a compiler."""

RENDERING = Path(holisafe.__file__).parent / "guard" / "rendering.py"
"""Starts a process that renders chat templates; its code is no stranger's."""


def watch(report: str, folder: str) -> None:
    written = os.open(report, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    secret = str(Path(folder).parent / SECRET_FILE)

    ours = [[re.search('_CODE = """(.*?)"""', RENDERING.read_text(), re.DOTALL)[1]]]

    def refuse(what: str) -> None:
        os.write(written, f"{what}\n".encode("utf-8", "backslashreplace"))
        raise PermissionError(1, f"the warden refused: {what}")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
            family = getattr(args[0], "family", None)
            if event != "socket.connect" or family is None or int(family) != 1:  # 1: within this machine
                refuse(f"{event} {args[1:] or args}")
        elif event in ("os.system", "os.exec", "os.posix_spawn", "pty.spawn", "pickle.find_class"):
            refuse(f"{event} {args}")
        elif event == "subprocess.Popen":
            command = [str(word) for word in args[1]] or [str(args[0])]
            if Path(command[0]).name not in ALLOWED_PROGRAMS and command[3:] not in ours:
                refuse(f"{event} {args[:2]}")
        elif event == "exec":
            name = str(getattr(args[0], "co_filename", ""))
            if name.startswith(folder) or "transformers_modules" in name:
                refuse(f"code of the stranger's: {name}")
        elif event == "open" and isinstance(args[0], str | bytes):
            name = os.path.realpath(os.fsdecode(args[0])) if args[0] else ""
            if name == secret:
                refuse(f"the secret is opened: {name}")

    sys.addaudithook(hook)


def main() -> None:
    report, folder, gib, _, *arguments = sys.argv[1:]
    size = int(float(gib) * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    from holisafe.cli import app

    watch(report, folder)
    app(arguments)


if __name__ == "__main__":
    main()
