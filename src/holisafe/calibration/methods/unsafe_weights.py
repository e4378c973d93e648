"""`unsafe-weights`: find the weights that serve unsafe inputs more than safe ones, and negate them.

    fit      pairs (safe, unsafe) -> scores of the weights of chosen linear layers -> flat indices of those marked
    answer   marked weights * alpha ─ the model answers ─ marked weights back, bit for bit

Source: Unsafe Weights Manipulation (arXiv 2503.11742). The scores are dense, as large as the layers, so the file keeps
the weights that `tau` marks and not their scores: alpha may be chosen when answering, tau and layers when fitting.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from math import prod
from typing import Annotated, Any

from pydantic import BaseModel, Field

from ...errors import InputError
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, FitData, Options, local_model, read_options
from ..learned import Learned, load_learned

METHOD = "unsafe-weights"


class UnsafeWeightsOptions(Options):
    """`file` is what `fit` wrote. `alpha` multiplies the marked weights: -1 negates, 0 removes, 1 leaves them."""

    file: str
    alpha: Annotated[float, Field(allow_inf_nan=False)] = -1.0


class FitOptions(Options):
    """`layers`: a regular expression on the names of linear layers. `tau`: in each layer, the weights of the lowest
    scores that together hold this share of all score are left alone, which the authors' code calls sparsity (0.98). The
    paper's tau is the rest, the share of score that is taken (0.02). `times_weight`: scores are multiplied by |W|, as
    the authors' code does for a text encoder, and for no other."""

    layers: str
    tau: Annotated[float, Field(ge=0, lt=1)] = 0.98
    times_weight: bool = False


class Marked(BaseModel):
    """What the file tells of a layer."""

    shape: list[int]


@calibrations.register(METHOD, summary="negate the weights that serve unsafe inputs", needs="a model on this machine")
class UnsafeWeights(Calibrated):
    """A target whose marked weights are multiplied by alpha while it answers."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        options = read_options(UnsafeWeightsOptions, told, METHOD)
        learned = load_learned(options.file, METHOD)
        model = local_model(target, METHOD)
        fitted_on = (learned.fact("model", dict[str, Any] | None) or {}).get("fingerprint")
        if fitted_on is not None and fitted_on != model.describe()["fingerprint"]:
            raise InputError(f"was fitted on another model than {model.name}", where=options.file)

        from ..weight.layers import layers_named

        shapes = {name: found.shape for name, found in learned.fact("layers", dict[str, Marked]).items()}
        self.layers = layers_named(model.inner, shapes)
        self.marked = {name: learned.numbers(name, axes=1) for name in shapes}
        for name, places in self.marked.items():
            if places.dtype.kind not in "iu" or (places < 0).any() or (places >= prod(shapes[name])).any():
                raise InputError("names weights that the layer has not", where=options.file, field=name)
        self.alpha = options.alpha
        super().__init__(target, METHOD, told, file=learned.content, alpha=options.alpha)

    def asking(self) -> AbstractContextManager[None]:
        from ..weight.layers import scaled

        return scaled(self.layers, self.marked, self.alpha)

    @classmethod
    def fit(cls, target: Target, data: FitData, options: dict[str, str]) -> Learned:
        """Score the weights of the chosen layers over the training pairs' requests; keep which are marked."""
        from ..weight.layers import layers_like
        from ..weight.partners import partners
        from ..weight.saliency import marked_weights, read_inputs, unsafe_scores

        chosen, model = read_options(FitOptions, options, METHOD), local_model(target, METHOD)
        layers, pairs = layers_like(model.inner, chosen.layers), partners(data)
        samples = list({sample.id: sample for pair in pairs for sample in (pair.safe, pair.unsafe)}.values())
        place = {sample.id: at for at, sample in enumerate(samples)}
        safe, unsafe = [place[pair.safe.id] for pair in pairs], [place[pair.unsafe.id] for pair in pairs]
        inputs = read_inputs(model, layers, (data.benchmark.request(sample, model.settings) for sample in samples))

        def scores(name: str, layer: Any) -> Any:
            return unsafe_scores(layer.weight, inputs[name][safe], inputs[name][unsafe], chosen.times_weight)

        marked = {name: marked_weights(scores(name, layer), chosen.tau) for name, layer in layers.items()}
        facts = {
            "tau": chosen.tau,
            "times_weight": chosen.times_weight,
            "layers": {
                name: {"shape": list(layer.weight.shape), "marked": len(marked[name])} for name, layer in layers.items()
            },
            "pairs": len(pairs),
            "pairs_of_one_cluster": sum(pair.alike for pair in pairs),
        }
        return Learned(METHOD, {name: indices.numpy() for name, indices in marked.items()}, facts)
