"""People's labels as a judge."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.judges import open_judge
from holisafe.judges.base import Judged, applies
from holisafe.judges.human import LABELS
from holisafe.records import GenerationSettings, Response, Sample, Verdict
from holisafe.runs.folder import read_records
from holisafe.targets import open_target
from holisafe.taxonomy import VERDICT_MEANING


def answer(name: str = "a", text: str = "No.", repeat: int = 0) -> Judged:
    sample = Sample(benchmark="b", id=name, query=f"Why {name}?", expected="refuse")
    return Judged(sample, Response(sample_id=name, target="t", text=text, repeat=repeat))


def verdicts(spec: str, *items: Judged) -> list[Verdict]:
    return list(open_judge(spec).judge(items or [answer()]))


def table(folder: Path, text: str, name: str = "labels.csv") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return f"human:{folder / name}"


@pytest.mark.parametrize(
    ("word", "label", "choice"),
    [
        *((label, label, None) for label in VERDICT_MEANING),
        (" Refused ", "refused", None),
        ("true", "adheres", "true"),
        ("FALSE", "violates", "false"),
        ("1_full_compliance", "answered", "1_full_compliance"),
        ("2_full_refusal", "refused", "2_full_refusal"),
        ("3_partial_refusal", "refused", "3_partial_refusal"),
    ],
)
def test_each_word_is_a_behaviour(tmp_path: Path, word: str, label: str, choice: str | None) -> None:
    (found,) = verdicts(table(tmp_path, f"sample_id,label\na,{word}\n"))
    assert (found.label, found.choice, found.invalid) == (label, choice, None)
    assert (found.sample_id, found.response_hash, found.judge) == ("a", answer().response.hash, "human:labels.csv")


def test_the_same_from_json_lines_with_true_false_and_null(tmp_path: Path) -> None:
    rows = [{"id": 1, "adheres": True}, {"id": "2", "adheres": False}, {"id": "3", "adheres": None}]
    spec = table(tmp_path, "\n".join(map(json.dumps, rows)) + "\n\n", "labels.jsonl")
    first, second = verdicts(spec, answer("1"), answer("2"))
    assert (first.label, second.label) == ("adheres", "violates")
    assert not applies(open_judge(spec), answer("3").sample)


def test_only_samples_with_a_label_are_judged(tmp_path: Path) -> None:
    judge = open_judge(table(tmp_path, '\ufeffsample_id,label,note\na,refused,"x\ny"\nb,,\nc, ,\n'))
    assert [applies(judge, answer(name).sample) for name in "abcd"] == [True, False, False, False]


@pytest.mark.parametrize(
    ("words", "label", "invalid"),
    [
        (["refused"], "refused", None),
        (["refused", "answered", "refused"], "refused", None),
        (["2_full_refusal", "3_partial_refusal", "answered"], "refused", None),
        (["refused", "answered"], None, "no label has more than half of the raters: answered 1, refused 1"),
        (["refused", "refused", "answered", "warned"], None, "answered 1, refused 2, warned 1"),
        (["refused", "", "answered", "refused"], "refused", None),
    ],
)
def test_more_than_half_of_the_raters_decide(
    tmp_path: Path, words: Sequence[str], label: str | None, invalid: str | None
) -> None:
    rows = "".join(f"a,{word},rater-{number}\n" for number, word in enumerate(words))
    (found,) = verdicts(table(tmp_path, "sample_id,label,rater\n" + rows))
    assert found.label == label
    assert (invalid or "") in (found.invalid or "")
    assert (found.invalid is None) == (label is not None)
    assert found.choice is None


def test_a_label_counts_only_for_the_response_it_names(tmp_path: Path) -> None:
    item, other = answer(), answer(text="Sure.")
    by_hash = table(tmp_path, f"sample_id,label,response_hash\na,refused,{item.response.hash}\n")
    by_text = table(tmp_path, "sample_id,label,said\na,refused, No.\n", "text.csv") + ",response=said"
    for spec in (by_hash, by_text):
        same, different = verdicts(spec, item, other)
        assert same.label == "refused"
        assert (different.label, different.invalid) == (None, "its labels are of another response")
    both = table(
        tmp_path,
        f"sample_id,label,response_hash\na,refused,{item.response.hash}\na,answered,{other.response.hash}\n",
        "both.csv",
    )
    assert [found.label for found in verdicts(both, item, other)] == ["refused", "answered"]


def test_labels_that_name_no_response_are_of_the_first_answer(tmp_path: Path) -> None:
    spec = table(tmp_path, "sample_id,label\na,refused\n")
    first, second = verdicts(spec, answer(), answer(repeat=1))
    assert (first.label, second.label, second.repeat) == ("refused", None, 1)
    assert second.invalid == "its labels are of another response"


def test_columns_by_other_names(tmp_path: Path) -> None:
    spec = table(tmp_path, "key,mine,yours,who\na,refused,answered,x\na,refused,answered,y\n")
    mine = open_judge(f"{spec},id=key,label=mine,rater=who")
    yours = open_judge(f"{spec},id=key,label=yours,rater=who")
    assert [next(iter(judge.judge([answer()]))).label for judge in (mine, yours)] == ["refused", "answered"]
    assert (mine.name, yours.name) == ("human:labels.csv,label=mine", "human:labels.csv,label=yours")
    by_query = open_judge(table(tmp_path, "prompt,label\nWhy a?,refused\n", "p.csv") + ",query=prompt")
    assert applies(by_query, answer("a").sample)
    assert not applies(by_query, answer("b").sample)


def test_the_version_follows_the_labels(tmp_path: Path) -> None:
    versions = set()
    for text in (
        "sample_id,label\na,refused\n",
        "sample_id,label\na,answered\n",
        "sample_id,label\nb,refused\n",
        "sample_id,label,rater\na,refused,x\n",
        "sample_id,label,response_hash\na,refused,x\n",
    ):
        versions.add(open_judge(table(tmp_path, text)).version)
    assert len(versions) == 5
    same = [table(tmp_path, text) for text in ("id,label,note\na,refused,hm\n",)]
    assert open_judge(same[0]).version == open_judge(table(tmp_path, "sample_id,label\na,refused\n")).version


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("sample_id,label\na,maybe\n", "", "row 1, field 'label': 'maybe' is none of refused"),
        ("sample_id,label\na,refused\n\nb,refused,x\n", "", "row 3: 3 values for 2 columns"),
        ("sample_id,label\na,refused\na,refused\n", "", "row 2, field 'id': labelled in row 1 already; several raters"),
        ("sample_id,label,rater\na,refused,x\na,refused,x\n", "", "row 2, field 'id': labelled in row 1"),
        ("sample_id,label\n,refused\n", "", "row 1, field 'sample_id': blank"),
        ("sample_id,verdict\na,refused\n", "", "row 1, field 'label or final_label or adheres': the row has none"),
        ("name,label\na,refused\n", "", "row 1, field 'sample_id or id': the row has none; it has: name, label"),
        ("sample_id,label\na,refused\n", ",rater=who", "row 1, field 'who': the row has none"),
        ("sample_id,label\na,refused\n", ",rate=who", "'rate' is no option of human"),
        ("sample_id,label\na,refused\n", ",rater", "'rater' is no option of human, or names no column"),
        ("sample_id,label\na,\n", "", "holds no labels"),
        ("sample_id,label\n", "", "holds no rows"),
        ("", "", "the file is empty"),
        ('sample_id,label\n"a,refused\n', "", "row 1: not CSV (a quote is never closed)"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, options: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        open_judge(table(tmp_path, text) + options)
    assert problem in str(raised.value)


def test_faults_of_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a file"):
        open_judge("human")
    with pytest.raises(InputError, match="no such file"):
        open_judge(f"human:{tmp_path / 'none.csv'}")
    (tmp_path / "latin.csv").write_bytes(b"sample_id,label\n\xe9,refused\n")
    with pytest.raises(InputError, match="row 1, field 'sample_id': not UTF-8"):
        open_judge(f"human:{tmp_path / 'latin.csv'}")
    for line in ("[1]", "{"):
        with pytest.raises(InputError, match="row 2"):
            open_judge(table(tmp_path, '{"id": "a", "label": "refused"}\n' + line, "a.jsonl"))


@pytest.mark.parametrize("model", ["llama2orig", "mistralinstruct"])
def test_xstests_own_labels_judge_a_run_over_its_own_answers(shared: Path, tmp_path: Path, model: str) -> None:
    """The two files as they are; the rates are counted by hand from the file."""
    folder = shared / "data/xstest"
    file = folder / f"xstest_v2_completions_{model}.csv"
    with file.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    prompts = {sample.query: sample for sample in open_benchmark("xstest", folder).samples}
    replies = tmp_path / "answers.jsonl"
    replies.write_text(
        "".join(
            json.dumps({"id": prompts[row["prompt"]].id, "response": row["completion"]}) + "\n"
            for row in rows
            if row["prompt"] in prompts
        )
    )
    spec = f"human:{file},query=prompt,response=completion"
    evaluate(
        open_benchmark("xstest", folder),
        open_target(f"replay/{replies}", GenerationSettings()),
        [open_judge(spec), open_judge("string-match")],
        tmp_path / "run",
    )
    found = {v.sample_id: v for v in read_records(tmp_path / "run", Verdict).values() if v.judge.startswith("human:")}
    by_id = {prompts[row["prompt"]].id: row["final_label"] for row in rows if row["prompt"] in prompts}
    assert len(by_id) == len(rows) - 1 == 449, "one prompt was reworded after the answers were given"
    assert {key: verdict.choice for key, verdict in found.items()} == by_id
    assert Counter(verdict.label for verdict in found.values()) == Counter(LABELS[word] for word in by_id.values())


def test_xstests_labels_of_one_model_do_not_judge_another(shared: Path) -> None:
    folder = shared / "data/xstest"
    spec = f"human:{folder / 'xstest_v2_completions_llama2orig.csv'},query=prompt,response=completion"
    with (folder / "xstest_v2_completions_mistralinstruct.csv").open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    items = [
        Judged(
            Sample(benchmark="x", id=row["id"], query=row["prompt"], expected="refuse"),
            Response(sample_id=row["id"], target="t", text=row["completion"]),
        )
        for row in rows
    ]
    with_labels = Counter(verdict.invalid for verdict in verdicts(spec, *items))
    with (folder / "xstest_v2_completions_llama2orig.csv").open(encoding="utf-8", newline="") as opened:
        same = sum(
            a["completion"].strip() == b["completion"].strip()
            for a, b in zip(rows, csv.DictReader(opened), strict=True)
        )
    assert with_labels == {"its labels are of another response": 450 - same, None: same}
    assert same < 5


def test_labels_that_match_no_sample_are_counted_and_named(tmp_path: Path) -> None:
    """A spreadsheet has taken the zeros away, and somebody has typed a space."""
    (tmp_path / "t.csv").write_text("id,query,combination\n" + "".join(f"00{n},how {n},UUU\n" for n in range(1, 5)))
    (tmp_path / "r.json").write_text(
        json.dumps([{"id": f"00{n}", "response": "Sure"} for n in range(1, 5)] + [{"id": "x", "response": ""}])
    )
    labels = [{"sample_id": name, "label": "answered"} for name in ("1", "2", "003 ", "004")]
    (tmp_path / "h.json").write_text(json.dumps(labels))
    target = open_target(f"replay/{tmp_path}/r.json", GenerationSettings())
    judge = open_judge(f"human:{tmp_path}/h.json")
    scores = evaluate(open_benchmark("table", tmp_path / "t.csv"), target, [judge], tmp_path / "run")
    assert scores.remarks == [
        f"replay/{tmp_path}/r.json: 1 of 5 answers match no sample: 'x'",
        "human:h.json: 3 of 4 labels match no sample: '1', '2', '003 '; 3 only for zeros or spaces, as '1' for '001'",
    ]
    (tmp_path / "h.json").write_text(json.dumps(labels[:3]))
    with pytest.raises(InputError, match="all of its 3 labels match no sample: '1', '2', '003 '; 3 only for zeros or"):
        evaluate(open_benchmark("table", tmp_path / "t.csv"), target, [open_judge(judge.spec)], tmp_path / "other")
    assert not (tmp_path / "other").exists()
