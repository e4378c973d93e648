"""`holisafe run --dry-run`: what a run would take, counted from what it would ask, with nothing asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..benchmarks.base import Benchmark
from ..calibration.base import Calibrated
from ..evaluation.pairs import Call, current_verdicts
from ..judges.base import Judge, Judged, applies
from ..records import GenerationSettings, Request, Response, Verdict, response_key
from ..runs.folder import read_records
from ..targets.base import Target

if TYPE_CHECKING:
    from rich.table import Table

    from ..clients.estimate import Estimate

TYPICAL_RESPONSE = "word " * 160
"""What a response to be judged is taken to be as long as, some 200 tokens."""


class Part(NamedTuple):
    """What the target or one judge still has to do. `estimate` is None for what costs no API calls."""

    who: str
    calls: int
    estimate: Estimate | None


def remaining(
    benchmark: Benchmark,
    target: Target,
    judges: Sequence[Judge],
    calls: Sequence[Call],
    settings: GenerationSettings,
    out: Path,
) -> Iterator[Part]:
    """The target's part and every judge's, less what a run in `out` already holds. Opens each picture once."""
    from ..clients.estimate import estimate

    responses = read_records(out, Response)
    verdicts = read_records(out, Verdict)
    answered = {key for key, response in responses.items() if response.usable}
    asked = [(s, repeat) for s, repeat in calls if response_key(s.id, repeat) not in answered]
    requests: Iterator[Request] = (benchmark.request(sample, settings, repeat) for sample, repeat in asked)
    asked_of: Any = target
    while isinstance(asked_of, Calibrated):
        requests, asked_of = map(asked_of.edit, requests), asked_of.target
    options = getattr(asked_of, "options", None)
    yield Part(target.name, len(asked), estimate(requests, options) if options is not None else None)
    for judge in judges:
        judged = current_verdicts(judge, responses, verdicts)
        items = [
            Judged(sample, responses.get(key) or _stand_in(sample.id, repeat), benchmark.pictures(sample))
            for sample, repeat in calls
            if applies(judge, sample) and (key := response_key(sample.id, repeat)) not in judged
        ]
        model = getattr(judge, "target", None)
        options = getattr(model, "options", None)
        requests = (judge.request(item) for item in items)  # type: ignore[attr-defined]
        yield Part(judge.name, len(items), estimate(requests, options) if options is not None else None)


def _stand_in(sample_id: str, repeat: int) -> Response:
    return Response(sample_id=sample_id, repeat=repeat, target="", text=TYPICAL_RESPONSE)


def parts_table(parts: Sequence[Part]) -> Table:
    """A row for each part, and their sum; dollars only where prices are known."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    table.caption = "Estimates: a token for four characters, pictures by OpenAI's tile rule; retries not foreseen."
    for name in ("", "calls", "tokens in", "tokens out", "at most", "USD", "at most"):
        table.add_column(name, justify="right" if name else "left", overflow="fold")
    for who, calls, found in parts:
        if found is None:
            table.add_row(who, f"{calls:,}", "", "", "", "no API", "")
            continue
        tokens = (found.input_tokens, found.output_tokens_typical, found.output_tokens_most)
        costs = (found.cost_typical, found.cost_most)
        table.add_row(who, f"{calls:,}", *(f"{n:,}" for n in tokens), *(_dollars(cost) for cost in costs))
    totals = [part.estimate for part in parts if part.estimate is not None]  # of the parts that are paid for
    if totals and all(one.cost_most is not None for one in totals):
        typical, most = (sum(getattr(one, name) for one in totals) for name in ("cost_typical", "cost_most"))
        table.add_section()
        table.add_row(
            "together", f"{sum(one.calls for one in totals):,}", "", "", "", _dollars(typical), _dollars(most)
        )
    return table


def _dollars(cost: float | None) -> str:
    return "no price" if cost is None else f"{cost:,.2f}" if cost >= 1 else f"{cost:.4f}"
