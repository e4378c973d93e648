"""One study: a base, the same model tuned, and a benchmark -> five tables and what they come to.

    OUT/separation.parquet   model, block, sample_id, group, unsafe, tau, scaled, cosine     pairs that were scored
    OUT/update.parquet       matrix, side, block, number, sigma, null_share                   leading singular vectors
    OUT/projection.parquet   matrix, block, sample_id, group, gain, v1 .. v15                 inputs of the first layers
    OUT/sensitivity.parquet  model, sample_id, group, sensitivity
    OUT/depth.parquet        sample_id, group, position, kl                                   KL(tuned | base), nats
    OUT/summary.json         what was compared, n of every group, and each figure's numbers

Half of the clusters, drawn by seed, gives the means of the safe and of the unsafe; the other half is scored. SSU, where
harm is in neither half alone, is kept out of the means: where it lies is the question.

What is looked at `first` is the beginning of each model's own answer. A model that describes a picture before it
decides has said nothing yet; `decision` looks at one state of a pair, the same words having been said to both models:
the place in the base's own answer where the tuned model would turn (`deciding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..benchmarks.base import Benchmark, stratified
from ..errors import InputError
from ..journal import whole_folder, write_json
from ..metrics.rates import Outcomes
from ..records import Sample, digest
from .blocks import Block, Part, blocks
from .deciding import decided
from .readings import Reading, read, read_said
from .separation import means, placed
from .update import direction_gains, gain, null_shares, singular

if TYPE_CHECKING:
    import pandas as pd

    from ..targets.huggingface import HuggingFaceTarget
from ..taxonomy import BORDERLINE

Progress = Callable[[str, int, int], None]
Place = Literal["first", "decision"]
PLACES: tuple[Place, ...] = get_args(Place)
MODELS = ("base", "tuned")
TABLES = ("separation", "update", "projection", "sensitivity", "depth")
ASKED_APART = "SSU"
VECTORS = 15
"""Leading singular vectors of an update that are looked at."""
POSITIONS = 10
"""First tokens of an answer, the study's."""
AT_ONCE = 64
"""Requests that are prepared together."""


@dataclass(frozen=True)
class Study:
    """The five tables, and what they come to as JSON."""

    separation: pd.DataFrame
    update: pd.DataFrame
    projection: pd.DataFrame
    sensitivity: pd.DataFrame
    depth: pd.DataFrame
    summary: dict[str, Any]

    def save(self, out: Path) -> Path:
        """Write the folder whole or not at all. Raises InputError where something is there."""
        if out.exists():
            raise InputError("is there already", where=out)
        with whole_folder(out) as folder:
            for name in TABLES:
                getattr(self, name).to_parquet(folder / f"{name}.parquet", index=False)
            write_json(folder / "summary.json", self.summary)
        return out


def study(
    base: HuggingFaceTarget,
    tuned: HuggingFaceTarget,
    benchmark: Benchmark,
    *,
    part: Part = "text",
    at: Place = "first",
    limit: int | None = 400,
    positions: int = POSITIONS,
    seed: int = 0,
    succeeded: frozenset[str] = frozenset(),
    progress: Progress = lambda stage, done, total: None,
) -> Study:
    """Compare `tuned` with the `base` it was tuned from, on at most `limit` pairs of the benchmark, drawn by `seed`.

    `positions`: over how many first tokens of an answer distributions are compared, and either (`at` "first")
    activations are averaged or (`at` "decision") the place that decides is looked for.
    `succeeded` are ids of unsafe pairs that the tuned model answers: a group of their own, beside their combination's.
    Raises InputError where the two are not one model, its part has no blocks, or safe or unsafe pairs are missing.
    """
    found, own = blocks(tuned.inner, part), blocks(base.inner, part)
    if [block.names for block in found] != [block.names for block in own]:
        raise InputError(f"{base.name} and {tuned.name} are not built alike")
    if at == "decision" and part != "text":
        raise InputError(f"--at decision is a place in the answer, which the {part} part does not see")
    samples = stratified(
        [one for one in benchmark.samples if not one.has_answer_key and one.expected != BORDERLINE], limit, seed
    )
    requests = [benchmark.request(one, tuned.settings) for one in samples]
    asked = {"base": (base, own), "tuned": (tuned, found)}
    begun: dict[str, list[Reading | None]] = {}
    for name in MODELS if at == "first" else MODELS[:1]:
        begun[name] = []
        for start in range(0, len(requests), AT_ONCE):
            progress(f"reading the {name} model", start, len(requests))
            begun[name] += read(asked[name][0], requests[start : start + AT_ONCE], asked[name][1], part, positions)
        progress(f"reading the {name} model", len(requests), len(requests))
    there = [n for n, pair in enumerate(zip(*begun.values(), strict=True)) if readable(pair, at)]
    if not there:
        raise InputError(f"none of {len(samples):,} pairs could be read by both models")
    unread = len(samples) - len(there)
    samples, requests = [samples[n] for n in there], [requests[n] for n in there]
    whole: dict[str, list[Any]] = {name: [rows[n] for n in there] for name, rows in begun.items()}
    held_out = np.array([int(digest([seed, one.cluster or one.id]), 16) % 2 == 0 for one in samples])
    unsafe = np.array([one.expected == "refuse" for one in samples])
    named = [_named(one, succeeded) for one in samples]
    answers = [reading.answer for reading in whole["base"]]
    depth = _depth(base, tuned, requests, answers, named, positions, progress)
    word = None
    if at == "decision":
        passages = [tuned.passage(*one) for one in zip(requests, answers, strict=True)]
        progress("looking for the place that decides", 0, len(samples))
        word, places = decided(tuned, passages, unsafe.tolist(), positions)
        for name, (target, those) in asked.items():
            progress(f"reading the {name} model where it is decided", 0, len(samples))
            whole[name] = read_said(target, passages, places, those)
        named = [{**pair, "position": place} for pair, place in zip(named, places, strict=True)]
    separation = _separation(whole, named, unsafe, held_out)
    update, projection = _update(own, found, whole["base"], named, progress)
    sensitivity = _rows(
        {"model": name, "sensitivity": reading.sensitivity, **pair}
        for name in MODELS
        for reading, pair in zip(whole[name], named, strict=True)
    )
    about = {
        "base": base.describe(),
        "tuned": tuned.describe(),
        "benchmark": {"name": benchmark.name, "split": benchmark.split},
        "part": part,
        "at": at,
        "word": None if word is None else tuned.processor.tokenizer.decode([word]),
        "positions": positions,
        "seed": seed,
        "pairs": len(samples),
        "unread": unread,
    }
    summary = about | _summary(separation, update, projection, sensitivity, depth, samples)
    return Study(separation, update, projection, sensitivity, depth, summary)


def open_whole(name: str, batch_size: int = 8) -> HuggingFaceTarget:
    """The model in a folder or behind a hub id, greedy; one that is an adapter on another merged into it."""
    from ..records import GenerationSettings
    from ..targets import open_target
    from ..targets.huggingface import HuggingFaceTarget

    settings = GenerationSettings(max_new_tokens=POSITIONS)
    found: Any = open_target(f"hf/{name.removeprefix('hf/')},batch_size={batch_size}", settings)
    if hasattr(found.model, "merge_and_unload"):
        found = HuggingFaceTarget(found.name, found.model.merge_and_unload(), found.processor, settings, batch_size)
    return found  # type: ignore[no-any-return]


def readable(pair: Sequence[Reading | None], at: Place) -> bool:
    """Whether what was read of a pair is there; a place in the base's answer needs one."""
    return None not in pair and (at == "first" or bool(pair[0] and pair[0].answer))


def _named(sample: Sample, succeeded: frozenset[str]) -> dict[str, Any]:
    """What every table says of a pair: its combination, or safe and unsafe where there is none."""
    unsafe = sample.expected == "refuse"
    group = sample.combination or ("unsafe" if unsafe else "safe")
    return {"sample_id": sample.id, "group": group, "succeeded": unsafe and sample.id in succeeded}


def _rows(rows: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))


def _separation(
    readings: dict[str, list[Any]],
    named: Sequence[dict[str, Any]],
    unsafe: np.ndarray,
    held_out: np.ndarray,
) -> pd.DataFrame:
    means_of = held_out & np.array([pair["group"] != ASKED_APART for pair in named])
    rows = []
    for name in MODELS:
        activations = np.stack([reading.activations for reading in readings[name]])
        try:
            mean = means(activations[means_of], unsafe[means_of])
        except ValueError:
            raise InputError("too few pairs: the half that gives the means has no safe or no unsafe ones") from None
        scored = np.flatnonzero(~held_out).tolist()
        there = placed(activations[scored], mean)
        for row, at in enumerate(scored):
            for block in range(activations.shape[1]):
                values = {
                    "tau": there.tau[row, block],
                    "scaled": there.scaled[row, block],
                    "cosine": there.cosine[row, block],
                }
                rows.append({"model": name, "block": block, "unsafe": bool(unsafe[at]), **named[at], **values})
    return _rows(rows)


def _update(
    base: Sequence[Block],
    tuned: Sequence[Block],
    readings: Sequence[Any],
    named: Sequence[dict[str, Any]],
    progress: Progress,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    changed, acting = [], []
    pairs = pd.DataFrame(list(named))
    for place, (one, other) in enumerate(zip(base, tuned, strict=True)):
        progress("taking the weights' update apart", place, len(base))
        inputs = np.stack([reading.inputs[place] for reading in readings])
        for (name, side, before), (_, _, after) in zip(one.matrices, other.matrices, strict=True):
            was = before.weight.detach().float().cpu().numpy()
            delta = after.weight.detach().float().cpu().numpy() - was
            new = singular(delta, VECTORS)
            of = {"matrix": name, "side": side, "block": place}
            for number, share in enumerate(null_shares(singular(was), new) if len(new.values) else ()):
                changed.append({**of, "number": number, "sigma": new.values[number], "null_share": share})
            if side == "first":
                acts = direction_gains(new, inputs)
                vectors = {f"v{number + 1}": acts[:, number] for number in range(acts.shape[1])}
                acting.append(pairs.assign(matrix=name, block=place, gain=gain(delta, inputs), **vectors))
    columns = ["matrix", "side", "block", "number", "sigma", "null_share"]
    return pd.DataFrame(changed, columns=columns), pd.concat(acting, ignore_index=True)


def _depth(
    base: HuggingFaceTarget,
    tuned: HuggingFaceTarget,
    requests: Sequence[Any],
    answers: Sequence[str],
    named: Sequence[dict[str, Any]],
    positions: int,
    progress: Progress,
) -> pd.DataFrame:
    """KL of the next token after each prefix of the base's own answer."""
    rows: list[dict[str, Any]] = []
    with_answer = [at for at, answer in enumerate(answers) if answer]

    def compare(prefill: Any) -> Iterator[list[float]]:
        width, before = prefill.width, prefill.before
        logs = [one.forward(prefill, width).logits[:, -width:].float().log_softmax(-1) for one in (tuned, base)]
        shared = min(one.shape[-1] for one in logs)  # a tuned vocabulary may have grown
        new, old = (one[..., :shared] for one in logs)
        divergence = (new.exp() * (new - old)).sum(-1)  # [B, width]
        for row, (first, last) in enumerate(prefill.spans):
            stop = min(last, first + positions)
            yield divergence[row, first - 1 - before : stop - 1 - before].tolist()

    for start in range(0, len(with_answer), AT_ONCE):
        progress("comparing what comes next", start, len(with_answer))
        places = with_answer[start : start + AT_ONCE]
        passages = [tuned.passage(requests[at], answers[at]) for at in places]
        for at, values in zip(places, tuned.each(passages, compare), strict=True):
            rows += [{**named[at], "position": position, "kl": value} for position, value in enumerate(values)]
    return _rows(rows)


def _summary(
    separation: pd.DataFrame,
    update: pd.DataFrame,
    projection: pd.DataFrame,
    sensitivity: pd.DataFrame,
    depth: pd.DataFrame,
    samples: Sequence[Sample],
) -> dict[str, Any]:
    import pandas as pd

    clusters = {sample.id: sample.cluster or sample.id for sample in samples}

    def accuracy(rows: pd.DataFrame) -> dict[str, Any]:
        codes = pd.factorize(rows["sample_id"].map(clusters))[0]
        right = (rows["tau"] < 0).to_numpy() == rows["unsafe"].to_numpy()
        every = np.ones(len(rows), dtype=bool)
        return Outcomes(every, right, codes).macro([every]).to_json()

    def mean_by(rows: pd.DataFrame, column: str, *keys: str) -> list[dict[str, Any]]:
        found = rows.groupby([*keys, "group"], sort=False)[column].agg(["mean", "std", "count"]).reset_index()
        return [
            {
                **{key: row[key] for key in (*keys, "group")},
                "mean": row["mean"],
                "sd": row["std"] if row["count"] > 1 else None,
            }
            | {"n": row["count"]}
            for row in found.astype(object).to_dict("records")
        ]

    scored = separation[separation["block"] == 0]
    blocks_of = sorted(separation["block"].unique())
    unsafe = projection["group"].isin({*separation.loc[separation["unsafe"], "group"]})
    gains = projection.assign(unsafe=unsafe).groupby(["matrix", "block", "unsafe"], sort=False)["gain"].mean().unstack()
    places = mean_by(sensitivity[sensitivity["model"] == "base"], "position") if "position" in sensitivity else []
    ratios = (gains[True] / gains[False].where(gains[False] > 0)).rename("unsafe_over_safe").reset_index()
    return {
        "groups": {name: int(n) for name, n in scored[scored["model"] == "base"]["group"].value_counts().items()},
        "nearest_mean": {
            model: [accuracy(rows[rows["block"] == block]) for block in blocks_of]
            for model, rows in separation.groupby("model", sort=False)
        },
        "separation": mean_by(separation, "scaled", "model", "block"),
        "attacks": mean_by(separation[separation["succeeded"]], "scaled", "model", "block"),
        "null_share": update.groupby(["matrix", "side", "block"], sort=False)["null_share"]
        .mean()
        .reset_index()
        .to_dict("records"),
        "gain": mean_by(projection, "gain", "block"),
        "gain_ratio": ratios[ratios["unsafe_over_safe"].notna()].to_dict("records"),
        "sensitivity": mean_by(sensitivity, "sensitivity", "model"),
        "depth": mean_by(depth, "kl", "position"),
        "places": places,
    }
