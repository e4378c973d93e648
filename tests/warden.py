"""Runs command lines of HoliSafe as if for a stranger's files, and writes down whatever they must not do.

    {"report": FILE, "folder": FOLDER, "gib": 12, "arguments": [...], "out": FILE, "err": FILE}
    ->  [exit code or minus its signal, the most memory in MiB, seconds of the processor]

A line of JSON each on stdin, carried out in a process of its own. FOLDER is the stranger's. Watched through Python's
audit hooks, which no library goes around: sockets, programs, code and modules out of FOLDER, pickles, reading the
secret file beside it. What is forbidden is refused; REPORT has a line. Memory is limited to GIB of address space, time
to two minutes of the processor and four by the clock.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import holisafe
from holisafe.cli import app

SECRET_FILE = "secret.txt"
ALLOWED_PROGRAMS = ("git", "uname", "lscpu", "ldconfig", "gcc", "cc", "c++", "g++")
"""What the libraries themselves start: to name a commit, a machine, a compiler."""

BOUNDED = Path(holisafe.__file__).parent / "guard" / "bounded.py"
"""Starts a process for templates and patterns; its code is no stranger's."""


def watch(report: str, folder: str) -> None:
    written = os.open(report, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    secret = str(Path(folder).parent / SECRET_FILE)

    ours = [[re.search('_CODE = """(.*?)"""', BOUNDED.read_text(), re.DOTALL)[1]]]

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


def alone(order: dict[str, Any]) -> list[int]:
    """Run one command line in a process of its own, its output in files."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            for number, (name, flags) in enumerate(
                (
                    (os.devnull, os.O_RDONLY),
                    (order["out"], os.O_WRONLY | os.O_CREAT),
                    (order["err"], os.O_WRONLY | os.O_CREAT),
                )
            ):
                os.dup2(os.open(name, flags), number)
            size = order["gib"] << 30
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
            resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
            signal.alarm(240)
            watch(order["report"], order["folder"])
            app(order["arguments"])
        except SystemExit as left:
            code = int(left.code or 0)
        except BaseException:  # noqa: BLE001 - printed, as the interpreter would
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    return [os.waitstatus_to_exitcode(status), used.ru_maxrss >> 10, int(used.ru_utime + used.ru_stime)]


def main() -> None:
    """Import once what is large, then carry out each line of JSON."""
    with suppress(ModuleNotFoundError):
        import peft  # noqa: F401
    for line in sys.stdin:
        print(json.dumps(alone(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
