"""What a tuning run does, as a typed YAML file: every setting has a default, an unknown one is an error.

Source of the defaults: HoliSafe (arXiv 2506.04704), the guard's shape and joint loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import InputError
from ..typed_yaml import parse_yaml, read_yaml, validated

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Guard(Section):
    """The Visual Guard Module trained along. A base that already has one keeps its shape."""

    enabled: bool = True
    loss_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """lambda: what the guard's cross-entropy weighs beside the answer's."""
    hidden_scale: Positive = 0.5
    hidden_layers: Count = 1
    dropout: Fraction = 0.1
    learning_rate: Positive | None = None
    """The head's own learning rate; None: the same as the rest."""


class Lora(Section):
    """Low-rank adapters on those linear layers of the language model whose own name matches `targets`, a regular
    expression."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Fraction = 0.05
    targets: str = r"q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
    save: Literal["merged", "adapter"] = "merged"


class Trainable(Section):
    """Which weights move. `full` means the language model's own; the guard's head always trains where there is one."""

    method: Literal["full", "lora"] = "full"
    projector: bool = True
    vision: bool = False
    lora: Lora = Lora()


class Data(Section):
    """What to take of the data. `shares` maps a combination, or `utility` for data without one, to how much of it to
    use: 0 drops it, 0.5 keeps half, 2 shows it twice an epoch; what is not named counts 1."""

    shares: dict[str, Annotated[float, Field(ge=0.0, le=100.0)]] = {}
    max_examples: Count | None = None


class Optimiser(Section):
    """AdamW with a warm-up. `max_steps`, when given, ends the run instead of `epochs`."""

    epochs: Positive = 3.0
    max_steps: Count | None = None
    batch_size: Count = 8
    gradient_accumulation: Count = 1
    learning_rate: Positive = 2e-5
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    betas: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]] = (0.9, 0.999)
    max_grad_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Gradients are clipped to this norm; 0: not at all."""


class Compute(Section):
    """How the numbers are worked out. None of these changes what is optimised."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the weights are held in."""
    bf16: bool = False
    """Multiply in bfloat16 (autocast)."""
    attention: Literal["eager", "sdpa", "flash_attention_2"] | None = None
    """Which attention kernel; None: the model's own choice. On a CPU, eager trains short sequences much faster."""
    gradient_checkpointing: bool = False
    group_by_length: bool = False
    cache_vision: bool = False
    """Run a frozen vision tower once an image and look its output up afterwards."""
    cache_megabytes: Annotated[int, Field(ge=0)] = 1024
    """How much memory prepared examples may take, so that they are prepared once and not every epoch."""
    log_every: Count = 10


class Recipe(Section):
    """A whole tuning run but for its base model and data."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    guard: Guard = Guard()
    trainable: Trainable = Trainable()
    data: Data = Data()
    optimiser: Optimiser = Optimiser()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.compute.cache_vision and self.trainable.vision:
            raise ValueError("compute.cache_vision needs trainable.vision to be false: a moving tower cannot be cached")
        return self

    def with_settings(self, settings: Iterable[str]) -> Recipe:
        """The recipe with `guard.loss_weight=0.5` and the like laid over it. Raises InputError for a bad one."""
        values = self.model_dump()
        for setting in settings:
            path, equals, text = setting.partition("=")
            *sections, field = path.split(".")
            inner: Any = values
            for section in sections:
                inner = inner.get(section) if isinstance(inner, dict) else None
            if not equals or not isinstance(inner, dict):
                raise InputError(f"{setting!r} is not written SECTION.SETTING=VALUE", where="recipe")
            try:
                inner[field] = yaml.safe_load(text)
            except yaml.YAMLError:
                raise InputError(f"unreadable value {text!r}", where="recipe", field=path) from None
        return validated(Recipe, values, "recipe")


def shipped() -> list[str]:
    """Names of the recipes in this package."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by the name of a shipped one or the path of a YAML file. Raises InputError naming file and field."""
    path = Path(name)
    if str(name) in shipped():
        return validated(Recipe, parse_yaml(_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8"), path), path)
    if not path.suffix and not path.exists():
        raise InputError(f"no recipe is called {str(name)!r}; known: {', '.join(shipped())}, or a .yaml file")
    return validated(Recipe, read_yaml(path), path)


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe with every setting spelled out, defaults included."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _folder() -> Any:
    return files(__package__).joinpath("recipes")
