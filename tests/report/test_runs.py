from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from holisafe.errors import InputError
from holisafe.records import Response, Verdict, to_line
from holisafe.report import write_page
from holisafe.report.groups import folder_of, parts_of, read_groups
from holisafe.report.pairs import did_adhere, verdicts_on
from holisafe.runs.folder import read_records
from holisafe.runs.run import read_run
from report.fake_runs import JUDGES, make_run, samples
from report.parsed_page import embedded, parse


@pytest.fixture
def copy(before: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(before, tmp_path / "copy"))


def test_a_model_and_what_was_tuned_from_it_are_before_and_after(before, after):
    (group,) = read_groups([before, after])
    assert [run.title for run in group.runs] == ["Before", "After"]
    assert group.tones == (0, 1)
    assert group.same_pairs
    (group,) = read_groups([after, before])
    assert [run.title for run in group.runs] == ["after", "before"], "not in this order"


REMINDED = [{"method": "reminder", "wording": "balanced"}]


@pytest.mark.parametrize(
    ("first", "second", "titles"),
    [
        ({"name": "openai/a"}, {"name": "openai/b"}, ["a", "b"]),
        ({"name": "openai/a"}, {"name": "openai/a"}, ["a (one)", "a (two)"]),
        ({"name": "hf/m"}, {"name": "hf/m+reminder", "calibration": REMINDED}, ["Before", "After"]),
        ({"name": "hf/m+reminder", "calibration": REMINDED}, {"name": "hf/m"}, ["m+reminder", "m"]),
        ({"name": "hf/n"}, {"name": "hf/m+reminder", "calibration": REMINDED}, ["n", "m+reminder"]),
        ({"name": "hf/m", "model": "./x/m"}, {"name": "hf/t", "model": "t", "tuned_from": "x/m"}, ["Before", "After"]),
        ({"name": "hf/m", "model": "m"}, {"name": "hf/t", "model": "t", "tuned_from": "n"}, ["m", "t"]),
    ],
)
def test_two_runs_are_called_by_their_models_unless_one_model_was_made_safer(tmp_path, first, second, titles):
    folders = [make_run(tmp_path / name, "before", count=10) for name in ("one", "two")]
    for folder, target in zip(folders, (first, second), strict=True):
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "target": target}))
    (group,) = read_groups(folders)
    assert [run.title for run in group.runs] == titles


def test_titles_are_the_users_if_given(before, after):
    (group,) = read_groups([before, after], ["Shipped", "Tuned"])
    assert [run.title for run in group.runs] == ["Shipped", "Tuned"]


def test_a_lone_run_is_called_by_its_model_and_takes_the_accent(before):
    (group,) = read_groups([before])
    assert group.runs[0].title == "before"
    assert group.tones == (1,)


def test_runs_of_other_benchmarks_stand_apart(before, after, tmp_path):
    other = make_run(tmp_path / "other", "after", count=20, benchmark={"name": "other", "split": None})
    first, second = read_groups([before, other, after])
    assert [run.folder for run in first.runs] == [before, after]
    assert [run.folder for run in second.runs] == [other]
    assert (first.name, second.name) == ("pictosafe, test split", "other")


def test_more_runs_of_one_model_are_told_apart_by_their_folders(before, after, copy):
    (group,) = read_groups([before, copy, after])
    assert [run.title for run in group.runs] == ["before (before)", "before (copy)", "after"]


def test_a_verdict_on_an_earlier_answer_is_left_out(copy):
    answer = next(r for r in read_records(copy, Response).values() if r.sample_id.startswith("ssu"))
    assert len(verdicts_on(read_run(copy), answer.sample_id)) == len(JUDGES)
    with (copy / "responses.jsonl").open("a") as file:
        file.write(to_line(replace(answer, text="Something else.")) + "\n")
    assert not verdicts_on(read_run(copy), answer.sample_id)


def test_a_verdict_by_earlier_rules_is_left_out(copy):
    verdict = next(iter(read_records(copy, Verdict).values()))
    with (copy / "verdicts.jsonl").open("a") as file:
        file.write(to_line(replace(verdict, judge_version="0")) + "\n")
    kept = verdicts_on(read_run(copy), verdict.sample_id)
    assert verdict.judge not in [one.judge for one in kept]
    assert kept


def test_an_invalid_verdict_is_neither_right_nor_wrong(before):
    run = read_run(before)
    sample, verdict = run.samples["ssu-0001"], verdicts_on(run, "ssu-0001")[0]
    assert did_adhere(verdict, sample) is False
    assert did_adhere(replace(verdict, invalid="no verdict found"), sample) is None
    assert did_adhere(replace(verdict, label=None), sample) is None


def test_verdicts_come_in_the_order_of_the_scores(before):
    run = read_run(before)
    assert tuple(verdict.judge for verdict in verdicts_on(run, "ssu-0001")) == run.judges == JUDGES


@pytest.mark.parametrize("spoil", ["folder", "manifest", "scores", "half"])
def test_what_is_no_scored_run_is_named(copy, spoil):
    if spoil == "folder":
        shutil.rmtree(copy)
    elif spoil == "half":
        (copy / "scores.json").write_text('{"judges": ')
    else:
        (copy / f"{spoil}.json").unlink()
    with pytest.raises(InputError, match=copy.name):
        read_groups([copy])


def test_titles_must_be_as_many_as_runs(before):
    with pytest.raises(InputError, match="2 titles for 1 run"):
        read_groups([before], ["a", "b"])
    with pytest.raises(InputError, match="at least one"):
        read_groups([])


def utility_apart(folder: Path, state: str) -> Path:
    """A run that asked nothing but plain questions, as a benchmark of its own."""
    make_run(folder, state, judges=(), benchmark={"name": "plain", "split": "test"}, guard=False)
    questions = {sample.id for sample in samples(200) if sample.combination is None}
    for name in ("samples.jsonl", "responses.jsonl", "verdicts.jsonl"):
        lines = (folder / name).read_text().splitlines()
        kept = [line for line in lines if {json.loads(line).get(k) for k in ("id", "sample_id")} & questions]
        (folder / name).write_text("".join(line.replace("utility-", "plain-") + "\n" for line in kept))
    scores = json.loads((folder / "scores.json").read_text())
    scores["responses"] = {"n": len(questions), "errors": 1}
    (folder / "scores.json").write_text(json.dumps(scores))
    return folder


def test_plain_questions_join_the_safety_runs_of_the_same_models(before, after, tmp_path):
    plain = [utility_apart(tmp_path / state, state) for state in ("before", "after")]
    (group,) = read_groups([before, after, *reversed(plain)])
    first = group.runs[0]
    assert [part.folder for part in parts_of(first)] == [before, plain[0]]
    assert folder_of(first, "plain-0001") == plain[0]
    assert folder_of(first, "ssu-0001") == before
    assert len(first.samples) == 240 + 40
    assert first.scores.responses.n == 240 + 40
    assert first.scores.responses.errors == 1
    assert first.scores.judges.keys() == set(JUDGES)


def test_the_page_of_joined_runs_has_the_manifests_of_all(before, after, tmp_path):
    plain = [utility_apart(tmp_path / state, state) for state in ("before", "after")]
    root = parse(write_page([before, after, *plain], tmp_path / "p.html").read_text())
    titles = [node.text for node in root.one("section", id="manifests").all("summary")]
    names = ("pictosafe, test split", "plain, test split")
    assert titles == [f"{run}: {name}" for run in ("Before", "After") for name in names]
    assert len(embedded(root)["pairs"]) == 280


def test_plain_questions_of_other_models_stand_apart(before, after, tmp_path):
    plain = utility_apart(tmp_path / "plain", "before")
    assert len(read_groups([before, after, plain])) == 2
    assert len(read_groups([plain, before, after])) == 2
