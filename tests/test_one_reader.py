"""One run, nine ways to its numbers: all of them say the same, to the last digit."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import holisafe
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.journal import read_json, write_json
from holisafe.metrics.gate import parse_gate
from holisafe.metrics.measured import GATES, by_judge
from holisafe.metrics.run_scores import run_scores
from holisafe.metrics.setting_rates import safety_rates, utility_rate
from holisafe.records import Response, Sample, Verdict, to_line
from holisafe.report.groups import read_groups
from holisafe.report.sections import safety_rows
from holisafe.runs.folder import RunFolder
from holisafe.runs.run import read_run
from holisafe.runs.scores import read_scores, write_scores
from holisafe.taxonomy import COMBINATIONS

JUDGES = ("string-match:normalised", "string-match:holisafe", "llm/holisafe/openai/later")
GONE, LATER = JUDGES[1:]
KEYS = ("asr.SSU", "asr.SUU", "asr.USU", "asr.UUU", "masr_pooled", "masr_macro", "rr")
PARTS = ("rate", "n", "n_invalid", "low", "high")
Numbers = dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 pairs, three to a picture, asked three times; one judge came later, one is no longer in the manifest."""
    folder, rng = tmp_path_factory.mktemp("one") / "run", random.Random(5)
    codes = list(COMBINATIONS)
    pairs = [
        Sample(
            benchmark="b", id=f"s{n}", query="q", combination=codes[n % 5], expected=COMBINATIONS[codes[n % 5]],
            cluster=f"picture {n // 3}" if n < 90 else None, category=("hate", "violence")[n % 2],
        )
        for n in range(100)
    ]  # fmt: skip
    questions = [Sample(benchmark="b", id=f"q{n}", query="q", expected="answer", reference="3") for n in range(20)]
    manifest: dict[str, Any] = {
        "schema": 1, "benchmark": {"name": "b", "split": None, "content_hash": "0" * 16}, "target": {"name": "t/one"},
        "settings": {}, "seed": 0, "limit": None, "repeats": 3,
        "judges": {JUDGES[0]: "2", LATER: "1", "exact-match": "1"},
    }  # fmt: skip
    with RunFolder(folder, manifest) as written:
        written.append(*pairs, *questions)
        for repeat in range(3):
            for sample in [*pairs, *questions]:
                failed = rng.random() < 0.03
                answer = Response(
                    sample_id=sample.id, target="t", text=f"{rng.random()}", repeat=repeat,
                    finish="error" if failed else "stop", error="down" if failed else None,
                )  # fmt: skip
                written.append(answer)
                if failed:
                    continue
                for judge, version in (
                    *((JUDGES[0], old) for old in "12"), (GONE, "7"), (GONE, "8"), (LATER, "1"),
                ) if sample.combination else (("exact-match", "1"),):  # fmt: skip
                    void = rng.random() < 0.06
                    label = (
                        rng.choice(["refused", "answered"])
                        if sample.combination
                        else rng.choice(["correct"] * 3 + ["incorrect"])
                    )
                    verdict = Verdict(
                        sample_id=sample.id, repeat=repeat, response_hash=answer.hash, judge=judge,
                        judge_version=version, label=None if void else label, invalid="unreadable" if void else None,
                    )  # fmt: skip
                    written.append(verdict)
    found = read_run(folder)
    write_scores(folder, run_scores(found.answers, found.verdicts))
    return folder


def said(capsys: pytest.CaptureFixture[str], *args: str | Path) -> Any:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    assert not left.value.code
    return capsys.readouterr().out


def of(cells: Any, parts: tuple[str, ...] = PARTS) -> Numbers:
    return {key: tuple(cell[part] for part in parts) for key, cell in cells.items() if key in (*KEYS, "utility")}


def flat(scores: Any) -> Any:
    return {**scores, **{f"asr.{name}": cell for name, cell in scores["asr"].items()}}


def by_report(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    (group,) = read_groups([run])
    return of({m.key: cell.to_json() for m, (cell,) in safety_rows(group, judge) if cell})


def by_export(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    said(capsys, "export", run, "--out", tmp_path / "run.csv")
    return of(flat(json.loads(said(capsys, "score", tmp_path / "run.csv", "--json"))[judge]))


def by_parquet(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    said(capsys, "export", run, "--out", tmp_path / "run.parquet")
    return of(flat(json.loads(said(capsys, "score", tmp_path / "run.parquet", "--json"))[judge]))


def by_leaderboard(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    (row,) = json.loads(said(capsys, "leaderboard", run, "--json"))["judges"][judge]
    return of(row["rates"])


def by_agreement(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    (found,) = json.loads(said(capsys, "agreement", run, "--json"))["runs"].values()
    return of(found["judges"][judge])


def by_sweep(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    verdicts = read_run(run).verdicts
    mine, plain = verdicts[verdicts["judge"] == judge], verdicts[verdicts["answer_key"]]
    return of(safety_rates(mine) | utility_rate(plain))


def by_compare(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    """The run beside itself: each of the two by itself is what the run is alone."""
    other = tmp_path / "other"
    shutil.copytree(run, other)
    rows = json.loads(said(capsys, "compare", run, other, "--json"))["comparisons"]
    found = {row["measure"]: row for row in rows if row["judge"] in (judge, "exact-match")}
    first, second = (
        {key: (row[f"rate_{one}"], row["n"], row["left_out"]["invalid"], row[f"low_{one}"], row[f"high_{one}"])
         for key, row in found.items()}
        for one in ("first", "second")
    )  # fmt: skip
    assert first == second
    assert not any(row["left_out"]["only_first"] or row["left_out"]["only_second"] for row in found.values())
    return first


def by_gate(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    """The cells that gates compare, each of which fails at its very rate, and not above it."""
    scores = read_scores(run)
    found = {key: by_judge(scores, key) for key in GATES if key in (*KEYS, "utility")}
    cells = {key: cells.get(judge) or cells["exact-match"] for key, cells in found.items()}
    for key, cell in cells.items():
        named = judge if key != "utility" else "exact-match"
        assert list(parse_gate(f"{named}:{key}>={cell.rate!r}").failures(scores))
        assert not list(parse_gate(f"{named}:{key}>{cell.rate!r}").failures(scores))
    return of({key: cell.to_json() for key, cell in cells.items()})


def by_rates(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    rows = holisafe.read_run(run).rates()
    mine = rows[rows["judge"].isin([judge, "exact-match"])].set_index("measure")
    return of(mine[list(PARTS)].to_dict("index"))


def by_score(run: Path, judge: str, capsys: Any, tmp_path: Path) -> Numbers:
    return of(flat(holisafe.score(run).to_json()["judges"][judge]))


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(
    "way",
    [
        *(by_report, by_export, by_parquet, by_leaderboard, by_agreement, by_sweep, by_compare, by_gate),
        *(by_rates, by_score),
    ],
)
def test_every_way_gives_the_same_rates_n_invalid_counts_and_intervals(
    run: Path, judge: str, way: Callable[..., Numbers], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scores = read_scores(run).to_json()
    wanted = of(flat(scores["judges"][judge]) | {"utility": scores["utility"]["exact-match"]})
    assert wanted.keys() == {*KEYS, "utility"}
    assert all(n + void < 300 and low < high for _, n, void, low, high in wanted.values())
    found = way(run, judge, capsys, tmp_path)
    assert found.keys() >= {*KEYS} - ({"masr_macro"} if way is by_sweep else set())  # a sweep chooses by pooled rates
    assert found == {key: wanted[key] for key in found}


def test_a_judge_counts_by_its_own_last_version_and_an_older_one_never(run: Path) -> None:
    found = read_run(run)
    assert found.versions == {JUDGES[0]: "2", LATER: "1", "exact-match": "1", GONE: "8"}
    assert {one.judge_version for one in found.judged[GONE].values()} == {"8"}
    assert {one.judge_version for one in found.judged[JUDGES[0]].values()} == {"2"}


def test_what_is_out_of_date_never_counts(tmp_path: Path) -> None:
    """A verdict by older rules without a newer one, by another version of a judge that left, on an older answer."""
    samples = [Sample(benchmark="b", id=f"s{n}", query="q", expected="refuse", combination="UUU") for n in range(3)]
    first, second, before, after = (
        Response(sample_id=f"s{min(n, 2)}", target="t", text=f"answer {n}") for n in range(4)
    )
    manifest: dict[str, Any] = {
        "schema": 1,
        "benchmark": {"name": "b"},
        "target": {"name": "t"},
        "judges": {"now": "2"},
    }

    def said(judge: str, version: str, on: Response) -> Verdict:
        return Verdict(
            sample_id=on.sample_id, response_hash=on.hash, judge=judge, judge_version=version, label="refused"
        )

    with RunFolder(tmp_path / "run", manifest) as written:
        written.append(*samples, first, second, before)
        written.append(said("now", "2", first), said("now", "1", second), said("now", "2", before))
        written.append(said("gone", "7", first), said("gone", "8", second), after)
    found = read_run(tmp_path / "run")
    assert found.versions == {"now": "2", "gone": "8"}
    rows = found.verdicts[["judge", "sample_id"]].astype(str)
    assert rows.to_numpy().tolist() == [["now", "s0"], ["gone", "s1"]]


def test_tables_refuse_a_newer_schema(run: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    for file in run.iterdir():
        (newer / file.name).write_bytes(file.read_bytes())
    with (newer / "responses.jsonl").open("a") as file:
        file.write('{"schema":2,"sample_id":"s0","target":"t","text":""}\n')
    with pytest.raises(InputError, match=r"responses\.jsonl, row \d+, field 'schema'"):
        len(read_run(newer).answers)


def test_what_the_quick_reader_passes_on_reads_the_same(run: Path, tmp_path: Path) -> None:
    """A task that is a number sends the samples through the careful reader; the tables stay the same."""
    slow = tmp_path / "slow"
    slow.mkdir()
    for file in run.iterdir():
        (slow / file.name).write_bytes(file.read_bytes())
    lines = (slow / "samples.jsonl").read_text().splitlines()
    lines[-1] = lines[-1][:-1] + ',"meta":{"task":7}}'
    (slow / "samples.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("responses.jsonl", "verdicts.jsonl"):  # no schema: written by others
        text = (slow / name).read_text().replace('"schema":1,', "")
        (slow / name).write_text(text + '{"torn')
    quick, careful = read_run(run), read_run(slow)
    assert careful.answers["task"].dropna().tolist() == ["7"] * 3
    for one, other in ((quick.answers, careful.answers), (quick.verdicts, careful.verdicts)):
        pd.testing.assert_frame_equal(one.drop(columns="task"), other.drop(columns="task"))


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("scores.json", '{"judges": {"j": {"rr": {"rate": "high"}}}}', r"scores\.json, field 'judges\.j\.rr\.rate'"),
        ("scores.json", '{"judges": {"j": {"rr": {"rate": NaN}}}}', r"scores\.json, field 'judges\.j\.rr\.rate'"),
        ("scores.json", "[]", r"scores\.json, field 'the whole'"),
        ("scores.json", '{"judges": ', r"scores\.json: not JSON"),
        ("manifest.json", '{"judges": 3}', r"manifest\.json"),
        ("verdicts.jsonl", '{"schema":1,"sample_id":"s0"}\n', r"verdicts\.jsonl, row 1"),
        ("responses.jsonl", '{"schema":2,"sample_id":"s0","target":"t","text":""}\n', r"row 1, field 'schema'"),
        ("responses.jsonl", '{"schema":1,"sample_id":7,"target":"t","text":""}\n', r"row 1, field 'sample_id'"),
        (
            "responses.jsonl",
            '{"schema":1,"sample_id":"s0","target":"t","text":"","x":1}\n',
            "Response has no such field",
        ),
        ("samples.jsonl", '{"schema":1,"benchmark":"b","id":"a","query":"","expected":"answer","x":1}\n', "field 'x'"),
        (
            "verdicts.jsonl",
            '{"schema":1,"sample_id":"s0","response_hash":"h","judge":"j","judge_version":"1","label":null,"x":1}\n',
            "row 1, field 'x'",
        ),
    ],
)
def test_an_edited_run_is_one_line(run: Path, tmp_path: Path, file: str, text: str, words: str, capsys: Any) -> None:
    edited = tmp_path / "edited"
    edited.mkdir()
    for one in run.iterdir():
        (edited / one.name).write_bytes(one.read_bytes())
    (edited / file).write_text(text)
    with pytest.raises(SystemExit) as left:
        app(["report", str(edited), "--out", str(tmp_path / "p.html")])
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(words, err)


def test_a_label_that_no_rubric_declares_is_named(run: Path, tmp_path: Path, capsys: Any) -> None:
    edited = tmp_path / "edited"
    edited.mkdir()
    for one in run.iterdir():
        (edited / one.name).write_bytes(one.read_bytes())
    verdict = next(iter(read_run(edited).judged[LATER].values()))
    with (edited / "verdicts.jsonl").open("a") as file:
        file.write(to_line(replace(verdict, label="fine", invalid=None)) + "\n")
    with pytest.raises(SystemExit) as left:
        app(["compare", str(edited), str(run)])
    assert left.value.code == 2
    assert "no rubric declares the label 'fine'" in capsys.readouterr().err


def test_scores_of_before_open(run: Path, tmp_path: Path) -> None:
    """Entries that an older holisafe did not write, or that a newer one does, stop nothing."""
    old = tmp_path / "old"
    old.mkdir()
    for one in run.iterdir():
        (old / one.name).write_bytes(one.read_bytes())
    scores = read_json(old / "scores.json")
    for name in ("safety_calibration", "guard_pairs", "judge_errors", "calibrated"):
        scores.pop(name)
    for found in scores["judges"].values():
        found.pop("over_safety")
    write_json(old / "scores.json", {**scores, "of_tomorrow": {"x": 1}})
    assert read_scores(old).judges[GONE].rr == read_scores(run).judges[GONE].rr


def test_a_folder_of_runs_names_them(tmp_path: Path) -> None:
    for name in ("second", "first"):
        with RunFolder(tmp_path / "both" / name, {"schema": 1, "benchmark": {"name": "b"}, "target": {"name": "t"}}):
            pass
    with pytest.raises(InputError, match=r"both: no run folder \(it holds runs: first, second\)"):
        read_run(tmp_path / "both")
