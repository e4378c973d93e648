"""Sweeps of the toy model with a toy method, whose every answer is known beforehand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import toy_plugin
from holisafe.benchmarks.base import Benchmark
from holisafe.calibration.base import Calibrated, FitData
from holisafe.calibration.learned import Learned, load_learned
from holisafe.calibration.sweep import Sweep, failed
from holisafe.calibration.sweep_config import SweepConfig
from holisafe.errors import InputError
from holisafe.records import Request, Response, digest
from holisafe.registry import Entry, benchmarks, calibrations
from holisafe.targets.base import Target
from holisafe.taxonomy import COMBINATIONS
from toy_plugin import ANSWER, REFUSAL

SAMPLES = {sample.id: sample for sample in toy_plugin.samples()}
FITTED: list[int] = []


class Refusing(Calibrated):
    """Refuses the share `strength` of all unsafe pairs, and the share strength - 0.5 of all safe ones, besides."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        self.strength = float(told["strength"]) + (
            load_learned(told["file"]).tensors["bias"][0] if "file" in told else 0
        )
        if "wrong" in told:
            raise InputError("another shape")
        super().__init__(target, "refusing", told, strength=float(self.strength))

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        async for response in super().respond(requests):
            sample = SAMPLES[response.sample_id]
            if sample.has_answer_key:
                yield replace(response, text="stone" if self.strength > 0.8 else response.text)
            else:
                yield replace(response, text=said(sample.id, self.strength))

    @classmethod
    def fit(cls, target: Target, data: FitData, options: dict[str, str]) -> Learned:
        FITTED.append(data.seed)
        return Learned("refusing", {"bias": np.array([0.01 * data.seed])}, {"chosen": len(data.validation)})


def said(identity: str, strength: float) -> str:
    draw = int(digest([identity, "draw"]), 16) % 1000 / 1000
    safe = COMBINATIONS[SAMPLES[identity].combination or ""] == "answer"
    return REFUSAL if draw < (strength - 0.5 if safe else strength) else ANSWER


@pytest.fixture(autouse=True)
def toy_method() -> Iterator[None]:
    calibrations.entries(), benchmarks.entries()
    calibrations._entries["refusing"] = Entry("refusing", Refusing)
    others = tuple(replace(sample, id=f"fit-{sample.id}") for sample in SAMPLES.values())
    benchmarks._entries["toy-fit"] = Entry("toy-fit", lambda root: Benchmark("toy-fit", others, toy_plugin.open_image))
    FITTED.clear()
    yield
    del calibrations._entries["refusing"], benchmarks._entries["toy-fit"]


def config(tmp_path: Path, **changes: Any) -> SweepConfig:
    told: dict[str, Any] = {
        "target": f"toy/m,log={tmp_path / 'log'}",
        "judge": "toy",
        "safety": {"benchmark": "toy", "choose": 0.5, "report": "test"},
        "utility": {"benchmark": "toy", "choose": 0.5, "report": "test"},
        "methods": [{"method": "refusing", "grid": {"strength": [0.5, 0.8, 0.95]}}],
        "pick": {"maximise": "sra_u", "limits": ["sra_s >= 0.7"]},
    }
    return SweepConfig.model_validate({**told, **changes})


def asked(tmp_path: Path) -> Counter[str]:
    lines = (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []
    return Counter(line.split()[1] for line in lines if line.startswith("start"))


def points(found: dict[str, Any]) -> dict[str, Any]:
    return {point["name"]: point for point in found["points"]}


def test_rates_are_those_of_the_answers_and_the_best_within_limits_is_picked(tmp_path: Path) -> None:
    sweep = Sweep(config(tmp_path), tmp_path / "out")
    found = sweep.run()
    chosen = next(part.benchmark.samples for part in sweep.asked if part.folder == "choose-safety")
    reported = next(part.benchmark.samples for part in sweep.asked if part.folder == "report-safety")
    assert {s.cluster for s in chosen}.isdisjoint({s.cluster for s in reported})
    assert {s.id for s in (*chosen, *reported)} == {f"pair-{n}" for n in range(60)}
    by_name = points(found)
    shares = {}
    for strength in (0.5, 0.8, 0.95):
        point = by_name[f"refusing,strength={strength}"]
        unsafe = [said(s.id, strength) == REFUSAL for s in chosen if s.expected == "refuse"]
        safe = [said(s.id, strength) == ANSWER for s in chosen if s.expected == "answer"]
        assert point["choose"]["rates"]["sra_u"]["rate"] == pytest.approx(sum(unsafe) / len(unsafe))
        assert point["choose"]["rates"]["sra_s"]["rate"] == pytest.approx(sum(safe) / len(safe))
        assert point["choose"]["rates"]["masr_pooled"]["n"] == len(unsafe)
        shares[strength] = (sum(unsafe) / len(unsafe), sum(safe) / len(safe))
    assert shares[0.95][0] > shares[0.8][0] > by_name["untouched"]["choose"]["rates"]["sra_u"]["rate"]
    assert shares[0.95][1] < 0.7 <= shares[0.8][1]
    assert by_name["refusing,strength=0.95"]["choose"]["rates"]["utility"]["rate"] == 0
    assert found["picks"] == {
        "measure": "sra_u",
        "limits": ["sra_s >= 0.7"],
        "all": "refusing,strength=0.8",
        "methods": {"refusing": "refusing,strength=0.8"},
    }
    assert [name for name, point in by_name.items() if point["report"]] == ["untouched", "refusing,strength=0.8"]
    report = by_name["refusing,strength=0.8"]["report"]["rates"]["sra_u"]
    unsafe = [said(s.id, 0.8) == REFUSAL for s in reported if s.expected == "refuse"]
    assert report["rate"] == pytest.approx(sum(unsafe) / len(unsafe))
    assert json.loads((tmp_path / "out" / "frontier.json").read_text()) == json.loads(json.dumps(found))
    scores = json.loads(
        (tmp_path / "out" / by_name["untouched"]["folders"][0] / "choose-safety/scores.json").read_text()
    )
    assert by_name["untouched"]["choose"]["rates"]["sra_u"] == scores["safety_calibration"]["toy"]["sra_u"]
    assert by_name["untouched"]["choose"]["rates"]["rr"] == scores["judges"]["toy"]["rr"]


def test_nothing_is_asked_twice_and_a_longer_grid_asks_what_is_new(tmp_path: Path) -> None:
    first = Sweep(config(tmp_path), tmp_path / "out").run()
    before = asked(tmp_path)
    assert Sweep(config(tmp_path), tmp_path / "out").run()["points"] == first["points"]
    assert asked(tmp_path) == before
    longer = config(tmp_path, methods=[{"method": "refusing", "grid": {"strength": [0.1, 0.5, 0.8, 0.95]}}])
    Sweep(longer, tmp_path / "out").run()
    new = asked(tmp_path) - before
    assert set(new.values()) == {1}
    assert len(new) == sum(part.size(None) for part in Sweep(longer, tmp_path / "x").asked if part.phase == "choose")


def test_no_setting_is_picked_where_none_keeps_the_limits(tmp_path: Path) -> None:
    for pick in ({"maximise": "sra_u", "limits": ["sra_s >= 1", "utility loss < 0"]}, {"maximise": "utility"}):
        found = Sweep(config(tmp_path, pick=pick), tmp_path / "out").run()
        assert found["picks"]["all"] is None  # nor where none beats the untouched model
    assert [point["name"] for point in found["points"] if point["report"]] == ["untouched"]
    report_all = Sweep(config(tmp_path, pick=None, report_all=True), tmp_path / "out").run()
    assert all(point["report"] for point in report_all["points"])


def test_methods_learn_once_a_seed_and_seeds_are_pooled(tmp_path: Path) -> None:
    fit = {"data": "toy-fit", "seeds": [0, 5]}
    told = config(tmp_path, methods=[{"method": "refusing", "fit": fit, "grid": {"strength": [0.5, 0.8]}}])
    found = Sweep(told, tmp_path / "out").run()
    assert FITTED == [0, 5]
    assert len(list((tmp_path / "out" / "learned").iterdir())) == 2
    point = points(found)["refusing,strength=0.8"]
    assert (point["seeds"], len(point["folders"])) == ([0, 5], 2)
    rates, spread = point["choose"]["rates"]["sra_u"], point["choose"]["spread"]["sra_u"]
    assert rates["rate"] == pytest.approx(sum(spread) / 2)
    assert min(spread) < max(spread)
    single = points(Sweep(config(tmp_path), tmp_path / "plain").run())["refusing,strength=0.8"]["choose"]
    assert spread[0] == single["rates"]["sra_u"]["rate"]
    assert rates["n"] == 2 * single["rates"]["sra_u"]["n"]
    more = told.model_copy(update={"methods": (told.methods[0].model_copy(update={"grid": {"strength": (0.5, 0.6)}}),)})
    Sweep(more, tmp_path / "out").run()
    assert FITTED == [0, 5]
    (tmp_path / "out").rename(tmp_path / "moved")
    before = asked(tmp_path)
    Sweep(more, tmp_path / "moved").run()
    assert (asked(tmp_path), FITTED) == (before, [0, 5])


def test_an_image_to_learn_from_is_hashed_once_however_many_methods_and_seeds(tmp_path: Path) -> None:
    opened: Counter[str] = Counter()

    def open_image(name: str) -> Any:
        opened[name] += 1
        return toy_plugin.open_image(name)

    pairs = benchmarks._entries["toy-fit"].load(None)
    benchmarks._entries["toy-fit"] = Entry("toy-fit", lambda root: replace(pairs, open_image=open_image))
    fit = {"data": "toy-fit", "seeds": [0, 5]}
    methods = [{"method": "refusing", "name": name, "fit": fit, "grid": {"strength": [0.8]}} for name in ("a", "b")]
    Sweep(config(tmp_path, methods=methods), tmp_path / "out").run()
    assert set(opened.values()) == {1}
    assert len(opened) == 30  # two pairs share an image
    facts = load_learned(next((tmp_path / "out" / "learned").iterdir())).facts["data"]
    assert facts["train"] + facts["validation"] == 62  # with two pairs that have no picture


def test_an_option_may_name_the_seed(tmp_path: Path) -> None:
    """Files and models made apart, one a seed: here strengths."""
    fit = {"data": "toy-fit", "seeds": [0, 5], "options": {"teacher": "teacher-{seed}"}}
    method = {"method": "refusing", "fit": fit, "grid": {"strength": ["0.{seed}", "0.8"]}}
    point = points(Sweep(config(tmp_path, methods=[method]), tmp_path / "out").run())["refusing,strength=0.{seed}"]
    told = [json.loads((tmp_path / "out" / f / "choose-safety/manifest.json").read_text()) for f in point["folders"]]
    assert [one["target"]["calibration"][-1]["strength"] for one in told] == pytest.approx([0.0, 0.5 + 0.05])
    learnt = [load_learned(path).facts["options"] for path in sorted((tmp_path / "out" / "learned").iterdir())]
    assert learnt == [{"teacher": "teacher-0"}, {"teacher": "teacher-5"}]


def test_a_setting_whose_calls_failed_is_on_no_front_and_not_picked(tmp_path: Path) -> None:
    sweep = Sweep(config(tmp_path, target="toy/m", compare={"tuned": "toy/m,fail=pair-0+pair-1"}), tmp_path / "out")
    found = sweep.run()
    compared = points(found)["tuned"]
    assert compared["choose"]["failed"] + compared["report"]["failed"] == 2
    assert failed(found["points"]) == 2
    chosen = next(part.benchmark.samples[0].id for part in sweep.asked if part.folder == "choose-safety")
    failing = Sweep(config(tmp_path, target=f"toy/m,fail={chosen}"), tmp_path / "failing").run()
    assert failing["fronts"] == {}
    assert failing["picks"]["all"] is None
    assert points(failing)["untouched"]["choose"]["failed"] == 1


def test_a_compared_model_is_shown_and_never_picked_nor_on_a_front(tmp_path: Path) -> None:
    found = Sweep(config(tmp_path, compare={"tuned": "toy/other"}), tmp_path / "out").run()
    tuned = points(found)["tuned"]
    assert tuned["kind"] == "compared"
    assert tuned["report"]["losses"]["sra_u"]["loss"] == 0  # the toy answers alike under every name
    assert all("tuned" not in front["front"] for front in found["fronts"].values())


def test_imported_utility_is_a_rate_with_an_unpaired_loss(tmp_path: Path) -> None:
    def results(name: str, rate: float) -> str:
        path = tmp_path / f"{name}.json"
        body = {
            "results": {"gqa": {"acc,none": rate, "acc_stderr,none": 0.01}},
            "n-samples": {"gqa": {"effective": 400}},
        }
        path.write_text(json.dumps(body))
        return str(path)

    files = {"untouched": results("a", 0.6), "refusing,strength=0.8": results("b", 0.55)}
    utility = {"lmms_eval": {"task": "gqa", "metric": "acc", "choose": files}}
    found = Sweep(config(tmp_path, utility=utility), tmp_path / "out").run()
    loss = points(found)["refusing,strength=0.8"]["choose"]["losses"]["utility"]
    assert (loss["loss"], loss["n"]) == (pytest.approx(0.05), 400)
    assert loss["high"] - loss["loss"] == pytest.approx(1.96 * 0.01 * 2**0.5, rel=1e-3)
    assert found["fronts"]["sra_u/utility"]["front"] == ["untouched", "refusing,strength=0.8"]  # others are unknown
    assert "utility" not in points(found)["untouched"]["report"]["rates"]
    missing = {"lmms_eval": {"task": "gqa", "metric": "acc", "choose": {"untouched": str(tmp_path / "none.json")}}}
    with pytest.raises(InputError, match="no such file"):
        Sweep(config(tmp_path, utility=missing), tmp_path / "new")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": "tyo/m"}, "no target is called 'tyo'"),
        ({"compare": {"tuned": "tyo/m"}}, "no target is called 'tyo'"),
        ({"judge": "toyy"}, "no judge is called"),
        ({"safety": {"benchmark": "toy", "choose": "validation", "report": "test"}}, "has no split 'validation'"),
        ({"methods": [{"method": "refuse"}]}, "no calibration is called 'refuse'"),
        ({"methods": [{"method": "reminder", "fit": {"data": "toy"}}]}, "reminder learns nothing"),
        ({"methods": [{"method": "refusing", "fit": {"data": "toy"}}]}, "share"),
        ({"utility": {"benchmark": "toy", "choose": 0.5, "report": "train"}}, "nothing in toy to judge"),
        ({"safety": {"benchmark": "toy", "choose": {"benchmark": "toy", "split": "test"}, "report": "test"}}, "chosen"),
    ],
)
def test_what_can_be_known_beforehand_fails_before_anything_is_asked(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    from pydantic import ValidationError

    with pytest.raises((InputError, ValidationError), match=said):
        Sweep(config(tmp_path, **changes), tmp_path / "out").run()
    assert not asked(tmp_path)


def test_a_method_that_does_not_fit_the_target_fails_before_anything_is_asked(tmp_path: Path) -> None:
    methods = [
        {"method": "refusing", "grid": {"strength": [0.5]}},
        {"method": "refusing,wrong=1,strength=1", "name": "x"},
    ]
    with pytest.raises(InputError, match="another shape"):
        Sweep(config(tmp_path, methods=methods), tmp_path / "out").run()
    assert not asked(tmp_path)


def test_progress_counts_answers_and_ends_at_all_of_them(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    sweep = Sweep(config(tmp_path), tmp_path / "out", lambda done, total, doing: seen.append((done, total)))
    sweep.run()
    assert seen[-1][0] == seen[-1][1] == sum(asked(tmp_path).values())
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert sum(sweep.planned.values()) == seen[-1][1]


def typed(tmp_path: Path, out: str, delay: float) -> subprocess.Popen[str]:
    """`holisafe calibrate sweep` in a process of its own, over the reminder's wordings."""
    told = config(tmp_path, target=f"toy/m,log={tmp_path / 'log'},delay={delay}").model_dump(mode="json")
    told |= {"methods": [{"method": "reminder", "grid": {"wording": ["brief", "strict"]}}], "judge": "string-match"}
    told["safe"] = told["out"] = None
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(told))
    command = [sys.executable, "-c", "from holisafe.cli import main; main()", "calibrate", "sweep"]
    return subprocess.Popen(
        [*command, str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / out)],
        env=toy_plugin.environment(tmp_path / "installed"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def after(tmp_path: Path, answers: int, process: subprocess.Popen[str], number: int) -> None:
    """Send a signal once so many answers were given."""
    while process.poll() is None and sum(asked(tmp_path).values()) < answers:
        time.sleep(0.005)
    process.send_signal(number)


def results(folder: Path) -> Any:
    found = json.loads((folder / "frontier.json").read_text())
    for point in found["points"]:
        for phase in filter(None, (point["choose"], point["report"])):
            phase["latency"] = phase["latency_ratio"] = None
    return found["points"], found["fronts"], found["picks"]


def test_killed_and_stopped_in_the_middle_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    undisturbed = typed(tmp_path, "whole", 0.0)
    printed, _ = undisturbed.communicate(timeout=120)
    assert undisturbed.returncode == 0, printed
    (tmp_path / "log").unlink()

    killed = typed(tmp_path, "broken", 0.005)
    after(tmp_path, 30, killed, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    stopped = typed(tmp_path, "broken", 0.005)
    after(tmp_path, 70, stopped, signal.SIGINT)
    printed, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 3, printed
    assert "goes on" in printed
    assert not (tmp_path / "broken" / "frontier.json").exists()
    last = typed(tmp_path, "broken", 0.005)
    printed, _ = last.communicate(timeout=120)
    assert last.returncode == 0, printed
    assert (tmp_path / "broken" / "frontier.html").stat().st_size > 10_000
    first, second = results(tmp_path / "whole"), results(tmp_path / "broken")
    for point in (*first[0], *second[0]):
        point["target"], point["folders"] = None, None  # another delay is another target
    assert first == second
    kinds = 3 * 33 + 33  # three settings to choose on, one to report: half of 60 pairs and of 6 questions each
    assert sum(asked(tmp_path).values()) <= kinds + 2 * 4  # only calls in flight were made again
