"""The command line as a whole: its index, its errors, its exit codes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import typer

from holisafe import cli
from holisafe.errors import InputError, Notice

HEAVY = ("torch", "transformers", "pandas", "scipy", "sklearn", "plotly", "pydantic", "numpy", "PIL")


def modules_after(*args: str) -> set[str]:
    """What a process has imported once it ran this command line."""
    code = (
        f"import sys; sys.argv = ['holisafe', *{args!r}]\n"
        "from holisafe.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code, done.code\n"
        "print('\\n'.join(['===', *sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("===")[2].split())


def leave(*args: str) -> int:
    """The exit code of a command line run in this process."""
    with pytest.raises(SystemExit) as left:
        cli.app(list(args))
    return int(left.value.code or 0)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Adds a verb `boom` that raises what it is given."""

    def add(error: BaseException) -> None:
        def boom() -> None:
            raise error

        module: Any = types.ModuleType("holisafe.cli.boom")
        module.boom = boom
        monkeypatch.setitem(sys.modules, "holisafe.cli.boom", module)
        monkeypatch.setitem(cli.VERBS, "boom", cli.Verb("boom:boom", "Fails."))

    return add


def test_help_is_printed_from_the_index_alone() -> None:
    imported = modules_after("--help")
    assert imported.isdisjoint(HEAVY)
    assert {name for name in imported if name.startswith("holisafe.")} == {
        "holisafe.cli", "holisafe.cli.command", "holisafe.cli.screen", "holisafe.errors", "holisafe.threads",
        "holisafe.visible",
    }  # fmt: skip


SUB_COMMANDS = {"guard": {"attention", "progress"}}
"""Files of a verb's sub-commands that do not begin with its name."""

EVERY_VERB = {"command", "screen"}


@pytest.mark.parametrize("name", cli.VERBS)
def test_help_of_a_verb_imports_its_own_file_and_nothing_heavy(name: str) -> None:
    imported = modules_after(name, "--help")
    assert imported.isdisjoint(set(HEAVY) - {"pydantic"})  # typer reads options with it
    own = cli.VERBS[name].place.partition(":")[0]
    files = {module.removeprefix("holisafe.cli.") for module in imported if module.startswith("holisafe.cli.")}
    assert own in files
    assert {file for file in files if not file.startswith(own)} <= SUB_COMMANDS.get(name, set()) | EVERY_VERB


def test_help_names_every_verb_with_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert leave("--help") == 0
    printed = capsys.readouterr().out
    for name, verb in cli.VERBS.items():
        assert name in printed
        assert verb.help in printed


def test_a_verb_that_is_not_there_breaks_no_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.VERBS, "later", cli.Verb("later:later", "Will come."))
    assert leave("--help") == 0
    assert "Will come." in capsys.readouterr().out
    assert leave("later") == 70
    assert "ModuleNotFoundError" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--version") == 0
    assert capsys.readouterr().out == "holisafe 0.1.0\n"


def test_no_verb_at_all_shows_the_help_and_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave() == 2
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[0]) == ("", "holisafe demo --out demo")
    assert "\nCommands:\n  demo " in err


def test_a_verb_without_its_command_shows_its_help_line_by_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("data") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.partition("Commands:\n")[2].splitlines() if line[2] != " "] == [
        "list", "export", "check",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["scoer"], "No such command 'scoer'. Did you mean 'score'"),
        (["--loud"], "No such option: --loud (see: holisafe --help)"),
        (["run"], "Missing argument 'BENCH[:ROOT]...'. (see: holisafe run --help)"),
        (["run", "toy", "--judge", "x"], "missing option '--target' (see: holisafe run --help)"),
        (["run", "toy", "--limit", "0"], "Invalid value for '--limit': "),
        (["run", "toy", "--limit", "ten"], "Invalid value for '--limit': "),
        (["doctor", "me"], "(me) (see: holisafe doctor --help)"),
    ],
)
def test_a_wrong_command_line_gets_one_line(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(*args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("holisafe: ")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("unknown", where="a.csv", row=3, field="label"), 2, "a.csv, row 3, field 'label': unknown"),
        (InputError("two\nlines\r\n\x1b[31mred\x07"), 2, "two lines  \\u001b[31mred\\u0007"),
        (InputError("ümläut “quoted” 図"), 2, "ümläut “quoted” 図"),
        (KeyboardInterrupt(), 3, "stopped; the same command again goes on"),
        (KeyboardInterrupt("stopped after 3 of 9"), 3, "stopped after 3 of 9"),
        (typer.Abort(), 3, "stopped; the same command again goes on"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "/x/y: Permission denied"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), 2, "/x: Is a directory"),
        (FileNotFoundError(errno.ENOENT, "No such file", b"/x/\xff"), 2, r"/x/\udcff: No such file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/x"), 2, "/x: File name too long"),
        (OSError(errno.EROFS, "Read-only file system"), 2, "this machine: Read-only file system"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"), 2, "/x/y: Not a directory"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            3,
            "/x/y: No space left on device; once that is mended, the same command again goes on",
        ),
        (
            OSError(errno.ENOLCK, "No locks available", "/x"),
            3,
            "/x: No locks available; once that is mended, the same command again goes on",
        ),
        (MemoryError(), 3, "this takes more memory than there is"),
        (
            ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"),
            2,
            "this needs torch.nn, try: pip install 'holisafe[local]'",
        ),
    ],
)  # fmt: skip
def test_what_went_wrong_becomes_one_line_and_a_code(
    error: BaseException,
    code: int,
    line: str,
    verb: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    verb(error)
    assert leave("boom") == code
    assert capsys.readouterr() == ("", f"holisafe: {line}\n")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        KeyError("x"),
        ModuleNotFoundError("No module named 'yam'", name="yam"),
        PermissionError("no file at all"),
    ],
)
def test_a_bug_keeps_its_traceback_and_has_an_exit_code_of_its_own(
    error: Exception, verb: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(error)
    assert leave("boom") == 70
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Traceback (most recent call last):")
    assert "raise error" in err
    assert type(error).__name__ in err
    assert err.splitlines()[-1] == "holisafe: this is a fault of HoliSafe: please report it, with the lines above"


def test_a_notice_is_one_line_and_shows_what_would_drive_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module: Any = types.ModuleType("holisafe.cli.boom")
    module.boom = lambda: warnings.warn("two\nlines \x1b]0;title\x07 \u202eevil", Notice, stacklevel=1)
    monkeypatch.setitem(sys.modules, "holisafe.cli.boom", module)
    monkeypatch.setitem(cli.VERBS, "boom", cli.Verb("boom:boom", ""))
    assert leave("boom") == 0
    assert capsys.readouterr().err == "holisafe: note: two lines \\u001b]0;title\\u0007 \\u202eevil\n"


@pytest.mark.parametrize("asked", [False, True])
def test_warnings_of_libraries_stay_off_the_screen_unless_asked_for(
    asked: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module: Any = types.ModuleType("holisafe.cli.boom")
    module.boom = lambda: warnings.warn("a library's own affair", FutureWarning, stacklevel=1)
    monkeypatch.setitem(sys.modules, "holisafe.cli.boom", module)
    monkeypatch.setitem(cli.VERBS, "boom", cli.Verb("boom:boom", ""))
    monkeypatch.setattr(sys, "warnoptions", ["default"] if asked else [])
    assert leave("boom") == 0
    assert ("a library's own affair" in capsys.readouterr().err) == asked


@pytest.mark.parametrize("printer", ["print", "__import__('rich.console').console.Console().print"])
def test_a_reader_that_goes_away_is_no_error(printer: str) -> None:
    code = (
        "import sys, types; from holisafe import cli\n"
        f"def boom():\n    while True: {printer}('line')\n"
        "module = types.ModuleType('boom'); module.boom = boom; sys.modules['holisafe.cli.boom'] = module\n"
        "cli.VERBS['boom'] = cli.Verb('boom:boom', ''); cli.app(['boom'])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stderr is not None
        assert writer.stdout.readline() == b"line\n"
        writer.stdout.close()
        assert writer.stderr.read() == b""
    assert writer.returncode == 141


def test_the_console_script_is_this_command_line() -> None:
    script = os.path.join(os.path.dirname(sys.executable), "holisafe")  # noqa: PTH118, PTH120
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "holisafe 0.1.0\n", "")


def test_the_package_runs_as_a_module() -> None:
    ran = subprocess.run([sys.executable, "-m", "holisafe", "run"], capture_output=True, text=True, check=False)
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert "Missing argument" in ran.stderr or "needs" in ran.stderr
