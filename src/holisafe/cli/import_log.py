"""`holisafe import`: other tools' logs as responses that `replay/FILE` answers with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .command import Commands

if TYPE_CHECKING:
    from ..records import Response

app = Commands("Other tools' logs as responses to judge.")

Log = Annotated[Path, typer.Argument(metavar="FILE", help="The log.")]
Out = Annotated[Path, typer.Option("--out", metavar="OUT.jsonl", help="Where to write the responses.")]
Thoughts = Annotated[
    str | None, typer.Option(metavar="OPEN...CLOSE", help="The model's own marks of its thoughts, or none.")
]


@app.command("lmms-eval")
def import_lmms_eval(
    log: Log,
    out: Out,
    bench: Annotated[
        str | None, typer.Option(metavar="BENCH[:ROOT]", help="The benchmark it was made on, for logs without ids.")
    ] = None,
    id_field: Annotated[
        str | None, typer.Option("--id", metavar="FIELD", help="Where the ids are, such as doc.id.")
    ] = None,
    target: Annotated[str, typer.Option(metavar="NAME", help="What the model is called.")] = "lmms-eval",
    thoughts: Thoughts = None,
) -> None:
    """holisafe import lmms-eval LOG --bench holisafe-bench:FOLDER --out answers.jsonl

    The responses in a sample log of lmms-eval (--log_samples), for `holisafe run ... --target replay/answers.jsonl`.
    """
    from ..benchmarks import open_benchmark
    from ..interchange.lmms_eval import read_log
    from ..thoughts import own_marks

    samples = open_benchmark(bench).samples if bench else None
    _write(read_log(log, target, samples, id_field, own_marks(thoughts)), out)


@app.command("inspect")
def import_inspect(
    log: Log,
    out: Out,
    thoughts: Thoughts = None,
    max_bytes: Annotated[
        int, typer.Option(metavar="N", min=1, help="The longest file in the log, unpacked.")
    ] = 100_000_000,
) -> None:
    """holisafe import inspect log.eval --out answers.jsonl

    The responses in a log of Inspect AI (.eval or .json), of any task whose sample ids are the benchmark's.
    """
    from ..interchange.inspect_logs import read_responses
    from ..thoughts import own_marks

    _write(read_responses(log, own_marks(thoughts), max_bytes), out)


def _write(responses: list[Response], out: Path) -> None:
    """One response a line; the file appears whole or not at all."""
    from ..journal import write_text
    from ..records import to_line

    if not out.parent.is_dir():
        raise InputError("no such folder", where=out.parent)
    write_text(out, "".join(to_line(response) + "\n" for response in responses))
    failed = sum(not response.usable for response in responses)
    told = f"{len(responses):,} responses" + (f", {failed:,} of them failed calls" if failed else "")
    print(f"{out}: {told}; next: holisafe run BENCH --target replay/{out} ...")
