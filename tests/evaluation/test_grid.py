"""Models x benchmarks: each cell is the run it would be alone; what fails is named, and the others go on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import InputError
from holisafe.evaluation import evaluate
from holisafe.evaluation.grid import Cell, evaluate_grid, plan
from holisafe.runs.folder import read_manifest
from stored_run import contents
from toy_plugin import ToyJudge, ToyTarget, load_benchmark

BENCH = replace(load_benchmark(None).only("test"), name="one")
OTHER = replace(BENCH, name="two", samples=BENCH.samples[:20])


def target(name: str, log: Path) -> Any:
    return ToyTarget(f"toy/{name}", log)


def test_every_cell_is_the_run_it_would_be_alone_and_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "calls.log"
    judge: Any = ToyJudge(tmp_path / "judged.log")
    told: list[Cell] = []
    models = {"a": target("a", log), "b": target("b", log)}
    cells = evaluate_grid([BENCH, OTHER], models, [judge], tmp_path / "grid", tell=told.append)
    assert told == cells
    assert [cell.out.relative_to(tmp_path / "grid").as_posix() for cell in cells] == [
        "a/one",
        "a/two",
        "b/one",
        "b/two",
    ]
    alone = evaluate(OTHER, models["b"], [judge], tmp_path / "alone")
    assert cells[3].scores == alone
    assert contents(cells[3].out) == contents(tmp_path / "alone")
    before = log.read_text()
    shutil.rmtree(tmp_path / "grid" / "a" / "two")
    assert [cell.scores for cell in evaluate_grid([BENCH, OTHER], models, [judge], tmp_path / "grid")] == [
        cell.scores for cell in cells
    ]
    assert log.read_text().count("start") - before.count("start") == len(OTHER.samples), "only what was missing"


def test_a_cell_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    judge: Any = ToyJudge(tmp_path / "judged.log")
    models = {"none": "hf/not-there-at-all", "a": target("a", tmp_path / "calls.log")}
    cells = evaluate_grid([replace(BENCH, samples=()), OTHER], models, [judge], tmp_path / "grid")
    faults = [str(cell.fault) if cell.fault else None for cell in cells]
    assert faults[0] == faults[1]
    assert "not-there-at-all" in str(faults[0])
    assert faults[2:] == ["one holds no samples", None]
    assert cells[3].scores is not None
    assert read_manifest(cells[3].out)["target"]["name"] == "toy/a"


def test_one_model_has_no_folder_of_its_own_and_names_are_safe(tmp_path: Path) -> None:
    places = [cell.out for _, _, cell in plan(["xstest:a/b.csv", "figstep"], "hf/m", tmp_path)]
    assert places == [tmp_path / "xstest", tmp_path / "figstep"]
    places = [cell.out for _, _, cell in plan({"../x": "figstep"}, ["openai/org/m:free,key=K"], tmp_path)]
    assert places == [tmp_path / "m_free" / "_x"]
    for benchmarks, targets in ((["figstep:a", "figstep:b"], "hf/m"), (["figstep"], ["hf/a/m", "hf/b/m"])):
        with pytest.raises(InputError, match=r"are called '(figstep|m)'; give each a name"):
            plan(benchmarks, targets, tmp_path)


def test_the_budget_is_for_all_cells_together(tmp_path: Path) -> None:
    from itertools import count

    judge: Any = ToyJudge(tmp_path / "judged.log")
    dear: Any = target("a", tmp_path / "calls.log")
    asked, answer = count(), dear.respond

    async def respond(requests: Any) -> Any:
        async for response in answer(requests):
            next(asked)
            yield replace(response, usage={**response.usage}, cost=0.01)

    dear.respond = respond
    with pytest.raises(KeyboardInterrupt, match="larger --max-cost"):
        evaluate_grid([OTHER, BENCH], dear, [judge], tmp_path / "grid", max_cost=0.25)
    made = next(asked)
    assert 25 <= made < 40
    with pytest.raises(KeyboardInterrupt, match="larger --max-cost"):
        evaluate_grid([OTHER, BENCH], dear, [judge], tmp_path / "grid", max_cost=0.25)
    assert next(asked) == made + 1, "nothing more was asked"
