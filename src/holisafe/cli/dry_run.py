"""`holisafe run --dry-run`: what a run would take, counted from what it would ask, with nothing asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..benchmarks.base import Benchmark
from ..calibration.base import Calibrated
from ..evaluation.pairs import Call
from ..judges.base import Judge, Judged, applies
from ..records import GenerationSettings, Request, Response, ResponseKey, response_key
from ..runs.folder import read_index
from ..runs.index import Index
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

    index = read_index(out)
    asked = [(sample, repeat) for sample, repeat in calls if not index.done(response_key(sample.id, repeat))]
    requests: Iterator[Request] = (benchmark.request(sample, settings, repeat) for sample, repeat in asked)
    asked_of: Any = target
    while isinstance(asked_of, Calibrated):
        requests, asked_of = map(asked_of.edit, requests), asked_of.target
    options = getattr(asked_of, "options", None)
    yield Part(target.name, len(asked), estimate(requests, options) if options is not None else None)
    for judge in judges:
        keyed = [(response_key(sample.id, repeat), sample) for sample, repeat in calls if applies(judge, sample)]
        items = [
            Judged(sample, _response(index, key), benchmark.pictures(sample))
            for key, sample in keyed
            if index.opinion(judge.name, judge.version, key) is None
        ]
        model = getattr(judge, "target", None)
        options = getattr(model, "options", None)
        requests = (judge.request(item) for item in items)  # type: ignore[attr-defined]
        yield Part(judge.name, len(items), estimate(requests, options) if options is not None else None)


def _response(index: Index, key: ResponseKey) -> Response:
    """What is stored, or what stands in for an answer that is not there yet."""
    stand_in = Response(sample_id=key[0], repeat=key[1], target="", text=TYPICAL_RESPONSE)
    return next(index.responses([key])) if index.judgeable(key) else stand_in


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
