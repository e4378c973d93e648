"""Several guards compared from the command line: a server's, one on words, kept readings, the page."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from api_server import ApiServer
from holisafe import cli
from holisafe.benchmarks import open_benchmark
from holisafe.errors import InputError
from holisafe.evaluation.guard_boards import compare_guards
from holisafe.guards.base import Item, Kind, Reading, reading, unreadable
from holisafe.report.guard_board import render


@dataclass
class Words:
    """A guard of texts: how many letters a question has. Of some it says nothing, or cannot be asked."""

    name: str = "words"
    version: str = "1"
    takes: frozenset[Kind] = frozenset(("text",))
    taxonomy: str | None = None
    decides: str = "more than 40 letters"
    note: str = "Letters <say> nothing."
    failing: bool = False
    asked: list[str] = field(default_factory=list)

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        for number, item in enumerate(items):
            assert not item.pictures
            self.asked.append(item.id)
            if self.failing and number % 10 == 3:
                yield unreadable(item, "error: no answer" if number % 20 == 3 else "odd")
            else:
                yield reading(self, item, len(item.text) > 40, ["long"], score=len(item.text) / 100)


def pictosafe() -> Any:
    whole = open_benchmark("pictosafe", split="validation")
    return type(whole)(whole.name, whole.samples[:80], whole.open_image)


def test_readings_are_kept_and_only_failed_calls_are_made_again(tmp_path: Path) -> None:
    benchmark = pictosafe()
    first = Words(failing=True)
    board = compare_guards(benchmark, [first], on="pairs", out=tmp_path, draws=50)
    assert board["guards"]["words"]["n_invalid"] == 8
    failed = [first.asked[number] for number in range(3, 80, 20)]
    lines = (tmp_path / "readings.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "readings.jsonl").write_text("".join(lines[:70]) + lines[70][:50])  # killed in the middle of a line
    again = Words(failing=False)
    board = compare_guards(benchmark, [again], on="pairs", out=tmp_path, draws=50)
    assert set(again.asked) == {*failed[:4], *first.asked[70:]}
    assert (board["guards"]["words"]["n"], board["guards"]["words"]["invalid"]) == (77, {"odd": 3})
    assert json.loads((tmp_path / "board.json").read_text())["guards"].keys() == {"words"}
    newer = Words(version="2")
    compare_guards(benchmark, [newer], on="pairs", out=tmp_path, draws=50)
    assert len(newer.asked) == 80, "another version has said nothing yet"


def test_guards_are_compared_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def answer(body: dict[str, Any], content: str) -> dict[str, Any]:
        said = "unsafe\nS1,S9" if int(content[:8], 16) % 2 else "safe"
        return {"message": {"role": "assistant", "content": said}}

    scored = {"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 0.2}}
    with ApiServer(answer=answer, moderate=lambda body: {"results": [scored]}) as server:
        words = [
            "guard", "pairs", "--data", "pictosafe", "--split", "validation", "--out", str(tmp_path / "board"),
            "--model", f"llama-guard/openai/m,base_url={server.url}", "--draws", "100",
            "--model", f"moderation/m,base_url={server.url}",
        ]  # fmt: skip
        with pytest.raises(SystemExit) as left:
            cli.app(words)
        calls = len(server.stats.bodies)
        assert left.value.code == 0
        with pytest.raises(SystemExit):
            cli.app([*words, "--json"])
        assert len(server.stats.bodies) == calls, "what was read is paid for once"
    said = capsys.readouterr().out
    assert "By each guard's own verdict" in said
    board = json.loads((tmp_path / "board" / "board.json").read_text())
    assert board["guards"].keys() == {"llama-guard/openai/m", "moderation/m"}
    assert board["guards"]["moderation/m"]["auroc"]["rate"] == 0.5
    assert board["guards"]["llama-guard/openai/m"]["auroc"] is None
    assert {"S1", "S9"} == set(board["guards"]["llama-guard/openai/m"]["benign"])
    page = (tmp_path / "board" / "index.html").read_text()
    assert page.count("<svg") == 1
    assert "llama-guard/openai/m" in page


def test_one_foreign_guard_is_read_by_its_own_verdict_and_failed_calls_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Llama Guard gives no score: all of its readings would be lost under a threshold on one."""
    samples = open_benchmark("pictosafe", split="validation").samples
    pairs = [one for one in samples if one.combination]
    rows = [{"id": one.id, "response": "unsafe\nS1" if one.combination == "SSU" else "safe"} for one in pairs]
    told, names = tmp_path / "said.jsonl", ("guard", "pairs", "--data", "pictosafe", "--split", "validation", "--json")

    def measured(rows: list[dict[str, str]], code: int) -> Any:
        told.write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(SystemExit) as left:
            cli.app([*names, "--model", f"llama-guard/replay/{told}", "--draws", "100"])
        assert left.value.code == code
        said = capsys.readouterr()
        (found,) = json.loads(said.out)["guards"].values()
        return found, said.err

    found, _ = measured(rows, 0)
    assert found["own"]["false_alarms"]["rate"] == 0
    assert {group: cell["rate"] for group, cell in found["own"]["by_group"].items()} == {
        "SSU": 1.0, "SUU": 0.0, "USU": 0.0, "UUU": 0.0,
    }  # fmt: skip
    found, said = measured(rows[3:], 3)
    assert (found["n"], found["n_invalid"]) == (len(pairs) - 3, 3)
    assert "3 calls failed; with --out DIR only they are made again" in said
    with pytest.raises(SystemExit) as left:
        cli.app([*names, "--model", f"llama-guard/replay/{told}", "--threshold", "0.5"])
    assert left.value.code == 2
    assert "gives verdicts and no scores" in capsys.readouterr().err
    with pytest.raises(SystemExit) as left:
        cli.app([*names, "--out", str(tmp_path / "none")])
    assert left.value.code == 2
    assert "name at least one with --model" in capsys.readouterr().err


def test_images_are_compared_and_what_is_shown_is_escaped(tmp_path: Path) -> None:
    for label, shades in (("safe", (10, 20)), ("suicide", (200, 210))):
        (tmp_path / "set" / label).mkdir(parents=True)
        for shade in shades:
            Image.new("RGB", (4, 4), (shade, 0, 0)).save(tmp_path / "set" / label / f"{shade}.png")

    @dataclass
    class Bright(Words):
        takes: frozenset[Kind] = frozenset(("image",))

        def read(self, items: Iterable[Item]) -> Iterator[Reading]:
            for item in items:
                red: Any = item.pictures[0].open().getpixel((0, 0))
                yield reading(self, item, red[0] > 100, ["red"], score=red[0] / 255)

    board = compare_guards(str(tmp_path / "set"), [Bright(name="<b>")], published=True, draws=50)
    assert board["guards"]["<b>"]["auroc"]["rate"] == 1.0
    assert board["guards"]["<b>"]["own"]["by_group"].keys() == {"suicide"}
    page = render(board)
    assert "<b>" not in page
    assert "Letters &lt;say&gt; nothing." in page
    assert "Llama-Guard-4-12B" in page
    with pytest.raises(InputError, match="two guards are called"):
        compare_guards(str(tmp_path / "set"), [Bright(), Bright()], draws=50)
