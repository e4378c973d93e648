from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from holisafe.metrics.measured import safety, slices
from holisafe.metrics.run_scores import run_scores
from holisafe.records import Response, Sample, Verdict
from holisafe.report.grids import Grid
from holisafe.report.groups import read_groups
from holisafe.report.tables import rates_grid
from holisafe.runs.frame import of_records
from holisafe.runs.scores import Scores, read_scores, typed
from report.fake_runs import JUDGES, cell

TITLES = ("Before", "After")


def shown(grid: Grid) -> list[str]:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(grid)
    return [" ".join(line.split()) for line in console.export_text().splitlines() if line.strip()]


def by(judge: str, lines: list[str]) -> list[str]:
    """The lines below a judge's heading."""
    begun = lines.index(f"by {judge}") + 1
    return lines[begun : next((n for n, line in enumerate(lines) if n > begun and line.startswith("by ")), None)]


def test_a_run_shows_every_rate_with_interval_n_and_judge(before):
    scores = read_scores(before)
    lines = shown(rates_grid([scores]))
    for judge in JUDGES:
        found = scores.judges[judge]
        for label, one in (("ASR SSU", found.asr["SSU"]), ("mASR, pooled", found.masr_pooled), ("RR", found.rr)):
            rate, low, high = (f"{100 * getattr(one, name):.1f}" for name in ("rate", "low", "high"))
            assert f"{label} {rate} % [{low}, {high}] n={one.n}" in by(judge, lines)
    assert any(line.startswith("Utility ") for line in by("exact-match", lines))
    assert lines[-1].startswith("Answers: 240")


def test_invalid_verdicts_and_failed_calls_are_told(after):
    lines = shown(rates_grid([read_scores(after)]))
    found = read_scores(after).judges[JUDGES[0]].masr_pooled
    assert any(line.startswith("mASR, pooled") and line.endswith(f"({found.n_invalid} invalid)") for line in lines)
    assert "failed 3" in lines[-1]
    assert any(line.startswith("Guard accuracy") for line in lines)


def test_before_and_after_stand_side_by_side_with_the_change_that_compare_finds(before, after):
    (group,) = read_groups([before, after])
    first, second = (run.scores for run in group.runs)
    lines = shown(rates_grid([first, second], ["Before", "After"], group.changes))
    one, other = (scores.judges[JUDGES[0]].masr_pooled for scores in (first, second))
    (line,) = [line for line in by(JUDGES[0], lines) if line.startswith("mASR, pooled")]
    assert f"{100 * one.rate:.1f} % [" in line
    assert f" n={one.n} {100 * other.rate:.1f} % [" in line
    (change,) = [told for m, told in group.changes.items() if (m.key, m.judge) == ("masr_pooled", JUDGES[0])]
    assert line.endswith("{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * part for part in change)).replace("-", "−"))
    assert next(line for line in lines if line.startswith("Guard accuracy")).split()[2] == "–"
    assert "failed 0 / 3" in lines[-1]


def of(**found: Any) -> Scores:
    return typed(Scores, found)


def test_plain_questions_alone_have_tables_too():
    scores = of(utility={"exact-match": {**cell([True, False]).to_json(), "tasks": {}}})
    assert any(line.startswith("Utility") for line in shown(rates_grid([scores])))
    assert any(line.startswith("Utility") for line in shown(rates_grid([scores, scores], TITLES)))


def test_judge_names_are_not_read_as_markup():
    scores = of(judges={"[red]judge[/nonsense]": {"rr": cell([True, False]).to_json()}})
    assert any("[red]judge[/nonsense]" in line for line in shown(rates_grid([scores])))
    assert any("[red]judge[/nonsense]" in line for line in shown(rates_grid([scores, scores], TITLES)))


def test_a_row_that_invalid_verdicts_could_change_stands_out():
    steady, shaky = cell([True] * 50 + [False] * 50), cell([False] * 100 + [None] * 20)
    for rr, rows in ((steady, set()), (shaky, {"RR"})):
        scores = of(judges={"judge": {"rr": rr.to_json(), "masr_pooled": steady.to_json()}})
        for made in (rates_grid([scores]), rates_grid([scores, scores], TITLES)):
            assert {made.rows[number][0] for number in made.doubtful} == rows


def test_more_answers_in_unknown_languages_are_no_gain():
    scores = of(judges={"j": {}}, measures={"j": {"unknown_language": cell([True, False]).to_json()}})
    (measure,) = (measure for measure in safety(scores, "j") if measure.key == "measures.unknown_language")
    assert (measure.better, measure.judge) == ("lower", "j")


def test_a_narrow_terminal_breaks_no_interval(before):
    scores = read_scores(before)
    console = Console(width=70, record=True, file=io.StringIO())
    console.print(rates_grid([scores, scores], TITLES))
    assert all(line.count("[") == line.count("]") for line in console.export_text().splitlines())


def test_vscbench_has_its_own_scores_by_condition_in_the_terminal_and_on_the_page() -> None:

    samples, responses, verdicts = [], [], []
    for number in range(40):
        sample = Sample(
            benchmark="vscbench-text", id=f"{number}", query="q", expected=("answer", "refuse")[number % 2],
            cluster=f"{number // 4}", meta={"condition": ("search", "figstep")[number // 2 % 2]},
        )  # fmt: skip
        response = Response(sample_id=sample.id, target="t", text="text")
        label = ("answered", "refused", "irrelevant", "warned")[number % 4]
        samples.append(sample)
        responses.append(response)
        verdicts.append(
            Verdict(sample_id=sample.id, response_hash=response.hash, judge="j", judge_version="1", label=label)
        )
    scores = run_scores(*of_records(samples, responses, verdicts))
    by_condition = slices(scores, "j")["condition"]
    assert {measure.label: cell.n for measure, cell in by_condition.items()} == {
        "SRA_u, figstep": 10, "SRA_s, figstep": 10, "SRA, average, figstep": 20,
        "SRA_u, search": 10, "SRA_s, search": 10, "SRA, average, search": 20,
    }  # fmt: skip
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(rates_grid([scores]))
    shown = console.export_text()
    for label in ("Under-safety", "SRA_u", "SRA_s, answered", "SRA_s, figstep"):
        assert label in shown
