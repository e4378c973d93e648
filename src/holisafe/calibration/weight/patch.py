"""Scale single weights of a model for a while, and put every one back bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indices = Tensor | npt.NDArray[np.int64]


@contextmanager
def scaled(layers: Mapping[str, nn.Linear], marked: Mapping[str, Indices], alpha: float) -> Iterator[None]:
    """Within it, the marked weights of each layer (flat indices into [out, in]) are multiplied by `alpha`.

    Afterwards, also after an exception, they hold the very values they had: these are kept, not computed back, for
    alpha may be 0, and x * 0.5 / 0.5 is not x for every bfloat16. Patches may be nested, the inner one ending first.
    """
    with ExitStack() as patches:
        for name, layer in layers.items():
            patches.enter_context(_scaled_weight(layer.weight, marked[name], alpha))
        yield


@contextmanager
def _scaled_weight(weight: Tensor, indices: Indices, alpha: float) -> Iterator[None]:
    columns = weight.shape[1]
    places = torch.as_tensor(indices, dtype=torch.int64, device=weight.device)
    at = (places // columns, places % columns)
    with torch.no_grad():
        before = weight[at].clone()
        weight[at] = before * alpha
    try:
        yield
    finally:
        with torch.no_grad():
            weight[at] = before
