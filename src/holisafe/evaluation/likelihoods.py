"""SafeGround: does a model find safe texts and images likelier together than unsafe ones?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..benchmarks.base import Benchmark, stratified
from ..benchmarks.quadruples import CORNERS, Quadruple, quadruples
from ..errors import InputError
from ..journal import write_json
from ..records import GenerationSettings, digest
from ..runs.folder import provenance
from ..targets.base import LikelihoodTarget
from .likelihoods_file import Scores, kept_scores
from .progress import Progress, silent

WINDOW = 32
"""Pairs whose likelihoods are computed, and then kept, together."""


def safeground(
    benchmark: Benchmark,
    target: Any,
    out: Path,
    *,
    limit: int | None = None,
    settings: GenerationSettings = GenerationSettings(),
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score a benchmark's quadruples of two texts and two images, and write the SafeGround metrics to `out`.

    The score of a pair is the mean log-likelihood of its text's tokens after its image (nats). Scores are kept beside
    `out` as they come, so that the same call goes on; "errors" of the result names the pairs that could not be scored.
    `limit` takes a stratified part of so many quadruples. Raises InputError when the benchmark has no quadruples, the
    target tells no likelihoods, or `out` is something else's.
    """
    from ..metrics.safeground import safeground as metrics

    if out.suffix != ".json":
        raise InputError("the output ends in .json", where=out)
    if not target.capabilities.likelihoods:
        raise InputError(
            f"{target.name} tells no likelihoods: SafeGround needs a causal model on this machine (hf/...)"
        )
    every = quadruples(benchmark)
    benchmark = replace(benchmark, samples=tuple(sample for members in every for sample in members))
    chosen = _part(every, limit)
    measured = {"benchmark": benchmark.name, "content_hash": benchmark.content_hash(), "target": target.describe()}
    with kept_scores(out, digest(measured)) as scores:
        _compute(target, benchmark, settings, chosen, scores, progress)
        table = [[scores.known.get(sample.id) for sample in members] for members in chosen]
        errors = {sample.id: scores.errors[sample.id] for row in chosen for sample in row if sample.id in scores.errors}
    result = {
        **measured,
        "name": target.name,
        "split": benchmark.split,
        "quadruples": len(chosen),
        "metrics": {name: cell.to_json() for name, cell in metrics(table).items()},
        "mean_log_likelihood": {code: _mean([row[at] for row in table]) for at, code in enumerate(CORNERS)},
        "errors": errors,
        **provenance(),
    }
    write_json(out, result)
    return result


def _part(found: Sequence[Quadruple], limit: int | None) -> list[Quadruple]:
    """At most `limit` quadruples, of each subcategory its share; a larger limit only adds some."""
    of = {members[0].id: members for members in found}
    return [of[sample.id] for sample in stratified([members[0] for members in found], limit, seed=0)]


def _compute(
    target: LikelihoodTarget,
    benchmark: Benchmark,
    settings: GenerationSettings,
    chosen: Sequence[Quadruple],
    scores: Scores,
    progress: Progress,
) -> None:
    samples = [sample for members in chosen for sample in members]
    waiting = [sample for sample in samples if sample.id not in scores.known]
    done = len(samples) - len(waiting)
    for start in range(0, len(waiting), WINDOW):
        window = waiting[start : start + WINDOW]
        requests = [benchmark.request(sample, settings) for sample in window]
        scores.add(
            [sample.id for sample in window], target.log_likelihoods(requests, [sample.query for sample in window])
        )
        done += len(window)
        progress("likelihoods", done, len(samples))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
