"""A run under attack: its manifest, its way through compare, report and export, and what it may go on with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import holisafe
from holisafe.benchmarks import open_benchmark
from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.interchange.run_table import write_run_table
from holisafe.records import Request, Response
from holisafe.runs.run import attacked_from, read_run
from report.parsed_page import Node, parse
from toy_plugin import ANSWER, REFUSAL, ToyTarget

SWAYED = "Begin your answer"


class Swayed(ToyTarget):
    """Refuses whatever is unsafe, but where it is told how to begin every pair of an even number is answered."""

    async def call(self, request: Request) -> Response:
        told, number = SWAYED in request.messages[-1].text, request.sample_id.partition("-")[2]
        asked = request.sample_id.startswith("pair") and int(number) % 5 > 0 and not (told and int(number) % 2 == 0)
        return replace(await super().call(request), text=REFUSAL if asked else ANSWER)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs")
    for name, attack in (("base", ()), ("prefix", "prefix"), ("both", ["blur,radius=2", "prefix"]), ("blur", "blur")):
        holisafe.evaluate("toy", Swayed("toy/a"), ["string-match"], home / name, attack=attack)
    return home


def shown(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as left:
        app([str(word) for word in words])
    return int(left.value.code or 0)


def test_the_manifest_holds_every_attack_and_a_run_goes_on_only_under_the_same(folders: Path) -> None:
    told = read_run(folders / "both")
    assert [one["attack"] for one in told.manifest["target"]["attacks"]] == ["blur", "prefix"]
    assert told.title == "a!blur!prefix"
    assert told.target == "toy/a!blur,radius=2!prefix"
    assert {one.target for one in told.responses.values()} == {told.target}
    with pytest.raises(InputError, match="measured something else"):
        holisafe.evaluate("toy", Swayed("toy/a"), ["string-match"], folders / "both", attack="blur,radius=2")
    base = read_run(folders / "base")
    assert "attacks" not in base.manifest["target"]
    assert attacked_from(base, told)
    assert not attacked_from(told, base)
    assert not attacked_from(base, base)
    assert told.samples == base.samples  # what is judged is the benchmark's own pair


def test_compare_tells_what_each_attack_costs(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["base", "prefix", "both", "blur"]
    found = holisafe.compare(*(folders / name for name in names))
    (grid,) = found.robustness()
    columns = grid.columns
    assert [row[0] for row in grid.rows] == [
        "a, as it is",
        "under prefix",
        "under blur,radius=2 + prefix",
        "under blur",
    ]
    assert columns[:4] == ("Asked", "ASR SSU", "ASR SUU", "ASR USU")
    pairs = [one for one in open_benchmark("toy", split="test").samples if one.combination not in (None, "SSS")]
    for code in ("SSU", "SUU", "USU", "UUU"):  # counted by hand
        numbers = [int(one.id.partition("-")[2]) for one in pairs if one.combination == code]
        share = 100 * sum(number % 2 == 0 for number in numbers) / len(numbers)
        cells = [row[columns.index(f"ASR {code}")] for row in grid.rows]
        assert cells[0] == "0.0 %"
        assert cells[1].startswith(f"+{share:.1f} [")
        assert cells[2] == cells[1]
        assert cells[3].startswith("0.0 [")
    assert shown("compare", *(folders / name for name in names)) == 0
    said = capsys.readouterr().out
    assert "What each attack costs a, by string-match:normalised" in said
    assert "→" not in said  # the pairs of attacks are nobody's question
    assert shown("compare", folders / "base", folders / "blur") == 0
    said = capsys.readouterr().out
    assert "What each attack costs" in said
    assert "a → a!blur" in said
    assert holisafe.compare(folders / "blur", folders / "both").robustness() == []


def test_the_report_names_the_attack(folders: Path, tmp_path: Path) -> None:
    assert shown("report", folders / "base", folders / "both", "--out", tmp_path / "r.html") == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '<th scope="row">Under attack</th>' in page
    assert "blur,radius=2 + prefix" in page
    assert shown("report", folders / "base", "--out", tmp_path / "b.html") == 0
    assert "Under attack" not in (tmp_path / "b.html").read_text(encoding="utf-8")


def test_the_report_tells_what_each_attack_costs_as_compare_does(folders: Path, tmp_path: Path) -> None:
    names = ["base", "prefix", "both", "blur"]
    assert shown("report", *(folders / name for name in names), "--out", tmp_path / "r.html") == 0
    page = parse((tmp_path / "r.html").read_text(encoding="utf-8"))
    (grid,) = holisafe.compare(*(folders / name for name in names)).robustness()
    (table,) = [one for one in page.all("table") if one.one("caption").text == grid.note]
    rows = [[cell.text for cell in row.children if isinstance(cell, Node)] for row in table.all("tr")]
    assert rows[0] == list(grid.columns)
    assert rows[1:] == [[cell.replace("(", "").replace(")", "") for cell in row] for row in grid.rows]
    drawn = [one for one in page.all("svg") if one.all("title")[0].text == grid.title]
    assert len(drawn) == 1
    first = grid.columns.index("mASR, macro")
    assert all(row[first].partition(" n=")[0] in drawn[0].one("desc").text for row in grid.rows[1:])
    assert shown("report", folders / "blur", folders / "both", "--out", tmp_path / "n.html") == 0
    assert "What each attack costs" not in (tmp_path / "n.html").read_text(encoding="utf-8")


def test_a_run_goes_out_and_comes_back_unchanged(folders: Path, tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai")
    from holisafe.interchange.inspect_logs import read_responses, write_eval_log

    run = read_run(folders / "both")
    write_eval_log(run.folder, tmp_path / "run.eval")
    assert {one.key: one for one in read_responses(tmp_path / "run.eval")} == run.responses
    assert write_run_table(run.folder, tmp_path / "run.csv") == len(run.responses)
    lines = [to for to in (tmp_path / "run.csv").read_text(encoding="utf-8").splitlines() if run.target in to]
    assert len(lines) >= len(run.responses) // 2


def test_flags_yaml_and_the_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = tmp_path / "answers.jsonl"
    ids = [one.id for one in open_benchmark("toy", split="test").samples]
    answers.write_text("".join(json.dumps({"id": name, "response": REFUSAL}) + "\n" for name in ids))
    (tmp_path / "run.yaml").write_text(
        f"benchmark: toy\ntarget: replay/{answers}\njudges: [string-match]\nattack: ['noise,sigma=9', turns]\n"
        f"out: {tmp_path / 'yaml'}\n"
    )
    assert shown("run", tmp_path / "run.yaml") == 0
    attacks = read_run(tmp_path / "yaml").manifest["target"]["attacks"]
    assert [(one["attack"], one.get("sigma")) for one in attacks] == [("noise", 9.0), ("turns", None)]
    flags = ["run", "toy", "--target", f"replay/{answers}", "--judge", "string-match", "--out", tmp_path / "flags"]
    assert shown(*flags, "--attack", "smoke") == 2
    capsys.readouterr()
    model = ["run", "toy", "--target", "openai/m,base_url=http://127.0.0.1:9/v1", "--judge", "string-match"]
    tokens = []
    for extra in ([], ["--attack", "turns,wording=trust"]):
        assert shown(*model, "--out", tmp_path / "dry", "--dry-run", *extra) == 0
        tokens.append(capsys.readouterr().out)
    assert tokens[0] != tokens[1]
