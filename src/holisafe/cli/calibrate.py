"""`holisafe calibrate`: learn what a calibration method needs, and look at what was learnt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from .calibrate_sweep import sweep
from .command import Commands, leave_if

app = Commands("Calibrate a model without training.")
app.command()(sweep)


@app.command(name="list")
def list_methods() -> None:
    """holisafe calibrate list

    Name every calibration method, what it does and what it needs; and every attack.
    """
    from ..registry import attacks, calibrations
    from ..report.grids import Grid
    from .screen import screen

    rows = tuple(
        (
            name,
            *(entry.facts.get(fact, "") for fact in ("summary", "needs")),
            "yes" if hasattr(entry.load, "fit") else "",
        )
        for name, entry in calibrations.entries().items()
    )
    screen().print(Grid("", ("Method", "What it does", "Needs", "Fit first"), rows))
    against = tuple(
        (name, *(entry.facts.get(fact, "") for fact in ("summary", "needs", "pictosafe")))
        for name, entry in attacks.entries().items()
    )
    screen().print(Grid("", ("Attack", "What it does", "Needs", "On PictoSafe"), against))


@app.command()
def fit(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A method that learns, with options after commas.")],
    target: Annotated[str, typer.Option(metavar="SPEC", help="The model it is for, as in `holisafe run`.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write: NAME.safetensors.")],
    data: Annotated[
        str | None, typer.Option(metavar="BENCH[:ROOT]", help="Labelled pairs to learn from; token-debias needs none.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=4, help="Learn from at most N pairs.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draws the pairs, and the part to choose on.")] = 0,
    max_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="The longest answer of the model.")] = 512,
) -> None:
    r"""holisafe calibrate fit few-shot --target hf/ID --data pictosafe \
      --out f.safetensors

    Let a method learn from labelled pairs, and keep what it learnt in one file.

    Where the benchmark has train and validation splits, these are used and no other; else a fifth is held out to
    choose on. Never fit on what is measured later.
    """
    from ..benchmarks import open_benchmark
    from ..calibration.base import fit_data
    from ..records import GenerationSettings
    from ..registry import calibrations
    from ..runs.folder import provenance
    from ..specs import parse_spec
    from ..targets import open_target

    name, _, options = parse_spec(method, "calibration")
    kind = calibrations.get(name).load
    if not hasattr(kind, "fit"):
        raise InputError(f"{name} learns nothing: give it straight to `holisafe run --calibrate {name}`")
    if out.suffix != ".safetensors":
        raise InputError("a learned file is called NAME.safetensors", where=out)
    if data is None and not getattr(kind, "fits_without_data", False):
        raise InputError(f"{name} learns from labelled pairs: give --data")
    pairs = fit_data(open_benchmark(data), limit=limit, seed=seed) if data else None
    model = open_target(target, GenerationSettings(max_new_tokens=max_tokens))
    learned = kind.fit(model, pairs, options)
    origin = {"options": options, "model": model.describe(), "data": pairs and pairs.facts(), **provenance()}
    type(learned)(learned.method, learned.tensors, {**origin, **learned.facts}).save(out)
    told = {getattr(kind, "file_option", "file"): str(out)}
    told |= {again: options[again] for again in getattr(kind, "told_again", ()) if again in options}
    spec = ",".join([name, *(f"{option}={value}" for option, value in told.items())])
    print(f"{out} holds what {name} learnt; use it: holisafe run BENCH --calibrate {spec} ...")
    again = f"calls failed, and {name} learnt without what they would have said; the same command makes all calls again"
    leave_if(int(learned.facts.get("failed_calls", 0)), again)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `holisafe calibrate fit` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole record as JSON.")] = False,
) -> None:
    """holisafe calibrate show f.safetensors

    Tell what a learned file holds: method, options, the model and data it came from, what was found.
    """
    from ..calibration.learned import load_learned
    from ..report.grids import Grid
    from .screen import screen

    learned = load_learned(file)
    if as_json:
        print(json.dumps({"method": learned.method, **learned.facts}, indent=1))
        return
    told = {"method": learned.method, **learned.facts}
    rows = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in told.items()]
    rows += [(name, f"tensor, {array.dtype} {list(array.shape)}") for name, array in learned.tensors.items()]
    screen().print(Grid("", ("What", "Value"), tuple(rows)))
