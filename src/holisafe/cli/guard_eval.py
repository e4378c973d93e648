"""`holisafe guard eval` and `holisafe guard pairs`: how good a guard is, on labelled images and on image-text pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from .command import RARE, leave_if
from .guard_model import Device, Pool, Processor, VisionTower
from .guard_tables import print_guard
from .progress import showing_progress

Split = Annotated[str | None, typer.Option(metavar="S", help="Such as test; for a benchmark or a table.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Unsafe above this 1 - P(safe), whatever the model's file says.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Draws the bootstrap.")]
Draws = Annotated[int, typer.Option(metavar="N", min=100, help="How many bootstrap draws.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images read at once.")]


Models = Annotated[
    list[str],
    typer.Option(metavar="GUARD", help="A guarded model, or another's: llama-guard/hf/ID ... Several are compared."),
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep readings, numbers and a page here; goes on.")]
NoProbe = Annotated[
    bool, typer.Option("--no-probe", help="Ask an API nothing about a picture first.", rich_help_panel=RARE)
]
PolicyFile = Annotated[Path | None, typer.Option("--policy", metavar="FILE", help="A policy of your own, in YAML.")]


def evaluate(
    data: Annotated[
        str, typer.Option(metavar="SET", help="BENCH[:ROOT], a table (image, label[, source]), or a folder a label.")
    ],
    model: Models,
    split: Split = None,
    out: Out = None,
    policy: PolicyFile = None,
    ood: Annotated[
        list[str] | None, typer.Option("--ood", metavar="NAME=SET", help="Out-of-distribution images, reported apart.")
    ] = None,
    threshold: Threshold = None,
    as_json: AsJson = False,
    published: Annotated[
        bool, typer.Option("--published", help="Add the published figures for HoliSafe-Bench.")
    ] = False,
    seed: Seed = 0,
    draws: Draws = 2000,
    batch_size: BatchSize = 8,
    processor: Processor = None,
    vision_tower: VisionTower = None,
    pool: Pool = None,
    device: Device = None,
    no_probe: NoProbe = False,
) -> None:
    """holisafe guard eval --model tuned --data pictosafe --split test

    Measure a guard on labelled images: false alarms on benign ones first, then by label and by source.
    """
    from ..evaluation.guard_images import evaluate_guard
    from ..guards import open_policy
    from ..guards.visual_guard import Opening

    asked: dict[str, Any] = {
        "split": split, "seed": seed, "draws": draws, "policy": open_policy(policy), "batch_size": batch_size,
        "how": Opening(device, processor, vision_tower, pool), "probe_images": not no_probe, "published": published,
    }  # fmt: skip
    if len(model) > 1 or out is not None:
        if ood or threshold is not None:
            raise InputError("--ood and --threshold are for one guard without --out")
        _compare("images", data, model, out, as_json, asked)
        return
    apart: dict[str, str] = {}
    for given in ood or []:
        name, equals, place = given.partition("=")
        if not equals or not name or not place:
            raise InputError(f"--ood {given!r} is not NAME=SET")
        if name in apart:
            raise InputError(f"two sets are called {name!r}")
        apart[name] = place
    with showing_progress() as progress:
        result = evaluate_guard(
            data, model[0], out_of_distribution=apart, threshold=threshold, progress=progress, **asked
        )
    _tell(result, as_json)


def pairs(
    data: Annotated[
        str, typer.Option(metavar="BENCH|RUN", help="BENCH[:ROOT], or a run folder, whose stored readings are used.")
    ],
    model: Annotated[
        list[str] | None, typer.Option(metavar="GUARD", help="As for guard eval; a run needs none.")
    ] = None,
    split: Split = None,
    out: Out = None,
    policy: PolicyFile = None,
    choose_on: Annotated[
        str | None, typer.Option(metavar="S", help="Choose the threshold on the SSS pairs of this split.")
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(metavar="BENCH", help="Choose it for pairs like these, labels unread, with the split's recall."),
    ] = None,
    unsafe_share: Annotated[float | None, typer.Option(help="What share of the unlabelled is unsafe, about.")] = None,
    false_alarms: Annotated[float, typer.Option(help="When chosen: the wanted share of safe pairs above.")] = 0.05,
    threshold: Threshold = None,
    as_json: AsJson = False,
    seed: Seed = 0,
    draws: Draws = 2000,
    batch_size: BatchSize = 8,
    processor: Processor = None,
    pool: Pool = None,
    device: Device = None,
    no_probe: NoProbe = False,
) -> None:
    """holisafe guard pairs --model reader --data pictosafe --split test

    Measure a guard on image-text pairs: unsafe is a pair to be refused. SSU against SSS, and false alarms.
    """
    from ..evaluation.guard_pairs import evaluate_pairs
    from ..guards import is_ours, open_policy
    from ..guards.visual_guard import Opening

    asked: dict[str, Any] = {
        "split": split, "seed": seed, "draws": draws, "batch_size": batch_size, "probe_images": not no_probe,
        "how": Opening(device, processor, None, pool),
    }  # fmt: skip
    asked |= {"policy": open_policy(policy)} if model else {}
    alone = choose_on is not None or threshold is not None or unlabelled is not None or unsafe_share is not None
    by_verdict = not alone and any(not is_ours(name) for name in model or ())
    if len(model or ()) > 1 or out is not None or by_verdict:
        if alone:
            raise InputError("--choose-on, --unlabelled and --threshold are for one guard without --out")
        _compare("pairs", data, model or [], out, as_json, asked)
        return
    with showing_progress() as progress:
        result = evaluate_pairs(
            data, model[0] if model else None, choose_on=choose_on, unlabelled=unlabelled, unsafe_share=unsafe_share,
            false_alarms=false_alarms, threshold=threshold, progress=progress, **asked,
        )  # fmt: skip
    _tell(result, as_json)


def _tell(result: dict[str, Any], as_json: bool) -> None:
    """What one guard was found to do."""
    from ..evaluation.guards import failed_calls

    if as_json:
        print(json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_guard(result)
    leave_if(failed_calls(result), "calls failed and are in no rate; the same command makes all calls again")


def _compare(on: str, data: str, guards: list[str], out: Path | None, as_json: bool, asked: dict[str, Any]) -> None:
    """Several guards on the same items, or one by its own verdict: the tables, and with --out the page."""
    from ..evaluation.guard_boards import compare_guards
    from ..evaluation.guards import failed_calls
    from ..report.guard_board import write_board_page

    if not guards:
        raise InputError("no guard: name at least one with --model")
    with showing_progress() as progress:
        board = compare_guards(data, guards, on=on, out=out, progress=progress, **asked)
    page = write_board_page(board, out / "index.html") if out is not None else None
    if as_json:
        print(json.dumps(board, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(board, page)
    again = "the same command makes them again" if out is not None else "with --out DIR only they are made again"
    leave_if(failed_calls(board), f"calls failed; {again}")


def _show(board: dict[str, Any], page: Path | None) -> None:
    from ..report.guard_board import board_grids, board_notes
    from .screen import screen

    console = screen()
    for grid in board_grids(board):
        console.print(grid)
    for note in board_notes(board):
        console.print(f"note: {note}", soft_wrap=True)
    if page is not None:
        console.print(f"{page} shows it.", soft_wrap=True)
