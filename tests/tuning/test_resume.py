"""A run killed outright goes on where its last checkpoint stands, to the very numbers of one that was let be."""

from __future__ import annotations

import copy
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tiny_models
from holisafe.errors import InputError
from holisafe.journal import write_json
from holisafe.tuning.recipe import Recipe
from holisafe.tuning.resume import LOG, RUN, check_same_run, last_checkpoint, unfinished
from holisafe.tuning.train import tune
from tuning.colours import colour_file

SETTINGS = [
    "optimiser.learning_rate=3e-3",
    "optimiser.batch_size=3",
    "optimiser.gradient_accumulation=2",
    "optimiser.epochs=3",
    "compute.log_every=2",
    "compute.save_every=1",
    "guard.dropout=0.3",
]
VARIANTS = {
    "full": [],
    "lora, like lengths": ["trainable.method=lora", "trainable.lora.dropout=0.3", "compute.group_by_length=true"],
}
KILLED_AT = {"full": 5, "lora, like lengths": 3}
"""Steps (of 9, three an epoch): in the midst of an epoch, and at the end of one."""

KILLED = """
import os, signal, sys
from holisafe.tuning.recipe import Recipe
from holisafe.tuning.train import tune

def stop(step, steps, losses):
    if step == int(sys.argv[4]) + 1:
        os.kill(os.getpid(), signal.SIGKILL)

tune(sys.argv[1], sys.argv[2], Recipe().with_settings(sys.argv[5:]), sys.argv[3], seed=4, progress=stop)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("base") / "llava", spread=1.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(colour_file(tmp_path_factory.mktemp("data")))


def curve(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "training_log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_goes_on_to_the_same_curve_and_weights(
    base: Path, data: str, tmp_path: Path, variant: str
) -> None:
    settings, out, step = [*SETTINGS, *VARIANTS[variant]], tmp_path / "out", KILLED_AT[variant]
    recipe = Recipe().with_settings(settings)
    through = tune(base, data, recipe, tmp_path / "through", seed=4)
    assert [path.name for path in tmp_path.iterdir()] == ["through"], "the checkpoints are gone"

    command = [sys.executable, "-c", KILLED, str(base), data, str(out), str(step), *settings]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not out.exists()
    checkpoint = last_checkpoint(unfinished(out))
    assert checkpoint is not None
    assert checkpoint.name == f"checkpoint-{step}"

    steps: list[int] = []
    tune(base, data, recipe, out, seed=4, progress=lambda step, *_: steps.append(step))
    assert steps == list(range(step + 1, 10)), "only what was left"
    assert curve(out) == curve(through), "bit for bit"
    first, second = (load_file(folder / "model.safetensors") for folder in (through, out))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not unfinished(out).exists()


def stopped(base: Path, data: str, out: Path, recipe: Recipe, at: int, said: str = "goes on from checkpoint") -> None:
    def stop(step: int, steps: int, losses: dict[str, float]) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=said):
        tune(base, data, recipe, out, progress=stop)


def test_another_run_in_the_same_place_is_refused_with_what_differs(base: Path, data: str, tmp_path: Path) -> None:
    recipe, out = Recipe().with_settings(SETTINGS), tmp_path / "out"
    stopped(base, data, out, recipe, 2)
    for change, said in (
        (["optimiser.learning_rate=1e-3"], r"optimiser\.learning_rate was 0\.003, is 0\.001"),
        (["compute.save_every=null"], r"compute\.save_every was 1, is None"),
        (["data.max_examples=5"], "examples was"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            tune(base, data, recipe.with_settings(change), out)
        assert caught.value.where == unfinished(out)
    with pytest.raises(InputError, match="seed was 0, is 1"):
        tune(base, data, recipe, out, seed=1)
    assert last_checkpoint(unfinished(out)) is not None, "nothing was touched"


def test_a_checkpoint_cut_short_is_passed_over(base: Path, data: str, tmp_path: Path) -> None:
    recipe, out = Recipe().with_settings(SETTINGS), tmp_path / "out"
    stopped(base, data, out, recipe, 4)
    folder = unfinished(out)
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-3"]
    (folder / "checkpoint-3" / LOG).unlink()
    found = last_checkpoint(folder)
    assert found is not None
    assert found.name == "checkpoint-2"
    shutil.rmtree(folder / "checkpoint-2")
    assert last_checkpoint(folder) is None


def test_who_stops_a_run_is_told_what_the_same_command_does(base: Path, data: str, tmp_path: Path) -> None:
    out, late = tmp_path / "out", Recipe().with_settings([*SETTINGS, "compute.save_every=100"])
    stopped(base, data, out, late, 4, "begins anew: nothing was kept yet")
    assert not unfinished(out).exists()
    stopped(base, data, out, Recipe().with_settings(SETTINGS), 4, "goes on from checkpoint-3")


def test_checkpoints_are_kept_unless_somebody_says_no() -> None:
    assert Recipe().compute.save_every


def test_a_setting_that_there_was_not_yet_was_as_it_is_by_default(tmp_path: Path) -> None:
    run = {"base": "b", "recipe": Recipe().model_dump(mode="json")}
    older = copy.deepcopy(run)
    del older["recipe"]["data"]["distort"]
    write_json(tmp_path / "checkpoint-1" / LOG, {})
    write_json(tmp_path / RUN, older)
    check_same_run(tmp_path, run)
    run["recipe"]["data"]["distort"] = 0.5
    with pytest.raises(InputError, match=r"another run: data\.distort was 0\.0, is 0\.5; remove"):
        check_same_run(tmp_path, run)
