"""Whatever fails beside it, a call that came back is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holisafe.errors import InputError
from holisafe.evaluation import evaluate, judge_run
from holisafe.journal import read_json
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings, Response, Verdict
from holisafe.runs.folder import read_manifest, read_records
from judges.scripted import ScriptedTarget, judge_of
from toy_plugin import ToyTarget, load_benchmark

TEST = load_benchmark(None).only("test")


def failing(stage: str) -> Any:
    def progress(what: str, done: int, total: int) -> None:
        if what == stage and done == 20:
            raise OSError("the terminal is gone")

    return progress


def test_a_fault_beside_the_calls_loses_none_in_flight(tmp_path: Path) -> None:
    target = ToyTarget("toy/a", log=tmp_path / "calls.log", delay=0.02, at_once=8)
    judges = [open_judge("string-match:normalised")]
    with pytest.raises(OSError, match="the terminal is gone"):
        evaluate(TEST, target, judges, tmp_path / "run", progress=failing("responses"))
    begun = [line.split()[1] for line in (tmp_path / "calls.log").read_text().splitlines() if line.startswith("start")]
    assert sorted(begun) == sorted(name for name, _ in read_records(tmp_path / "run", Response))
    assert 20 < len(begun) < 30
    evaluate(TEST, target, judges, tmp_path / "run")
    assert (tmp_path / "calls.log").read_text().count("start") == len(TEST.samples), "nothing was asked twice"


def test_a_fault_beside_a_judge_loses_none_of_its_calls(tmp_path: Path) -> None:
    model = ScriptedTarget(lambda request, before: json.dumps({"verdict": "yes_it_does"}), at_once=8, batch=8)
    with pytest.raises(OSError, match="the terminal is gone"):
        evaluate(TEST, ToyTarget("toy/a"), [judge_of(model)], tmp_path / "run", progress=failing("llm/test"))
    asked = len(model.requests)
    verdicts = read_records(tmp_path / "run", Verdict).values()
    assert asked == sum(verdict.raw is not None for verdict in verdicts)  # empty answers need no call
    assert 20 < asked < 40


def test_a_target_opened_otherwise_than_asked_is_refused_and_its_own_settings_count(tmp_path: Path) -> None:
    class Opened(ToyTarget):
        settings = GenerationSettings(max_new_tokens=2)

    judges = [open_judge("string-match:normalised")]
    with pytest.raises(InputError, match="toy/a was opened with max_new_tokens 2, not 512; seed 0, not 3"):
        evaluate(TEST, Opened("toy/a"), judges, tmp_path / "run", settings=GenerationSettings(seed=3))
    assert not (tmp_path / "run").exists()
    evaluate(TEST, Opened("toy/a"), judges, tmp_path / "run")
    assert read_manifest(tmp_path / "run")["settings"]["max_new_tokens"] == 2
    with pytest.raises(InputError, match="--max-tokens was 2, is now 512"):
        evaluate(TEST, ToyTarget("toy/a"), judges, tmp_path / "run")


ODD: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**400, 1e999, "", "x", "a\nb", [], [1], {}, {"a": {"b": []}})


def places(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every entry of a manifest, by its path."""
    if path:
        yield path
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from places(inner, (*path, name))


def test_an_edited_manifest_gets_one_line_or_is_as_good_as_before(tmp_path: Path) -> None:
    run, judges = tmp_path / "run", [open_judge("string-match:normalised")]
    evaluate(TEST, ToyTarget("toy/a"), judges, run, limit=5)
    manifest = read_json(run / "manifest.json")
    manifest["packages"] = dict([*manifest["packages"].items()][:1])  # which stands for the others
    tried = refused = 0
    for path in [*places(manifest), ("judge_measures",), ("later",)]:
        for value in ODD:
            edited = json.loads(json.dumps(manifest))
            inner = edited
            for name in path[:-1]:
                inner = inner[name]
            inner[path[-1]] = value
            (run / "manifest.json").write_text(json.dumps(edited))
            tried += 1
            if said_against(lambda: evaluate(TEST, ToyTarget("toy/a"), judges, run, limit=5)):
                refused += 1
                said_against(lambda: judge_run(run, judges))  # the manifest is still the edited one
    assert tried > 300
    assert refused > tried / 2


def said_against(doing: Callable[[], object]) -> list[str]:
    """The one line that an InputError says; none when all goes well. Any other exception comes through."""
    try:
        doing()
    except InputError as error:
        said = str(error).splitlines()
    else:
        said = []
    assert len(said) <= 1
    return said
