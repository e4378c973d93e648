"""DeepSpeed ZeRO-3, where it is installed, on two processes and a CPU: the shipped config trains what one process does,
and nothing of it is rounded away."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml

import holisafe
import tiny_models
from holisafe.tuning.recipe import Recipe
from holisafe.tuning.train import tune
from tuning.colours import colour_file
from tuning.test_family_recipes import CONFIGS

RANKS = 2


def tuned(base: Path, data: Path, out: Path, *, method: str, accumulation: int, bf16: bool) -> None:
    settings = [
        "guard.dropout=0.0",
        f"trainable.method={method}",
        "trainable.lora.dropout=0.0",
        "optimiser.batch_size=2",
        "optimiser.max_steps=3",
        f"optimiser.gradient_accumulation={accumulation}",
        f"compute.bf16={str(bf16).lower()}",
    ]
    tune(base, str(data), Recipe().with_settings(settings), out, seed=5)


def by_two(base: Path, data: Path, out: Path, method: str, *, bf16: bool) -> None:
    """This file as a script, launched with the shipped config but for the number of processes and the device."""
    shipped = yaml.safe_load((CONFIGS / "zero3_8gpu.yaml").read_text())
    precision = "bf16" if bf16 else "no"
    config = out.with_suffix(".yaml")
    config.write_text(
        yaml.safe_dump({**shipped, "num_processes": RANKS, "use_cpu": True, "mixed_precision": precision})
    )
    script = [str(Path(__file__)), str(base), str(data), str(out), method, str(bf16)]
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--main_process_port",
        "0",
        "--config_file",
        str(config),
    ]
    environment = {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [*launch, *script], env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert told.returncode == 0, told.stderr[-3000:]


@pytest.mark.skipif(find_spec("deepspeed") is None, reason="deepspeed is not installed")
@pytest.mark.parametrize(("method", "bf16"), [("full", False), ("lora", True)])
def test_two_processes_train_what_one_does(method: str, bf16: bool, tmp_path: Path) -> None:
    base, data = tiny_models.llava(tmp_path / "base", spread=1.5), colour_file(tmp_path / "data", copies=6)
    by_two(base, data, tmp_path / "two", method, bf16=bf16)
    tuned(base, data, tmp_path / "alone", method=method, accumulation=RANKS, bf16=bf16)
    mine, theirs = (dict(holisafe.load_guarded(tmp_path / name).named_parameters()) for name in ("alone", "two"))
    start = dict(holisafe.guard.load_model(base).named_parameters())
    moved = max(float((mine[name] - start[name]).detach().abs().max()) for name in start)
    assert moved > 1e-5, "vacuous: nothing moved"
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        if not bf16:
            torch.testing.assert_close(theirs[name], value, atol=1e-6, rtol=1e-4, msg=lambda t, n=name: f"{n}: {t}")
        elif name in start and torch.equal(value, start[name]):
            assert torch.equal(value, theirs[name]), f"{name}: nobody trained it"
    head = theirs["img_safety_head.mlp.0.weight"]
    assert not torch.equal(head, head.bfloat16().float()), "rounded"


if __name__ == "__main__":
    torch.set_num_threads(1)
    base, data, out = map(Path, sys.argv[1:4])
    tuned(base, data, out, method=sys.argv[4], accumulation=1, bf16=sys.argv[5] == "True")
