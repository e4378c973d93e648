"""The figures of docs/guards_compared.md, from the scores that benches/pictosafe_guards.py read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holisafe.metrics.conformal import upper_quantile
from holisafe.metrics.guard_board import WANTED, Opinion, Subject, guard_board
from holisafe.records import Sample
from pictosafe_guard import STYLES

REFERENCE = "pair head, frozen"
"""The pair head that leaves the model as `QGuard, base` asks it."""

SEEDLESS = ("text alone", "QGuard, base")
EVEN = 0.05
"""Of the safe pairs of the very split that is measured: there every guard has the same false alarms."""

Scores = Mapping[tuple[str, int], Mapping[str, float | None]]
"""(guard, seed) -> score by pair; None where there was no verdict."""


def measured(samples: Mapping[str, Sequence[Sample]], scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Of "validation" and each style -> {"pairs": {part: {combination: n}}, "styles": {style: {guard: [RUN]}}}.

    RUN, one a seed: "seed"; "n_invalid"; "auroc" of SSU against the SSS pairs of its tables, with its "curve"; "at":
    {share wanted: {"threshold", "alarms", "found"}}; "even": SSU found where `EVEN` of the test split's own SSS pairs
    are raised; "ahead": [{"auroc", "even", share: what a pair head has or finds more}], of the head of that seed, or of
    all where the guard has no seed. Rates are cells, differences {"value", "low", "high"}.
    """
    limits = thresholds(samples["validation"], scores["validation"])
    return {
        "pairs": {part: counted(of) for part, of in samples.items()},
        "styles": {style: of_style(samples[style], scores[style], limits) for style in STYLES},
    }


def counted(samples: Sequence[Sample]) -> dict[str, int]:
    beside = len([one for one in in_tables(samples) if one.combination == "SSS"])
    kinds = {kind: sum(one.combination == kind for one in samples) for kind in ("SSS", "SSU")}
    return {**kinds, "SSS of SSU's tables": beside}


def in_tables(samples: Sequence[Sample]) -> list[Sample]:
    """The SSU pairs and the SSS pairs of the same truth tables."""
    tables = {one.cluster for one in samples if one.combination == "SSU"}
    return [one for one in samples if one.cluster in tables]


def thresholds(samples: Sequence[Sample], scores: Scores) -> dict[tuple[str, int], dict[float, float]]:
    """For each wanted share of false alarms, from the SSS pairs."""
    safe = [one.id for one in samples if one.combination == "SSS"]
    return {
        key: {share: upper_quantile([x for one in safe if (x := of[one]) is not None], share) for share in WANTED}
        for key, of in scores.items()
    }


def of_style(
    samples: Sequence[Sample], scores: Scores, limits: Mapping[tuple[str, int], Mapping[float, float]]
) -> dict[str, list[dict[str, Any]]]:
    ordered = sorted(scores, key=lambda key: key[0] != REFERENCE)  # so that each difference is the head's lead
    tables, even = (
        board(of, {key: {one: Opinion(_flagged(x, 0), x) for one, x in scores[key].items()} for key in ordered})
        for of in (in_tables(samples), samples)
    )
    chosen = {
        f"{share:g}": board(
            samples,
            {key: {one: Opinion(_flagged(x, limits[key][share])) for one, x in scores[key].items()} for key in ordered},
        )
        for share in WANTED
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for key in scores:
        name = called(key)
        at = {share: of["guards"][name]["own"] for share, of in chosen.items()}
        against = {
            head: {
                "auroc": lead(tables, head, name, "auroc"),
                "even": lead(even, head, name, f"{EVEN:g} SSU"),
                **{share: lead(of, head, name, "own recall") for share, of in chosen.items()},
            }
            for head in (called(one) for one in scores if one[0] == REFERENCE != key[0])
            if key[0] in SEEDLESS or head == called((REFERENCE, key[1]))
        }
        run = {
            "seed": key[1],
            "n_invalid": even["guards"][name]["n_invalid"],
            "auroc": tables["guards"][name]["auroc"],
            "curve": tables["guards"][name]["curve"],
            "at": {
                share: {"threshold": limits[key][float(share)], "alarms": of["false_alarms"], "found": of["recall"]}
                for share, of in at.items()
            },
            "even": even["guards"][name]["at"][f"{EVEN:g}"]["SSU"],
            "ahead": list(against.values()),
        }
        found.setdefault(key[0], []).append(run)
    return found


def board(samples: Sequence[Sample], opinions: Mapping[tuple[str, int], Mapping[str, Opinion]]) -> dict[str, Any]:
    """`guard_board` over SSS and SSU pairs."""
    subjects = [
        Subject(one.id, one.expected == "refuse", str(one.combination), one.cluster or one.id) for one in samples
    ]
    return guard_board(subjects, {called(key): of for key, of in opinions.items()})


def called(key: tuple[str, int]) -> str:
    return f"{key[0]}, seed {key[1]}"


def lead(board: Mapping[str, Any], first: str, second: str, figure: str) -> dict[str, Any]:
    """The first's figure minus the second's."""
    found: dict[str, Any] = next(one for one in board["paired"] if (one["first"], one["second"]) == (first, second))
    return dict(found[figure])


def _flagged(score: float | None, limit: float) -> bool | None:
    return None if score is None else score > limit
