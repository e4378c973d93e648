"""What a run would take, counted from what it would ask, with nothing asked: `holisafe run --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..benchmarks.base import Benchmark
from ..clients.estimate import Estimate, estimate
from ..judges.base import Judge, Judged, applies
from ..records import GenerationSettings, Request, Response, ResponseKey, response_key
from ..runs.folder import read_index, read_manifest
from ..runs.index import Index
from ..targets.base import Target, innermost
from ..targets.image_probe import NAMES, probes
from .image_probe import needs_probe
from .pairs import PROBE, Call

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
    *,
    probe_images: bool = False,
) -> Iterator[Part]:
    """The target's part and every judge's, less what a run in `out` already holds. Opens each picture once. With
    `probe_images` the picture's probe comes first, where it would be made."""
    index = read_index(out)
    model: Any = innermost(target)
    pictured = any(sample.every_image for sample, _ in calls)
    earlier = read_manifest(out).get(PROBE) if (out / "manifest.json").is_file() else None
    if probe_images and needs_probe(target, pictured, earlier):
        yield Part("image probe", len(NAMES), estimate(probes(settings)[1], model.options))
    asked = [(sample, repeat) for sample, repeat in calls if not index.done(response_key(sample.id, repeat))]
    requests: Iterator[Request] = (benchmark.request(sample, settings, repeat) for sample, repeat in asked)
    asked_of: Any = target
    while hasattr(asked_of, "edit"):  # a calibration around it
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
        requests = (request for item in items for request in _asked(judge, item))
        yield Part(judge.name, len(items), estimate(requests, options) if options is not None else None)


def _asked(judge: Any, item: Judged) -> Sequence[Request]:
    """What a judge asks its model about a response: several questions, or one."""
    several = getattr(judge, "requests", None)
    return several(item) if several is not None else [judge.request(item)]


def _response(index: Index, key: ResponseKey) -> Response:
    """What is stored, or what stands in for an answer that is not there yet."""
    stand_in = Response(sample_id=key[0], repeat=key[1], target="", text=TYPICAL_RESPONSE)
    return next(index.responses([key])) if index.judgeable(key) else stand_in
