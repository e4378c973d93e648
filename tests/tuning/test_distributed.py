"""Two processes train what one would: the joint loss's gradients under DDP and FSDP2, with LoRA too, the ranks after a
step, the checkpoint they write, and a whole tuning run.

Run as a script, with RANK and the like in the environment, this file is one of the two processes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

import holisafe
from guard.checks import without_dropout
from guard.tiny_families import FAMILIES, answer_labels, build, collate, samples
from holisafe.guard import save_guarded
from holisafe.guard.families import text_decoder

FAMILY = FAMILIES["llava-clip"]
RANKS = 2
IMAGES = (1, 0, 2, 1)
"""Of the four samples. Each rank has two, and at least one with an image."""
CASES = [f"{kind}-{weights}" for kind in ("ddp", "fsdp") for weights in ("full", "lora")]
METHODS = ["full", "lora"]
RATE = 0.5


def micro_batch(rank: int) -> dict[str, Tensor]:
    chosen = slice(2 * rank, 2 * rank + 2)
    batch = collate(FAMILY, samples(FAMILY, IMAGES)[chosen])
    labels = torch.tensor([3, 7, 0, 11])[chosen]
    return {**batch, "labels": answer_labels(batch), "safety_labels": labels}


def model_of(case: str, base: Path) -> Any:
    torch.manual_seed(0)
    model: Any = holisafe.attach_guard(holisafe.guard.load_model(base))
    for parameter in model.img_safety_head.parameters():
        nn.init.normal_(parameter, std=0.2)
    if case.endswith("lora"):
        config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["img_safety_head"])
        model = get_peft_model(model, config)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                nn.init.normal_(parameter, std=0.05)
    without_dropout(model)
    return model


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name.removeprefix("module."): p for name, p in model.named_parameters() if p.requires_grad}


def whole(tensor: Any) -> Tensor:
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def step_of(model: nn.Module, losses: list[Tensor]) -> dict[str, Tensor]:
    """Mean the losses, go one step, and give the gradients."""
    for loss in losses:
        (loss / len(losses)).backward()
    parameters = trained(model)
    gradients = {name: whole(p.grad) for name, p in parameters.items() if p.grad is not None}
    torch.optim.SGD(parameters.values(), lr=RATE).step()
    return gradients


# One of the two processes


def distributed_case(case: str, base: Path, folder: Path, rank: int) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    core = model_of(case, base)
    if case.startswith("ddp"):
        wrapped: nn.Module = nn.parallel.DistributedDataParallel(core, find_unused_parameters=True)
    else:
        inner = core.get_base_model() if case.endswith("lora") else core
        for layer in text_decoder(inner).layers:  # type: ignore[union-attr]
            fully_shard(layer)
        wrapped = fully_shard(core)
        assert all(isinstance(parameter, DTensor) for parameter in wrapped.parameters()), "nothing is sharded"
        local = sum(parameter.to_local().numel() for parameter in wrapped.parameters())  # type: ignore[attr-defined]
        assert local < 0.6 * sum(parameter.numel() for parameter in wrapped.parameters())
    output = wrapped(**micro_batch(rank))
    assert output.img_safety_logits.shape == (2, 20)
    gradients = step_of(wrapped, [output.loss])
    after = {name: whole(parameter) for name, parameter in trained(wrapped).items()}
    torch.save({"gradients": gradients, "after": after, "loss": output.loss.detach()}, folder / f"{case}-{rank}.pt")

    if case.startswith("fsdp"):
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_model_state_dict(wrapped, options=options)  # every rank takes part
        if rank == 0:
            core.save_pretrained(folder / case, state_dict=state)
    elif rank == 0:
        save_guarded(wrapped, folder / case)


def tuned(base: Path, data: Path, out: Path, *, accumulation: int, method: str) -> None:
    from holisafe.tuning.recipe import Recipe
    from holisafe.tuning.train import tune

    recipe = Recipe().with_settings(
        [
            "guard.dropout=0.0",
            f"trainable.method={method}",
            "trainable.lora.dropout=0.0",
            "optimiser.batch_size=2",
            "optimiser.max_steps=3",
            f"optimiser.gradient_accumulation={accumulation}",
        ]
    )
    tune(base, str(data), recipe, out, seed=5)


def process(work: str, base: Path, data: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    if work == "cases":
        for case in CASES:
            distributed_case(case, base, folder, torch.distributed.get_rank())
    else:
        for method in METHODS:
            tuned(base, data, folder / f"{method}-by-two", accumulation=1, method=method)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# The test, which starts both and does their work over again alone


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from tiny_models import llava
    from tuning.colours import colour_file

    root = tmp_path_factory.mktemp("distributed")
    build(FAMILY).save_pretrained(root / "base")
    return {
        "base": root / "base",
        "whole": llava(root / "whole"),
        "data": colour_file(root / "data", copies=6),
        "out": root,
    }


def run(work: str, folders: dict[str, Path]) -> Path:
    """Start the two processes, wait, and give the folder in which they left their results."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__)
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(RANKS),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(here.parents[1]),
    }
    base = folders["base" if work == "cases" else "whole"]
    words = [sys.executable, str(here), work, str(base), str(folders["data"]), str(folders["out"])]
    ranks = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(RANKS)]
    started = [subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True) for env in ranks]
    try:
        complaints = [one.communicate(timeout=240)[1] for one in started]
    finally:
        for one in started:
            one.kill()
    assert [one.returncode for one in started] == [0] * RANKS, "\n".join(text[-3000:] for text in complaints)
    return folders["out"]


@pytest.fixture(scope="module")
def ran(folders: dict[str, Path]) -> Path:
    return run("cases", folders)


@pytest.fixture(scope="module")
def tuned_by_two(folders: dict[str, Path]) -> Path:
    return run("tune", folders)


def close(found: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    far = {
        name: float((found[name] - wanted[name]).abs().max())
        for name in wanted
        if not torch.allclose(found[name], wanted[name], rtol=1e-4, atol=tolerance)
    }
    assert not far, far


@pytest.mark.parametrize("case", CASES)
def test_two_processes_do_what_one_does(case: str, ran: Path, folders: dict[str, Path]) -> None:
    alone = model_of(case, folders["base"])
    losses = [alone(**micro_batch(rank)).loss for rank in range(RANKS)]
    expected = step_of(alone, losses)
    after = {name: parameter.detach() for name, parameter in trained(alone).items()}
    assert max(float(g.abs().max()) for name, g in expected.items() if "img_safety_head" in name) > 1e-3, "vacuous"
    one, other = (torch.load(ran / f"{case}-{rank}.pt") for rank in range(RANKS))
    for rank, loss in enumerate(losses):
        assert float((one, other)[rank]["loss"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    given = {name: gradient for name, gradient in one["gradients"].items() if name in expected or gradient.any()}
    close(given, expected, 1e-5)
    assert all(torch.equal(one["after"][name], other["after"][name]) for name in after), "the ranks drifted apart"
    close(one["after"], after, 1e-5)

    again = holisafe.load_guarded(ran / case)
    with torch.no_grad():
        batch, alone = micro_batch(1), alone.eval()
        mine, theirs = alone(**batch), again(**batch)
    assert torch.allclose(mine.img_safety_logits, theirs.img_safety_logits, atol=1e-4)
    assert torch.allclose(mine.logits, theirs.logits, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_tuning_run_by_two_processes_is_that_of_one(
    method: str, tuned_by_two: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    tuned(folders["whole"], folders["data"], tmp_path / "alone", accumulation=RANKS, method=method)
    alone, together = tmp_path / "alone", tuned_by_two / f"{method}-by-two"
    mine, theirs = (dict(holisafe.load_guarded(folder).named_parameters()) for folder in (alone, together))
    start = dict(holisafe.guard.load_model(folders["whole"]).named_parameters())
    assert any(not torch.equal(start[name], mine[name]) for name in start), "vacuous: nothing moved"
    close(theirs, mine, 1e-4)


if __name__ == "__main__":
    process(sys.argv[1], *map(Path, sys.argv[2:]))
