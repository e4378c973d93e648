"""The command line. One file per verb in this folder, imported when its verb is used.

`VERBS` is the whole index: `holisafe --help` is printed from it alone. What went wrong becomes one line and an exit
code; an exception that is nobody's mistake but ours keeps its traceback.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import ExitCode, InputError, Notice
from ..visible import one_line
from .command import RARE, Commands
from .screen import guarded


class Verb(NamedTuple):
    """Where a verb lives, as `module:attribute` in this folder, and its line of help."""

    place: str
    help: str


VERBS = {
    "demo": Verb("demo:demo", "Measure a tiny model, make it safer, measure it again."),
    "run": Verb("run:run", "Ask a model a benchmark, judge its answers, print the scores."),
    "report": Verb("report:report", "Make one HTML page from one or several runs."),
    "tune": Verb("tune:tune", "Safety-tune a vision-language model, with a guard attached."),
    "guard": Verb("guard:app", "Read images with a guard; measure, adjust and convert it."),
    "scan": Verb("scan:scan", "Read millions of images with a guard, a row each."),
    "calibrate": Verb("calibrate:app", "Calibrate a model without training: fit, show, sweep."),
    "mechanism": Verb("mechanism:mechanism", "Show what tuning did inside a model."),
    "safeground": Verb("safeground:safeground", "Does a model find safe pairs likelier than unsafe ones?"),
    "serve": Verb("serve:serve", "Put a guarded model behind OpenAI's API, for any client."),
    "judge": Verb("judge:judge", "Judge stored responses: of a run, or in any table."),
    "score": Verb("score:score", "Compute the scores of any table of verdicts."),
    "export": Verb("export:export", "Write a run as a table, as training data, or for Inspect AI."),
    "import": Verb("import_log:app", "Turn other tools' logs into responses to judge."),
    "compare": Verb("compare:compare", "Tell whether models differ, on the same samples."),
    "leaderboard": Verb("leaderboard:leaderboard", "Rank models, with how sure the ranks are."),
    "agreement": Verb("agreement:agreement", "Show how far judges agree, with each other and with people."),
    "data": Verb("data:app", "List, export and check benchmarks."),
    "doctor": Verb("doctor:doctor", "Tell what is installed, what is missing, and what to type."),
}

LOCAL_PACKAGES = frozenset({"torch", "transformers", "peft", "accelerate", "tokenizers"})
"""What `pip install 'holisafe[local]'` brings."""

OPENING_PICTURES = frozenset(
    {"run", "report", "tune", "guard", "scan", "calibrate", "mechanism", "safeground", "judge", "export", "data"}
)
"""The verbs that take `--follow-links`, in each of their commands."""

COMPLETE = "_HOLISAFE_COMPLETE"
"""The variable by which a shell asks: `source_bash` for its script, `complete_bash` for words."""

BROKEN_PIPE = 141
"""What a shell reports of a program whose reader went away (128 + SIGPIPE)."""

TO_BE_MENDED = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.ENOLCK, errno.EMFILE, errno.ENFILE, errno.ENOMEM),
)
"""What is wrong with the machine, not with what was asked of it."""

_UsageError: Any = typer.BadParameter.__base__  # click's own, or the copy that newer typer carries


class Verbs(TyperGroup):
    """The verbs by name, listed without importing them, and the one place where errors become exit codes."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        stand_ins = {name: TyperCommand(name, help=verb.help) for name, verb in VERBS.items()}
        self.commands.update(stand_ins)  # they know their help line: all that a listing needs

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _stand_in, rest = super().resolve_command(ctx, args)
        return name, _load(str(name)), rest

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write("holisafe demo --out demo\n")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        self.format_commands(ctx, formatter)

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> Any:
        """Run one command line and leave with its exit code; asked by a shell, tell how a line may go on."""
        if asked := os.environ.get(COMPLETE):
            from typer._completion_classes import completion_init
            from typer.completion import shell_complete

            completion_init()
            sys.exit(shell_complete(self, {}, "holisafe", COMPLETE, asked))
        with guarded(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = _exit_code(self, list(sys.argv[1:] if args is None else args))
        sys.exit(code)


def _load(name: str) -> Any:
    module_name, attribute = VERBS[name].place.split(":")
    verb = getattr(importlib.import_module(f"{__name__}.{module_name}"), attribute)
    if not isinstance(verb, typer.Typer):
        function, verb = verb, Commands(alone=True)
        verb.command(name)(function)
    command: Any = typer.main.get_command(verb)
    command.name = name
    if name in OPENING_PICTURES:
        for one in getattr(command, "commands", {"": command}).values():
            one.params.append(typer.main.get_command(_follow_links).params[0])
    return command


_follow_links = Commands(alone=True)


@_follow_links.command()
def _(
    follow: Annotated[
        bool,
        typer.Option(
            "--follow-links",
            help="Open what links in the data lead to.",
            callback=lambda wanted: os.environ.update({"HOLISAFE_FOLLOW_LINKS": "1"} if wanted else {}),
            expose_value=False,
            rich_help_panel=RARE,
        ),
    ] = False,
) -> None: ...


def _exit_code(command: Any, args: list[str]) -> int:
    """Run a command line; say in one line what went wrong; the code to leave with."""
    try:
        with command.make_context("holisafe", args) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as done:
        return done.exit_code
    except InputError as error:
        return _complain(str(error), ExitCode.BAD_INPUT)
    except _UsageError as error:
        verb = error.ctx.command_path if error.ctx is not None else "holisafe"
        if type(error).__name__ == "NoArgsIsHelpError":  # no verb, or none of its commands: the message is the help
            print(error.format_message(), file=sys.stderr)
            return ExitCode.BAD_INPUT
        return _complain(f"{error.format_message()} (see: {verb} --help)", ExitCode.BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort) as stop:
        return _complain(str(stop) or "stopped; the same command again goes on", ExitCode.RESUMABLE)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in LOCAL_PACKAGES:
            return _fault()
        return _complain(f"this needs {error.name}, try: pip install 'holisafe[local]'", ExitCode.BAD_INPUT)
    except SystemExit as left:
        if not isinstance(left.__context__, BrokenPipeError):  # from which rich makes a failure
            raise
        return BROKEN_PIPE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains on its way out
        return BROKEN_PIPE
    except MemoryError:
        return _complain("this takes more memory than there is", ExitCode.RESUMABLE)
    except Exception as error:  # noqa: BLE001 - the last place where it can be said
        if not isinstance(error, OSError) or error.errno is None:
            return _fault()
        about = f"{os.fsdecode(error.filename or 'this machine')}: {error.strerror or os.strerror(error.errno)}"
        if error.errno in TO_BE_MENDED:
            return _complain(f"{about}; once that is mended, the same command again goes on", ExitCode.RESUMABLE)
        return _complain(about, ExitCode.BAD_INPUT)
    return ExitCode.DONE


def _fault() -> int:
    """Leave the traceback of the exception in hand: it is nobody's mistake but ours."""
    traceback.print_exc()
    return _complain("this is a fault of HoliSafe: please report it, with the lines above", ExitCode.FAULT)


def _complain(message: str, code: int) -> int:
    """One line on stderr, whatever the message holds: names in data files may carry line breaks or escape codes."""
    print(f"holisafe: {one_line(message)}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, category: type[Warning], *place: Any, **_: Any) -> None:
    """Our own notices in one line. Other packages' warnings, with their place, are only for who asks for them
    (PYTHONWARNINGS): no user of ours can mend them."""
    if not issubclass(category, Notice) and not sys.warnoptions:
        return
    kind = "note" if issubclass(category, Notice) else f"{category.__name__} ({':'.join(map(str, place[:2]))})"
    print(f"holisafe: {kind}: {one_line(str(message))}", file=sys.stderr)


app = typer.Typer(
    cls=Verbs, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"holisafe {metadata.version('holisafe')}")
        raise typer.Exit


@app.callback()
def _holisafe(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Measure how safe a vision-language model is, make it safer: VERB --help."""


def main() -> None:
    """The console script."""
    app()
