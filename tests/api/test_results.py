"""What `import holisafe` gives: the same runs as the command line, and results that show themselves, texts unseen."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

import holisafe
from holisafe.benchmarks.base import Benchmark
from holisafe.errors import InputError
from holisafe.guards.base import Item, Kind, Reading, reading
from holisafe.journal import read_json
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings, Sample
from holisafe.runs.scores import Scores, typed
from holisafe.targets import open_target
from stored_run import contents
from toy_plugin import ToyTarget, load_benchmark

TEST = load_benchmark(None).only("test")
HOSTILE = '<img src=x onerror=alert(1)>\x1b[2J"&'


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[holisafe.api.results.Run, ...]:
    folder = tmp_path_factory.mktemp("runs")
    judges = ["string-match:normalised", open_judge("string-match:holisafe")]
    return tuple(holisafe.evaluate(TEST, ToyTarget(f"toy/{name}"), judges, folder / name) for name in ("a", "b"))


class Page(HTMLParser):
    """Tags that open and close in order, ids, and what is visible before anything is opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.seen, self.folded = "", ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        closed = tag == "details" and "open" not in dict(attrs)
        if tag != "br":
            self.open.append("closed" if closed else tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        last = self.open.pop()
        assert last == tag or (last, tag) == ("closed", "details")

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        if "closed" in self.open and "summary" not in self.open:
            self.folded += data
        else:
            self.seen += data


def test_names_and_objects_measure_the_same_run_and_the_command_line_goes_on_with_it(tmp_path: Path) -> None:
    how = {"max_new_tokens": 16}
    settings = GenerationSettings(**how)
    told = {"out": tmp_path / "names", "settings": how, "limit": 6}
    holisafe.evaluate("pictosafe", "hf/pictovlm", "string-match", **told)
    opened = holisafe.open_benchmark("pictosafe", split="test")
    target, judge = open_target("hf/pictovlm", settings), open_judge("string-match")
    holisafe.evaluate(opened, target, judge, str(tmp_path / "objects"), limit=6)
    assert contents(tmp_path / "names") == contents(tmp_path / "objects")
    before = (tmp_path / "names" / "responses.jsonl").read_bytes()
    words = ["--target", "hf/pictovlm", "--judge", "string-match", "--limit", "6", "--max-tokens", "16", "--out"]
    command = [
        sys.executable,
        "-c",
        "from holisafe.cli import main; main()",
        "run",
        "pictosafe",
        *words,
        str(tmp_path / "names"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "names" / "responses.jsonl").read_bytes() == before


def test_settings_are_said_once(tmp_path: Path) -> None:
    target = open_target("hf/pictovlm", GenerationSettings(max_new_tokens=2))
    with pytest.raises(holisafe.InputError, match="max_new_tokens 2, not 512"):
        holisafe.evaluate(TEST, target, "string-match", tmp_path / "run", settings=GenerationSettings())
    with pytest.raises(holisafe.InputError, match="no setting is called max_tokens; there are: max_new_tokens"):
        holisafe.evaluate(TEST, "hf/pictovlm", "string-match", tmp_path / "run", settings={"max_tokens": 2})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"benchmark": 3}, "benchmark must be str or Benchmark, not 3"),
        ({"target": None}, "target must be str or Target, not None"),
        ({"judges": ["string-match", 3]}, "judge must be str or Judge, not 3"),
        ({"calibrate": 3}, "calibration must be str, not 3"),
        ({"out": 3}, "out must be str or Path, not 3"),
        ({"max_cost": "2"}, "max_cost must be float or int or None, not '2'"),
        ({"limit": -1}, "field 'limit': unusable value '-1'"),
        ({"limit": "10"}, "field 'limit': unusable value '10'"),
        ({"repeats": 0}, "field 'repeats': unusable value '0'"),
        ({"settings": {"max_new_tokens": "2"}}, "field 'settings.max_new_tokens': unusable value '2'"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_asked(wrong: Any, says: str, tmp_path: Path) -> None:
    right = {"benchmark": TEST, "target": "hf/pictovlm", "judges": "string-match", "out": tmp_path / "run"}
    with pytest.raises(holisafe.InputError) as error:
        holisafe.evaluate(**{**right, **wrong})
    assert str(error.value) == says
    assert not (tmp_path / "run").exists()


def test_whatever_is_read_or_made_safer_says_what_it_takes() -> None:
    calls: dict[str, Any] = {
        "run": lambda: holisafe.read_run(3),
        "run must": lambda: holisafe.compare("a", 3),
        "table": lambda: holisafe.score(3),
        "target": lambda: holisafe.calibrated(3, "reminder"),
        "base": lambda: holisafe.tune(3, "pictosafe", "demo", "out"),
        "data": lambda: holisafe.evaluate_guard(3, "tuned"),
        "guard": lambda: holisafe.evaluate_guard("pictosafe", 3),
        "no guard: ": lambda: holisafe.evaluate_guard("pictosafe"),
    }
    for named, call in calls.items():
        with pytest.raises(holisafe.InputError, match=f"^{named}"):
            call()


def test_a_benchmark_is_told_in_a_line() -> None:
    assert repr(holisafe.open_benchmark("pictosafe", split="test")) == (
        "<Benchmark pictosafe, split test: 1,272 samples>"
    )


def test_scores_are_those_on_disk(runs: Any) -> None:
    run = runs[0]
    assert run.scores.to_json() == typed(Scores, read_json(run.folder / "scores.json")).to_json()
    rates = run.rates().set_index(["judge", "measure"])
    cell = run.scores.judges["string-match:holisafe"].masr_pooled
    found = rates.loc[("string-match:holisafe", "masr_pooled")]
    assert (found["rate"], found["low"], found["high"], found["n"]) == (cell.rate, cell.low, cell.high, cell.n)
    counted = holisafe.score(run)
    assert counted.judges == {name: replace(one) for name, one in run.scores.judges.items()}
    assert holisafe.score(str(run.folder)).judges == counted.judges
    frame = run.frame()[["judge", "sample_id", "repeat", "combination", "adheres", "expected", "category",
                         "subcategory", "cluster"]]  # fmt: skip
    assert holisafe.score(frame).judges == counted.judges


def test_a_comparison_of_runs_is_one_of_their_tables(runs: Any) -> None:
    found = holisafe.compare(*runs)
    assert found.frame().equals(holisafe.compare([run.folder for run in runs]).frame())
    assert holisafe.compare(*map(str, (run.folder for run in runs))).rows == found.rows
    columns = ["judge", "sample_id", "repeat", "combination", "adheres", "expected", "cluster"]
    tables = {f"toy/{run.folder.name}": run.frame()[columns] for run in runs}
    again = {(row["judge"], row["measure"]): row["difference"] for row in holisafe.compare(tables).rows}
    assert again == {(row["judge"], row["measure"]): row["difference"] for row in found.rows}
    with pytest.raises(holisafe.InputError, match="at least two"):
        holisafe.compare(runs[0])


def shown(runs: Any) -> dict[str, Any]:
    both = holisafe.read_runs(runs)
    return {"run": runs[0], "runs": both, "scores": runs[0].scores, "comparison": holisafe.compare(*runs)}


def test_everything_shows_itself_and_nothing_that_was_asked_or_said(runs: Any) -> None:
    said = {text for run in runs for text in run.frame(texts=True)["response"]}
    said |= {sample.query for run in runs for sample in run.samples.values()}
    for name, result in shown(runs).items():
        bundle = result._repr_mimebundle_()
        page = Page(bundle["text/html"])
        assert {"script", "link", "iframe", "img"}.isdisjoint(page.tags), name
        assert not [one for one in page.attributes if one.startswith("on") or one in ("src", "href")]
        assert len(page.ids) == len(set(page.ids))
        for text in filter(None, said):
            assert text not in page.seen + page.folded + bundle["text/plain"] + repr(result) + str(result)
        assert "mASR" in page.seen
        assert "mASR" in bundle["text/plain"]
        again = Page(result._repr_html_())
        assert set(page.ids).isdisjoint(again.ids)  # two outputs of one notebook


def test_pairs_are_folded_until_they_are_opened(runs: Any) -> None:
    pairs = holisafe.read_runs(runs).pairs(most=4)
    page = Page(pairs._repr_html_())
    frame = runs[0].frame(texts=True)
    there = [row for row in frame.itertuples() if row.sample_id in page.seen.split()]
    assert len({row.sample_id for row in there}) == 4
    assert any(row.response for row in there)
    for row in there:
        assert row.query in page.folded
        assert row.query not in page.seen
        assert row.response in page.folded
        assert not row.response or row.response not in page.seen + str(pairs)


def test_names_out_of_files_are_text(runs: Any, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs[0].folder, folder)
    for file in ("manifest.json", "scores.json", "verdicts.jsonl", "samples.jsonl"):
        text = (folder / file).read_text(encoding="utf-8")
        hostile = json.dumps(HOSTILE)[1:-1]
        (folder / file).write_text(text.replace("string-match:holisafe", hostile).replace("toy/a", hostile))
    run = holisafe.read_run(folder)
    for result in (run, run.pairs(), run.scores, holisafe.compare(run, run_copy(folder, tmp_path))):
        page = Page(result._repr_html_())
        assert "img" not in page.tags
        assert "onerror" not in page.attributes
        assert "\x1b" not in str(result) + repr(result)


def run_copy(folder: Path, place: Path) -> Path:
    return shutil.copytree(folder, place / "again")


def test_several_runs_have_one_frame(runs: Any) -> None:
    both = holisafe.read_runs([run.folder for run in runs], titles=["one", "two"])
    apart = holisafe.read_runs(runs[0].folder, runs[1])
    assert [run.folder for run in apart] == [run.folder for run in both]
    assert list(both.frame()["run"].unique()) == ["one", "two"]
    assert len(both.frame()) == sum(len(run.frame()) for run in runs)
    assert [run.title for run in both.groups[0].runs] == ["one", "two"]
    pattern = runs[0].folder.parent / "*"
    assert [run.folder for run in holisafe.read_runs(str(pattern))] == [run.folder for run in runs]
    with pytest.raises(holisafe.InputError, match="no run folder is"):
        holisafe.read_runs("nowhere/*")


def test_a_table_with_a_fault_is_told_by_row_and_field() -> None:
    table = pd.DataFrame({"sample_id": ["a", "b"], "combination": ["SSS", "XXX"], "adheres": [True, None]})
    with pytest.raises(holisafe.InputError, match=r"the table, row 2, field 'combination': unknown combination 'XXX'"):
        holisafe.score(table)


def test_a_fault_is_one_line_in_a_notebook() -> None:
    (line,) = holisafe.InputError("no\x1b[2J such", where="a\nb")._render_traceback_()
    assert re.fullmatch(r"InputError: a\\nb: no\\u001b\[2J such", line)


@dataclass
class LookedUp:
    """A guard of others that calls an image unsafe by its first pixel."""

    name: str = "first pixel"
    version: str = "1"
    takes: frozenset[Kind] = frozenset(("image",))
    taxonomy: str | None = None
    decides: str = "more than 100"
    note: str = ""

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        for item in items:
            yield reading(self, item, item.pictures[0].open().getpixel((0, 0))[0] > 100)  # type: ignore[index]


def test_a_guard_is_measured_on_whatever_holds_the_images(tmp_path: Path) -> None:
    """The same figures from a file, a table in memory, of paths or of open pictures, and an open benchmark."""
    shades = [0, 50, 150, 250, 90, 200]
    pictures = [Image.new("RGB", (4, 4), (shade, number, 0)) for number, shade in enumerate(shades)]
    labels = ["safe", "safe", "safe", "suicide", "unsafe", "race"]
    rows = pd.DataFrame({"image": [f"{n}.png" for n in range(6)], "label": labels, "split": ["a"] * 5 + ["b"]})
    for name, picture in zip(rows["image"], pictures, strict=True):
        picture.save(tmp_path / name)
    rows.to_csv(tmp_path / "labels.csv", index=False)
    samples = tuple(
        Sample(
            benchmark="held", id=str(n), query="?", expected="answer", images=(f"{n}.png",), split=rows["split"][n],
            image_label=labels[n] if labels[n] != "unsafe" else "suicide", cluster=str(n),
        )
        for n in range(6)
    )  # fmt: skip
    held = Benchmark("held", samples, lambda name: pictures[int(name.removesuffix(".png"))])
    given = (
        tmp_path / "labels.csv",
        rows.assign(image=[str(tmp_path / name) for name in rows["image"]]),
        rows.assign(image=pictures),
        held,
    )
    for split, n in ((None, 6), ("a", 5)):
        measured = [holisafe.evaluate_guard(one, LookedUp(), split=split, draws=100) for one in given]
        found = [sets for one in measured for sets in one["sets"].values()]
        assert [one["n"] for one in found] == [n] * 4
        assert found[0]["benign"]["false_alarm_rate"]["rate"] == pytest.approx(1 / 3)
        assert all(one["binary"] == found[0]["binary"] for one in found)
    with pytest.raises(InputError, match="the table, row 2, field 'label'"):
        holisafe.evaluate_guard(rows.assign(label=["safe", None, *labels[2:]], image=pictures), LookedUp())
