"""`holisafe serve`: a guarded model behind OpenAI's API."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..specs import is_local
from .command import RARE, known

if TYPE_CHECKING:
    from ..serving.gateway import Gateway


def serve(
    target: Annotated[str, typer.Option(metavar="SPEC", help="Who answers: openai/MODEL,base_url=..., hf/FOLDER ...")],
    guard: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SPEC", help="Who reads requests and answers; repeatable.", autocompletion=known("guards")
        ),
    ] = None,
    policy: Annotated[Path | None, typer.Option(metavar="FILE", help="What is done then, as YAML.")] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD",
            help="reminder, guarded,guard=F ...; where the policy says `calibrate`, only there.",
            autocompletion=known("calibrations"),
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="HOST", help="Beyond this machine keys are needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8080,
    keys: Annotated[Path | None, typer.Option(metavar="FILE", help="One a line; or HOLISAFE_SERVE_KEYS.")] = None,
    log: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep requests as run records, a run a day.")] = None,
    log_texts: Annotated[bool, typer.Option("--log-texts", help="With questions and answers.")] = False,
    log_pictures: Annotated[bool, typer.Option("--log-pictures", help="With pictures.")] = False,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What clients call the model.", rich_help_panel=RARE)
    ] = None,
    guard_policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Categories for guards that take them.", rich_help_panel=RARE)
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="The longest answer, where a client says nothing.", rich_help_panel=RARE),
    ] = 512,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A system prompt before every client's.", rich_help_panel=RARE)
    ] = None,
) -> None:
    """holisafe serve --target openai/MODEL --guard llama-guard/hf/ID --policy p.yaml

    Put a guarded model behind OpenAI's API: chat completions, streamed or not, and moderations. Guards read each
    request before it is asked and each answer before it is delivered. Runs until stopped; needs the extra `serve`.
    """
    try:
        from ..serving.app import application
        from ..serving.server import serve as serve_forever
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "starlette", "uvicorn", "prometheus_client", "h11"):
            raise
        raise InputError(f"this needs {error.name}, try: pip install 'holisafe[serve]'") from None
    from ..calibration import calibrated
    from ..guards import open_guard, open_policy
    from ..records import GenerationSettings
    from ..serving.gateway import Gateway
    from ..serving.keys import read_keys
    from ..serving.policy import read_policy
    from ..serving.traffic import Traffic
    from ..targets import open_target

    wanted, opening = read_policy(policy), read_keys(keys)
    if not opening and not is_local(f"http://[{host}]" if ":" in host else f"http://{host}"):
        raise InputError(f"{host} is open to other machines, and anyone there could ask: give --keys FILE")
    if log is None and (log_texts or log_pictures):
        raise InputError("--log-texts and --log-pictures say what --log DIR keeps")
    if wanted.asks_for("calibrate") and not calibrate:
        raise InputError("asks to calibrate: give a method with --calibrate", where=policy, field="rules")
    settings = GenerationSettings(max_new_tokens=max_tokens, system=system)
    plain = open_target(target, settings)
    treated = calibrated(plain, calibrate or ())
    by_request = wanted.asks_for("calibrate")
    always = plain if by_request else treated
    guards = [open_guard(spec, open_policy(guard_policy)) for spec in guard or ()]
    traffic = Traffic(log, always, settings, texts=log_texts, pictures=log_pictures) if log is not None else None
    gateway = Gateway(
        always,
        guards,
        wanted,
        treated=treated if by_request else None,
        settings=settings,
        name=name,
        traffic=traffic,
    )
    for line in remarks(gateway):
        print(f"note: {line}", file=sys.stderr)
    app = application(gateway, opening)
    if traffic is None:
        serve_forever(app, wanted.limits, host, port)
        return
    with traffic:
        serve_forever(app, wanted.limits, host, port)


def remarks(gateway: Gateway) -> list[str]:
    """What passes unread: whoever starts a gateway should know."""
    panel = gateway.panel
    if not panel.guards:
        return ["no guard: nothing is read, whatever the policy says"]
    told = []
    if not panel.reads_text:
        told.append(f"{panel.name} reads pictures alone: requests without one pass unread")
    if not panel.reads_answers:
        told.append(f"{panel.name} reads no answers: they are delivered unread")
    return told
