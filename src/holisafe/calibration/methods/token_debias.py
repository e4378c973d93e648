"""`token-debias`: take off what tuning added to the first tokens of every answer, whatever was asked.

    fit      random questions and beginnings -> aligned minus reference log-probabilities, their mean [positions, V]
    answer   logits of the first tokens - s times that mean

Source: TSDI (arXiv 2502.02153). `decoding/token_bias.py` says what is computed, and what the paper leaves open.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InputError
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, FitData, local_model, read_options
from ..learned import Learned, load_learned

METHOD = "token-debias"
Count = Annotated[int, Field(ge=1)]


class DebiasOptions(BaseModel):
    """`file` is what `fit` wrote. `s` says how much of the bias is taken off: 1, the paper's, all of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    s: Annotated[float, Field(allow_inf_nan=False)] = 1.0


class FitOptions(BaseModel):
    """`reference`: the model before it was aligned, with the same vocabulary, as a folder or hub id; `adapter-off`: the
    target without its adapter. `positions`: how many first tokens. `prompts` contexts with questions of `length`
    tokens, drawn by `seed` from the `pool`: `vocabulary`, or a text file. `image`: none, or one grey picture."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: str
    positions: Annotated[int, Field(ge=1, le=64)] = 5
    prompts: Count = 500
    length: Count = 20
    pool: str = "vocabulary"
    image: Literal["none", "neutral"] = "none"
    seed: Annotated[int, Field(ge=0)] = 0


@calibrations.register(METHOD, summary="take tuning's bias off the first tokens", needs="a model here, and its base")
class TokenDebias(Calibrated):
    """A target whose first tokens are debiased. Nothing is known of its likelihoods: only what it generates changes."""

    fits_without_data = True

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        options = read_options(DebiasOptions, told, METHOD)
        learned = load_learned(options.file, METHOD)
        self.model, self.s, self.bias = local_model(target, METHOD), options.s, learned.numbers("bias", axes=2)
        outputs = self.model.inner.get_output_embeddings().weight.shape[0]
        if self.bias.shape[1] > outputs:
            problem = f"was fitted on {self.bias.shape[1]:,} tokens; {self.model.name} knows {outputs:,}"
            raise InputError(problem, where=options.file)
        super().__init__(target, METHOD, told, file=learned.content, fit=learned.facts.get("fit"), s=self.s)
        self.capabilities = replace(self.capabilities, likelihoods=False)

    def asking(self) -> AbstractContextManager[Any]:
        from ..decoding.token_bias import debiased

        return debiased(self.model.inner, self.bias, self.s) if self.s else nullcontext()

    @classmethod
    def fit(cls, target: Target, data: FitData | None, options: dict[str, str]) -> Learned:
        """The mean difference of log-probabilities over random contexts; `data` are not needed."""
        import numpy as np

        from ...guard import load_model, load_processor
        from ..decoding.token_bias import contexts, log_probabilities, most_moved

        chosen, model = read_options(FitOptions, options, METHOD), local_model(target, METHOD)
        tokenizer = model.processor.tokenizer
        drawn = contexts(tokenizer, chosen.pool, chosen.prompts, chosen.length, chosen.positions, chosen.seed)

        def mean(asked: Any) -> Any:
            total, count = log_probabilities(model, asked, drawn, chosen.positions, chosen.image == "neutral")
            return (total / count[:, None]).numpy()

        aligned = mean(model.model)
        if chosen.reference == "adapter-off":
            if not hasattr(model.model, "disable_adapter"):
                raise InputError(f"calibration {METHOD}: {model.name} has no adapter to leave off; name its base")
            with model.model.disable_adapter():
                reference = mean(model.model)
        else:
            known = tokenizer.get_vocab()
            theirs = load_processor(chosen.reference).tokenizer.get_vocab()
            if other := [word for word, number in theirs.items() if known.get(word) != number]:
                problem = f"another vocabulary than {model.name}'s: {len(other):,} tokens differ"
                raise InputError(problem, where=chosen.reference)
            device = str(model.inner.device)
            reference = mean(load_model(chosen.reference, dtype=model.inner.dtype, device=device))
        shared = min(aligned.shape[1], reference.shape[1])
        bias = (aligned[:, :shared] - reference[:, :shared]).astype(np.float32)
        return Learned(
            METHOD,
            {"bias": bias},
            {
                "fit": chosen.model_dump(),
                "likelier": most_moved(bias, tokenizer.decode),
            },
        )
