"""Everything `holisafe run` can be told, as one typed object: from flags, from a YAML file, or from both.

benchmark: holisafe-bench
root: data/holisafe-bench
target: openai/qwen2.5-vl,base_url=http://127.0.0.1:8000/v1
judges: [string-match, "llm/holisafe/openai/gpt-4o"]
out: runs/qwen

A grid names several, each a run folder of its own in OUT; names may be given: `targets: {before: hf/a, after: hf/b}`.

benchmarks: [pictosafe, "xstest:data/xstest.csv"]
targets: [hf/pictovlm, openai/gpt-4o-mini]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..errors import InputError
from ..records import GenerationSettings
from ..specs import check_ordered
from ..thoughts import reasoning_settings
from ..typed_yaml import read_yaml, validated

if TYPE_CHECKING:
    from ..targets.base import Target

Count = Annotated[int, Field(ge=1)]
Several = Annotated[tuple[str, ...] | dict[str, str], Field(min_length=1)]


class RunConfig(BaseModel):
    """One run, or a grid of them. Paths are relative to where the command is given, as with flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str | None = None
    benchmarks: Several | None = None
    target: str | None = None
    targets: Several | None = None
    judges: Annotated[tuple[str, ...], Field(min_length=1)]
    out: Path
    root: str | None = None
    split: str | None = None
    limit: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    repeats: Count = 1
    max_tokens: Count = 512
    temperature: Annotated[float, Field(ge=0)] = 0.0
    system: str | None = None
    reasoning: str | int | bool | None = None
    calibrate: tuple[str, ...] = ()
    attack: tuple[str, ...] = ()
    probe: bool = True
    base_url: str | None = None
    max_in_flight: Count | None = None
    max_cost: Annotated[float, Field(ge=0)] | None = None
    fail_if: tuple[str, ...] = ()

    @field_validator("reasoning")
    @classmethod
    def _a_choice(cls, told: str | int | bool | None) -> str | int | None:
        """YAML takes off and on for false and true."""
        found = {False: "off", True: "on"}[told] if isinstance(told, bool) else told
        try:
            reasoning_settings(found or "off")
        except InputError as error:
            raise ValueError(error.problem) from None
        return found

    @property
    def generation(self) -> GenerationSettings:
        """How models are asked to decode."""
        return GenerationSettings(
            max_new_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
            system=self.system,
            **({} if self.reasoning is None else reasoning_settings(self.reasoning)),
        )

    @property
    def specs(self) -> str | list[str] | dict[str, str]:
        """The target, or those of a grid, with what --base-url and --max-in-flight say of them."""
        told = {"base_url": self.base_url, "max_in_flight": self.max_in_flight}
        more = "".join(f",{name}={value}" for name, value in told.items() if value is not None)
        if isinstance(self.targets, dict):
            return {name: spec + more for name, spec in self.targets.items()}
        return [spec + more for spec in self.targets] if self.targets is not None else f"{self.target}{more}"

    @property
    def is_grid(self) -> bool:
        """Whether OUT holds several run folders rather than being one."""
        return self.benchmarks is not None or self.targets is not None

    def prepared(self, target: Target) -> Target:
        """The target as it is asked: calibrated, and attacked from outside."""
        from ..calibration import attacked, calibrated

        return attacked(calibrated(target, self.calibrate), self.attack)


FLAGS = {"benchmark": "BENCH", "target": "--target", "judges": "--judge", "out": "--out"}
"""What must be given, and how it is given on the command line."""


TYPE_IT = "give it as a flag, or say --trust-file where you know who wrote the file"


def run_config(benches: Sequence[str], flags: Mapping[str, Any], trust_file: bool = False) -> RunConfig:
    """The run or grid that benchmarks, or a YAML file ending in .yaml or .yml, and the given flags describe.

    A flag wins over the file. Raises InputError naming file and field for a wrong or missing setting, and, without
    `trust_file`, for one that only the user may give (`specs.FOR_THE_USER_TO_TYPE`).
    """
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    bench = next((one for one in benches if one.endswith((".yaml", ".yml"))), benches[0])
    from_file = bench.endswith((".yaml", ".yml"))
    if from_file and len(benches) > 1:
        raise InputError("stands alone: it names its benchmarks itself", where=bench)
    named: dict[str, Any] = {"benchmark": bench} if len(benches) == 1 else {"benchmarks": list(benches)}
    written: dict[str, Any] = read_yaml(Path(bench)) if from_file else named
    where = bench if from_file else None
    values = {**written, **given}
    if from_file and not trust_file:
        check_ordered({name: value for name, value in written.items() if name not in given}, bench, TYPE_IT)
    if "target" in given:
        values.pop("targets", None)
    for name in ("benchmark", "target"):
        if name in values and f"{name}s" in values:
            raise InputError(f"{name} and {name}s exclude each other", where=where, field=f"{name}s")
    if values.get("root") is not None and "benchmarks" in values:
        raise InputError("--root is for one benchmark; of several each says its own, as BENCH:ROOT", where=where)
    for name, flag in FLAGS.items():
        if name not in values and f"{name}s" not in values:
            told = f"no {name!r} here, and no {flag} given" if from_file else f"missing option {flag!r}"
            raise InputError(f"{told} (see: holisafe run --help)", where=where)
    return validated(RunConfig, values, where or "command line")
