"""How models use the CPU: threads that sleep while they wait, and no more of them than help.

A thread that spins for its neighbours is cheap on an idle machine and ruinous on a busy one: 22 steps of tuning
PictoVLM took 78 s of CPU beside other work when two threads spun, 15 s when they slept (`benches/bench_busy.py`).
"""

from __future__ import annotations

import os
from typing import Any

SLEEPING = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}
"""What the OpenMP runtimes and OpenBLAS read when they are loaded."""

SMALL = 30_000_000
"""A model of fewer parameters has too little to do in one operation for many threads."""
FEW = 2
"""What it gets. Two are faster than one on a quiet machine; among others they cost a sixth to a third more CPU time."""

_threads: list[int] = []
"""How many torch came with, and how many were chosen last."""


def sleep_while_waiting() -> None:
    """Set `SLEEPING` for this process and its children, unless one of them is set already. Libraries that are loaded
    before keep their ways."""
    if SLEEPING.keys().isdisjoint(os.environ):
        os.environ.update(SLEEPING)


def choose_threads(model: Any) -> None:
    """Let torch work with as many threads as suit a model that is about to run here: `FEW` for a small one, else one
    for every CPU that affinity and the container's quota leave to this process. Of several models the largest decides.

    Never more than torch came with, and nothing is changed where the caller decides: with OMP_NUM_THREADS, or with
    `torch.set_num_threads` between two models.
    """
    import torch
    from joblib import cpu_count

    now = torch.get_num_threads()
    most, last = _threads or (now, 1)
    elsewhere = next(model.parameters()).device.type != "cpu"
    if elsewhere or "OMP_NUM_THREADS" in os.environ or (_threads and now != last):
        return
    size = sum(parameter.numel() for parameter in model.parameters())
    wanted = min(most, cpu_count())
    _threads[:] = most, max(last, min(wanted, FEW) if size < SMALL else wanted)
    torch.set_num_threads(_threads[1])
