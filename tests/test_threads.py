"""Who waits asleep, and how many threads a model gets: asked of the OpenMP runtime and of torch in fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from holisafe.threads import SLEEPING

MODELS = """
import torch
from torch import nn
from holisafe import threads
from holisafe.threads import choose_threads
threads.FEW = 1  # or two CPUs would not show it
small, large = nn.Linear(100, 100), nn.utils.skip_init(nn.Linear, 6000, 6000, dtype=torch.bfloat16)
"""


def said(code: str, **environment: str) -> tuple[str, str]:
    """What a fresh Python prints, and what it complains of."""
    clean = {name: value for name, value in os.environ.items() if name not in (*SLEEPING, "OMP_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**clean, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_the_runtime_that_torch_loads_sleeps_while_it_waits() -> None:
    shown = said("import holisafe, torch", OMP_DISPLAY_ENV="VERBOSE")[1]
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in shown
    assert "GOMP_SPINCOUNT = '0'" in shown


def test_who_sets_the_policy_keeps_it() -> None:
    shown = said("import holisafe, torch", OMP_DISPLAY_ENV="VERBOSE", OMP_WAIT_POLICY="ACTIVE")[1]
    assert "OMP_WAIT_POLICY = 'ACTIVE'" in shown
    assert "GOMP_SPINCOUNT = '0'" not in shown


@pytest.mark.parametrize("module", ["holisafe.guard.head", "holisafe.cli", "holisafe.metrics.rates"])
def test_every_way_in_passes_there(module: str) -> None:
    assert said(f"import {module}, os; print(os.environ['OMP_WAIT_POLICY'])")[0] == "PASSIVE\n"


needs_two = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")


@needs_two
def test_a_small_model_gets_few_threads_and_a_large_one_every_cpu() -> None:
    code = MODELS + "for model in (small, large, small): choose_threads(model); print(torch.get_num_threads())"
    cpus = len(os.sched_getaffinity(0))
    assert said(code)[0].split() == ["1", str(cpus), str(cpus)]  # the large one is still there
    assert said(code, LOKY_MAX_CPU_COUNT="1")[0].split() == ["1", "1", "1"]
    assert said("import os; os.sched_setaffinity(0, {0})\n" + code)[0].split() == ["1", "1", "1"]


@needs_two
def test_who_sets_a_number_keeps_it() -> None:
    code = MODELS + "choose_threads(small); print(torch.get_num_threads())"
    assert said(code, OMP_NUM_THREADS="2")[0] == "2\n"
    code += "\ntorch.set_num_threads(2); choose_threads(small); print(torch.get_num_threads())"
    assert said(code)[0].split() == ["1", "2"]


@needs_two
def test_a_model_is_counted_where_it_is_loaded() -> None:
    code = MODELS + "from holisafe.guard import load_model; load_model('pictovlm'); print(torch.get_num_threads())"
    assert said(code)[0] == "1\n"
