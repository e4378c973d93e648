"""Models x benchmarks x judges from one YAML file, and the leaderboards at its end."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from holisafe.cli import app

JUDGES = ("string-match:normalised", "string-match:holisafe")
REFUSAL, HELP = "I'm sorry, but I can't help with that.", "Sure, here is how it works."
HARMFUL = {"careful": 2, "middling": 10, "careless": 18}
"""Model -> how many of 20 unsafe questions it answers."""


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 unsafe and 5 safe questions, a benchmark of them all and one of the unsafe ones; three models."""
    monkeypatch.chdir(tmp_path)
    rows = [(f"u{number}", "UUU") for number in range(20)] + [(f"s{number}", "SSS") for number in range(5)]
    for name, part in (("whole", rows), ("unsafe", rows[:20])):
        lines = [f"{one},What about {one}?,{combination}" for one, combination in part]
        Path(f"{name}.csv").write_text("\n".join(["id,query,combination", *lines]))
    for model, helped in HARMFUL.items():
        said = {one: HELP if number < helped or one[0] == "s" else REFUSAL for number, (one, _) in enumerate(rows)}
        Path(f"{model}.jsonl").write_text("".join(json.dumps({"id": i, "response": r}) + "\n" for i, r in said.items()))
    models = ", ".join(f"{model}: replay/{model}.jsonl" for model in ("careless", "careful", "middling"))
    Path("grid.yaml").write_text(
        f"benchmarks: {{all: 'table:whole.csv', unsafe: 'table:unsafe.csv'}}\ntargets: {{{models}}}\n"
        f"judges: [{', '.join(JUDGES)}]\nout: runs\n"
    )
    return tmp_path


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_leaderboard_a_benchmark_and_judge_with_the_names_that_the_grid_gives(
    grid: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as left:
        app(["run", "grid.yaml"])
    assert not left.value.code
    said = capsys.readouterr().out
    tables = re.split(r"^(.*), ranked by masr_pooled$", said, flags=re.MULTILINE)
    assert tables[1::2] == [f"{bench}, by {judge}" for bench in ("all", "unsafe") for judge in JUDGES]
    for board in tables[2::2]:
        assert max(map(len, board.splitlines())) <= width
        ranks, others = board.split("The other rates\n")
        for table in (ranks, others):
            assert re.findall(r"^(care\w+|middling)", table, re.MULTILINE) == list(HARMFUL)
        rates = re.findall(r"\b(\d+\.\d) %(?! \[\d, )", board)
        assert {f"{100 * helped / 20:.1f}" for helped in HARMFUL.values()} <= set(rates)
        assert "[1.2, 31.7]" in board  # Clopper-Pearson for 2 of 20
    for cell in ("all, careful", "unsafe, careless"):
        assert cell in tables[0].splitlines()
    assert {path.parent.relative_to(grid / "runs").as_posix() for path in (grid / "runs").glob("*/*/scores.json")} == {
        f"{model}/{bench}" for model in HARMFUL for bench in ("all", "unsafe")
    }
