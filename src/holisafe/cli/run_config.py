"""Everything `holisafe run` can be told, as one typed object: from flags, from a YAML file, or from both.

benchmark: holisafe-bench
root: data/holisafe-bench
target: openai/qwen2.5-vl,base_url=http://127.0.0.1:8000/v1
judges: [string-match, "llm/holisafe/openai/gpt-4o"]
out: runs/qwen
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from ..specs import check_ordered
from ..typed_yaml import read_yaml, validated

Count = Annotated[int, Field(ge=1)]


class RunConfig(BaseModel):
    """One run. Paths are relative to where the command is given, as with flags."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    target: str
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
    calibrate: tuple[str, ...] = ()
    base_url: str | None = None
    max_in_flight: Count | None = None
    max_cost: Annotated[float, Field(ge=0)] | None = None
    fail_if: tuple[str, ...] = ()

    @property
    def target_spec(self) -> str:
        """The target with what --base-url and --max-in-flight say of it."""
        told = {"base_url": self.base_url, "max_in_flight": self.max_in_flight}
        return ",".join([self.target, *(f"{name}={value}" for name, value in told.items() if value is not None)])


FLAGS = {"benchmark": "BENCH", "target": "--target", "judges": "--judge", "out": "--out"}
"""What must be given, and how it is given on the command line."""


TYPE_IT = "give it as a flag, or say --trust-file where you know who wrote the file"


def run_config(bench: str, flags: Mapping[str, Any], trust_file: bool = False) -> RunConfig:
    """The run that a benchmark's name, or a YAML file ending in .yaml or .yml, and the given flags describe.

    A flag wins over the file. Raises InputError naming file and field for a wrong or missing setting, and, without
    `trust_file`, for one that only the user may give (`specs.FOR_THE_USER_TO_TYPE`).
    """
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    from_file = bench.endswith((".yaml", ".yml"))
    written: dict[str, Any] = read_yaml(Path(bench)) if from_file else {"benchmark": bench}
    where = bench if from_file else None
    values = {**written, **given}
    if from_file and not trust_file:
        check_ordered({name: value for name, value in written.items() if name not in given}, bench, TYPE_IT)
    for name, flag in FLAGS.items():
        if name not in values:
            told = f"no {name!r} here, and no {flag} given" if from_file else f"missing option {flag!r}"
            raise InputError(f"{told} (see: holisafe run --help)", where=where)
    return validated(RunConfig, values, where or "command line")
