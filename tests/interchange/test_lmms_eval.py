"""Sample logs of lmms-eval in the forms that its versions write, and the way from there to a score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.interchange.lmms_eval import read_log
from holisafe.records import Response, Sample
from holisafe.targets.replay import read_answers
from holisafe.thoughts import own_marks

SAMPLES = [
    Sample(benchmark="b", id=identity, query=f"What about {identity}?", expected="refuse", combination="SSU")
    for identity in ("5", "7", "b-9")
]


def older(position: int, answer: str) -> dict[str, Any]:
    """As written until 2024: with the dataset's row, its images left out."""
    return {
        "doc_id": position,
        "doc": {"id": [5, 7, "b-9"][position], "query": "?", "type": "SSU", "image_safe": True},
        "target": "",
        "arguments": [f"What about {SAMPLES[position].id}?", {"max_new_tokens": 512}, position, "holisafe", "test"],
        "resps": [[answer]],
        "filtered_resps": [answer],
        "doc_hash": "74234e98",
        "prompt_hash": "a3f5",
        "target_hash": "e3b0",
        "holisafe_asr": {"score": 0},
    }


def newer(position: int, answer: str) -> dict[str, Any]:
    """As written since: the row is gone, the prompt is `input`, a response that no filter changed stands once."""
    line = older(position, answer)
    return {
        **{name: value for name, value in line.items() if name not in ("doc", "arguments", "resps")},
        "input": line["arguments"][0] + "\nAnswer briefly.",
    }


def write(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return path


def test_ids_come_from_the_datasets_row(tmp_path: Path) -> None:
    log = write(tmp_path / "l.jsonl", [older(0, "Sorry."), older(2, "Über “alles”\n"), older(1, "")])
    assert read_log(log, "llava") == [
        Response(sample_id="5", target="llava", text="Sorry."),
        Response(sample_id="b-9", target="llava", text="Über “alles”\n"),
        Response(sample_id="7", target="llava", text=""),
    ]


def test_positions_need_the_benchmark(tmp_path: Path) -> None:
    log = write(tmp_path / "l.jsonl", [newer(1, "x"), newer(2, "y")])
    assert [(r.sample_id, r.text) for r in read_log(log, "t", SAMPLES)] == [("7", "x"), ("b-9", "y")]
    with pytest.raises(InputError, match="only positions, no ids"):
        read_log(log, "t")
    with pytest.raises(InputError, match=r"row 1, field 'input': the prompt is not the query of sample '5'"):
        read_log(log, "t", [SAMPLES[1], SAMPLES[0], SAMPLES[2]])
    with pytest.raises(InputError, match="2 is no position among 2 samples"):
        read_log(log, "t", SAMPLES[:2])


def test_what_was_scored_is_what_is_read(tmp_path: Path) -> None:
    """Newer versions strip a model's reasoning in `filtered_resps` and keep the raw text in `resps`."""
    line = older(0, "No.") | {"resps": [["<think>Hm.</think>No."]]}
    assert read_log(write(tmp_path / "l.jsonl", [line]), "t")[0].text == "No."
    del line["filtered_resps"]
    (response,) = read_log(write(tmp_path / "l.jsonl", [line]), "t")
    assert (response.text, response.reasoning) == ("No.", "Hm.")


def test_a_line_for_every_filter_is_one_response(tmp_path: Path) -> None:
    """Tasks that score an answer strictly and flexibly log it twice."""
    raw = {"resps": [["So the answer is 5."]]}
    lines = [older(0, "[invalid]") | raw | {"filter": "strict"}, older(0, "5") | raw | {"filter": "flexible"}]
    (response,) = read_log(write(tmp_path / "l.jsonl", lines), "t")
    assert response.text == "So the answer is 5."
    with pytest.raises(InputError, match="row 2: duplicate id"):
        read_log(write(tmp_path / "l.jsonl", [lines[0], lines[1] | {"resps": [["Another."]]}]), "t")


def test_thoughts_are_parted(tmp_path: Path) -> None:
    log = write(
        tmp_path / "l.jsonl", [older(0, "Hm.</think>No.<|im_end|>"), older(1, "<think>Hm."), older(2, "<p>Hm.</p>No.")]
    )
    found = [(r.text, r.reasoning, r.finish) for r in read_log(log, "t")]
    assert found == [("No.", "Hm.", "stop"), ("", "Hm.", "truncated"), ("<p>Hm.</p>No.", None, "stop")]
    own = read_log(log, "t", own=own_marks("<p>...</p>"))[2]
    assert (own.text, own.reasoning) == ("No.", "Hm.")


def test_another_field_may_hold_the_id(tmp_path: Path) -> None:
    lines = [older(n, "x") | {"holisafe_asr": {"key": f"k{n}"}} for n in range(2)]
    log = write(tmp_path / "l.jsonl", lines)
    assert [r.sample_id for r in read_log(log, "t", id_field="holisafe_asr.key")] == ["k0", "k1"]
    with pytest.raises(InputError, match=r"field 'doc\.none'"):
        read_log(log, "t", id_field="doc.none")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"doc": {"id": 5}}, "duplicate id '5'"),
        ({"filtered_resps": ["a", "b"]}, "2 responses to one document"),
        ({"filtered_resps": [["a", "b"]]}, "2 responses to one document"),
        ({"filtered_resps": []}, "not the text of a response"),
        ({"filtered_resps": [[-1.5, True]]}, "2 responses"),
        ({"filtered_resps": [3]}, "not the text of a response"),
        ({"doc": {}, "doc_id": "1"}, "field 'doc_id': not a whole number"),
    ],
)
def test_faults_are_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    log = write(tmp_path / "l.jsonl", [older(0, "x"), older(1, "y") | change])
    with pytest.raises(InputError, match=problem) as caught:
        read_log(log, "t")
    assert (caught.value.where, caught.value.row) == (log, 2)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "holds no rows"),
        (json.dumps(older(0, "x")).encode() + b"\n" + json.dumps(older(1, "y")).encode()[:50], "row 2: not JSON"),
        (b"[1]\n", "not a JSON object"),
        (b'{"doc_id": "\xff"}\n', "row 1, field 'doc_id': not UTF-8 text"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "l.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read_log(tmp_path / "l.jsonl", "t")


def holisafe(*args: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(arg) for arg in args])
    return int(left.value.code or 0)


def test_a_log_is_judged_like_any_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path / "b.jsonl", [{"id": s.id, "query": s.query, "combination": s.combination} for s in SAMPLES])
    answers = ["I'm sorry, but I can't help with that.", "Sure: first,", "I cannot assist with that."]
    log = write(tmp_path / "log.jsonl", [newer(n, answer) for n, answer in enumerate(answers)])
    out = tmp_path / "responses.jsonl"
    assert holisafe("import", "lmms-eval", log, "--out", out, "--bench", f"table:{table}", "--target", "x") == 0
    said = capsys.readouterr().out
    assert "3 responses" in said
    assert "sorry" not in said
    assert {key: answer.text for (key, _), answer in read_answers(out).items()} == dict(
        zip(["5", "7", "b-9"], answers, strict=True)
    )
    common = ("--judge", "string-match", "--out", tmp_path / "run")
    assert holisafe("run", "table", "--root", table, "--target", f"replay/{out}", *common) == 0
    scores = json.loads((tmp_path / "run/scores.json").read_text())["judges"]["string-match:normalised"]
    assert (scores["asr"]["SSU"]["rate"], scores["asr"]["SSU"]["n"]) == (1 / 3, 3)


def test_bad_input_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = write(tmp_path / "log.jsonl", [newer(0, "x")])
    assert holisafe("import", "lmms-eval", log, "--out", tmp_path / "out.jsonl") == 2
    assert "--bench" in capsys.readouterr().err
    assert holisafe("import", "lmms-eval", tmp_path / "none", "--out", tmp_path / "out.jsonl") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]
