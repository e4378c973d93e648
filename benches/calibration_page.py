"""docs/calibration_results.md from the frontiers that benches/pictosafe_calibration.py measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holisafe.metrics.frontier import oriented, pareto_front

Point = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Any]]
"""{"wide", "tight": a frontier}."""

COLUMNS = {
    "sra_u": "SRA_u",
    "sra_s": "SRA_s",
    "masr_pooled": "mASR, pooled",
    "asr.USU": "ASR USU",
    "asr.SSU": "ASR SSU",
    "rr": "RR",
    "utility": "utility",
}
SHORT = {name: COLUMNS[name] for name in ("sra_u", "sra_s", "masr_pooled", "rr", "utility")}
ACTIVATION = ("layer-revision", "head-revision")
GUARDED = "guarded revision"
AXES = {("sra_u", "sra_s"): "SRA_s", ("sra_u", "utility"): "utility", ("masr_pooled", "rr"): "RR"}

WHY = """
- `reminder`: heeded in part, most where the picture alone is harmful; few models so small weigh a rule against a
  question ([methods](calibration_methods.md)).
- `few-shot`: the model was never trained on several turns, so demonstrations take most of its utility.
- `layer-revision` with the published contrasts (`answers`, `inputs`, `modality`): the probes read the words of a
  refusal, or hardly the harm, or that there is no picture. None points at the decision, which PictoVLM makes after its
  caption. Ours, `refusals`, does ([activation revision](activation_revision.md)).
- `head-revision`: the text blurs before refusals rise.
- `unsafe-weights`: unsafe and safe partners drive the same weights nearly alike (median score 1.01 to 1.06), so the
  marks hardly single any out ([unsafe weights](unsafe_weights.md)).
- Every method that treats all requests alike pays in over-safety for what it wins on SSU, whose halves are harmless:
  one text or one vector for all inputs cannot tell such a pair from its neighbours. The guard on pairs can.
"""

INTRODUCTION = """\
# Calibration on PictoSafe: what safety costs without training

PictoVLM as shipped, every method of [calibration](calibration.md). Fitted on the train split, chosen on the
{choose_pairs:,} pairs and {choose_questions:,} questions of the validation split, reported on the {report_pairs:,}
pairs ({unsafe:,} unsafe, {safe:,} safe) and {report_questions:,} questions of the test split. Judges:
string-match:normalised, and exact-match for utility. What is learnt is learnt three times, with seeds 0, 1 and 2, whose
answers are pooled. Percent with 95 % bootstrap intervals over clusters; in round brackets the least and the most of the
three seeds. Latency is the median per answer against the untouched model's, with other work on the machine: rough.

    python benches/pictosafe_calibration.py

`holisafe calibrate sweep` draws a page of figures for each of the two choices,
`build/calibration_results/frontier-*.html`. The numbers of all settings are in
[calibration_results.json](calibration_results.json).

![SRA_u against SRA_s and against utility](images/calibration_frontier.png)
"""


def page(found: Found) -> str:
    """The page: what was chosen on validation, as it came out on test."""
    wide = found["wide"]
    plain, tuned = (next(p for p in wide["points"] if p["kind"] == kind) for kind in ("untouched", "compared"))
    sizes = {name: part["samples"] for name, part in wide["parts"].items()}
    counts = {
        kind: plain["report"]["rates"][measure]["n"] for kind, measure in (("unsafe", "sra_u"), ("safe", "sra_s"))
    }
    lines = [
        INTRODUCTION.format(
            choose_pairs=sizes["choose-safety"],
            choose_questions=sizes["choose-utility"],
            report_pairs=sizes["report-safety"],
            report_questions=sizes["report-utility"],
            **counts,
        ),
        *chosen_tables(found, plain, tuned),
        "## The hypotheses",
        "",
        *halved(wide, plain),
        *on_front(wide),
        "",
        "## Why methods fail here",
        WHY,
        *validation(wide),
    ]
    return "\n".join(lines) + "\n"


def chosen_tables(found: Found, plain: Point, tuned: Point) -> Iterator[str]:
    """The picks of each method under each set of limits, on test."""
    for frontier in found.values():
        limits = " and ".join(f"`{limit}`" for limit in frontier["picks"]["limits"])
        yield from (f"## Test: chosen under {limits}", "")
        chosen = {name: method for method, name in frontier["picks"]["methods"].items() if name}
        points = [p for p in frontier["points"] if p["name"] in chosen]
        yield from table([plain, *points, tuned], "report", COLUMNS)
        none = [method for method, name in frontier["picks"]["methods"].items() if not name]
        if none:
            yield from ("", f"No setting that beats the untouched model kept to the limits: {', '.join(none)}.")
        yield ""
    yield from ("`tuned` is the demo's safety tuning of the same model, which is training, for comparison.", "")


def table(points: Sequence[Point], phase: str, columns: Mapping[str, str]) -> Iterator[str]:
    yield f"| setting | {' | '.join(columns.values())} | latency |"
    yield "|---" * (len(columns) + 2) + "|"
    for point in points:
        numbers = point[phase] or {}
        ratio = numbers.get("latency_ratio")
        cells = [cell(numbers, measure) for measure in columns] + ["–" if ratio is None else f"{ratio:.1f}"]
        yield f"| {named(point)} | {' | '.join(cells)} |"


def named(point: Point) -> str:
    """The setting without the files that it learnt."""
    return ",".join(part for part in point["name"].split(",") if not part.startswith("file="))


def cell(numbers: Mapping[str, Any], measure: str) -> str:
    """`76.2 [70.1, 81.0] (74.0 to 79.1)`: percent, the interval, and the seeds' least and most."""
    found = numbers.get("rates", {}).get(measure)
    if not found or found.get("rate") is None:
        return "–"
    text = f"{100 * found['rate']:.1f} [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"
    seeds = numbers.get("spread", {}).get(measure)
    return text + (f" ({100 * min(seeds):.1f} to {100 * max(seeds):.1f})" if seeds else "")


def rate(point: Point, measure: str) -> float:
    return float(point["report"]["rates"][measure]["rate"])


def halved(frontier: Mapping[str, Any], plain: Point) -> Iterator[str]:
    """At least one activation method halves ASR with RR under 15 %?"""
    before = rate(plain, "masr_pooled")
    held = {"alone": False, "behind the guard": False}
    for point in frontier["points"]:
        how = {**dict.fromkeys(ACTIVATION, "alone"), GUARDED: "behind the guard"}.get(
            (point["method"] or "").split(" (")[0]
        )
        if point["report"] and how:
            after, refused = rate(point, "masr_pooled"), rate(point, "rr")
            held[how] |= after <= before / 2 and refused < 0.15
            usu = f"ASR USU {100 * rate(plain, 'asr.USU'):.1f} to {100 * rate(point, 'asr.USU'):.1f}"
            yield f"- `{named(point)}`: mASR {100 * before:.1f} to {100 * after:.1f}, {usu}, RR {100 * refused:.1f}."
    said = " and ".join(f"{how} {'**held**' if yes else 'did **not** hold'}" for how, yes in held.items())
    yield f"- So *an activation method halves ASR with RR under 15 %* {said} on the test split."


def on_front(frontier: Mapping[str, Any]) -> Iterator[str]:
    """Is the guard-conditioned method on the Pareto front, among what was reported on test?"""
    points = [p for p in frontier["points"] if p["report"] and p["kind"] != "compared"]
    for (up, across), label in AXES.items():
        places = [tuple(oriented(measure, rate(p, measure)) for measure in (across, up)) for p in points]
        front = [p for p, on in zip(points, pareto_front(places), strict=True) if on]
        guarded = any((p["method"] or "").startswith("guarded") for p in front)
        names = ", ".join(f"`{named(p)}`" for p in front)
        said = "on it" if guarded else "**not** on it"
        yield f"- {COLUMNS[up]} against {label}: the front is {names}; a guard-conditioned method is {said}."


def validation(frontier: Mapping[str, Any]) -> Iterator[str]:
    """Every setting on the split that the choices were made on."""
    yield from ("## Every setting, on validation", "", "What the choices were made on; not a result.", "")
    yield from table([p for p in frontier["points"] if p["kind"] != "compared"], "choose", SHORT)
