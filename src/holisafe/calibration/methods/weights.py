"""`weights`: more or less of what tuning changed, without tuning again.

    hf/TUNED --calibrate weights,base=BASE,alpha=1.5      W_base + 1.5 (W_tuned - W_base) while the model answers

Source: linear paths between a model and its fine-tuned self ("Editing models with task arithmetic", arXiv 2212.04089;
for robustness WiSE-FT, arXiv 2109.01903). What only the tuned model has, its guard or new tokens, stays as it is.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InputError
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, local_model, read_options

METHOD = "weights"


class WeightsOptions(BaseModel):
    """`alpha`: 0 the base, 1 the model as tuned, above 1 further along. `base`: the folder or hub id that it was tuned
    from; of an adapter that is not merged, leave it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: Annotated[float, Field(allow_inf_nan=False)]
    base: str | None = None


@calibrations.register(METHOD, summary="take more or less of what tuning changed", needs="a tuned model here")
class Weights(Calibrated):
    """A tuned target that answers with `alpha` times its change from the base."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        from ...guard import load_model
        from ...targets.huggingface import model_fingerprint
        from ..weight.interpolation import changes_from, scalings, whole_copies

        options = read_options(WeightsOptions, told, METHOD)
        model = local_model(target, METHOD)
        self.alpha, self.tables = options.alpha, scalings(model.inner)
        if bool(self.tables) == bool(options.base):
            problem = "carries its adapter, which is scaled: leave out base=" if options.base else "needs base=FOLDER"
            raise InputError(f"calibration {METHOD}: {model.name} {problem}")
        if options.base:
            base = load_model(options.base, dtype=model.inner.dtype, device="cpu")
            held: dict[str, Any] = {name: one.detach() for name, one in base.named_parameters()}
            try:
                self.changes = changes_from(model.inner, held)
            except InputError as error:
                raise InputError(error.problem, where=options.base) from None
            was: str | None = model_fingerprint(options.base, base)
        else:
            self.changes, was = whole_copies(model.inner), None
        super().__init__(target, METHOD, told, alpha=self.alpha, base=was, changed=len(self.changes) + len(self.tables))

    def asking(self) -> AbstractContextManager[None]:
        from ..weight.interpolation import interpolated

        if self.alpha == 1:
            return nullcontext()
        return interpolated(list(self.changes.values()), self.tables, self.alpha)
