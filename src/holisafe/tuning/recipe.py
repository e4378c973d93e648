"""What a tuning run does, as a typed YAML file: every setting has a default, an unknown one is an error.

Source of the defaults: HoliSafe (arXiv 2506.04704), the guard's shape and joint loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator

from ..errors import InputError
from ..specs import check_ordered
from ..taxonomy import IMAGE_LABELS
from ..thoughts import AS_IT_IS, THINK, Marks, own_marks
from ..typed_yaml import parse_value, parse_yaml, read_yaml, validated
from .examples import PAIR_LABELS

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(gt=0)]

OTHER_SPELLINGS = {"optimizer": "optimiser"}

PAIR_POOL = "projected+image_and_text"
"""Where a guard on pairs reads: on a frozen PictoVLM, of what was tried, this told pairs apart best."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Guard(Section):
    """The Visual Guard Module trained along. A base that already has one keeps its shape; its labels, what it pools and
    its unit must be those asked for."""

    enabled: bool = True
    labels: Literal["image", "pair"] | tuple[str, ...] = "image"
    """What the guard names: `image`, the benchmark's twenty image labels; `pair`, whether image and text together are
    safe or unsafe (to be refused); or names of your own, which the data's image labels then are."""
    unit: Literal["sample", "image"] = "sample"
    """One verdict a sample, or one an image, of which the sample's is the worst."""
    loss_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """lambda: what the guard's cross-entropy weighs beside the answer's."""
    hidden_scale: Positive = 0.5
    hidden_layers: Count = 1
    dropout: Fraction = 0.1
    learning_rate: Positive | None = None
    """The head's own learning rate; None: the same as the rest."""
    pool: str | None = None
    """What the head reads, as `attach_guard` takes it; None: by family, and with the labels `pair` image, its features
    and text."""
    class_balance: Literal["none", "inverse"] = "none"
    """`inverse`: an image's cross-entropy weighs as the inverse of how often its label occurs in the data."""
    class_balance_cap: Annotated[float, Field(ge=1.0)] = 10.0
    """No label weighs more than so many times what it would if all were equally frequent."""

    cache: bool = False
    """With `trainable.method: guard`: work out once, not every epoch, what the head reads of each example."""

    @field_validator("labels", mode="before")
    @classmethod
    def _known(cls, labels: Any) -> Any:
        names = labels if isinstance(labels, list | tuple) else ()
        told_apart = all(isinstance(name, str) and name for name in names) and len({*names}) == len(names) >= 2
        if labels not in ("image", "pair") and not told_apart:
            raise ValueError("labels are image, pair, or a list of two or more different names")
        return labels

    @property
    def label_names(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""
        if isinstance(self.labels, tuple):
            return self.labels
        return PAIR_LABELS if self.labels == "pair" else IMAGE_LABELS

    @property
    def data_labels(self) -> tuple[str, ...]:
        """What the data's image labels may be."""
        return self.labels if isinstance(self.labels, tuple) else IMAGE_LABELS

    @property
    def source(self) -> str | None:
        """What a new head reads; None: by family."""
        return PAIR_POOL if self.pool is None and self.labels == "pair" else self.pool

    @property
    def reads_token(self) -> bool:
        """Whether the head reads the Safety Meta Token."""
        return "token" in (self.source or "").split("+")


class Lora(Section):
    """Low-rank adapters on those linear layers of the language model whose own name matches `targets`, a regular
    expression."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Fraction = 0.05
    targets: str = r"q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
    save: Literal["merged", "adapter"] = "merged"


class Trainable(Section):
    """Which weights move. `full` means the language model's own, `lora` adapters on it; the guard's head always trains
    where there is one. `guard`: the head alone, on a frozen model, whatever `projector` says."""

    method: Literal["full", "lora", "guard"] = "full"
    projector: bool = True
    vision: bool = False
    lora: Lora = Lora()


class Objective(Section):
    """What is learnt of the answers, beside the guard's loss; `objectives` says how each is computed and where it comes
    from. `dpo` and `unlearn` learn from data that name a rejected answer too."""

    kind: Literal["supervised", "dpo", "unlearn"] = "supervised"
    beta: Positive = 0.1
    """dpo: how much of the change in log-probability makes a pair certain."""
    beta_rejected: Positive | None = None
    """dpo: beta of the rejected answer; None: the same."""
    per_token: bool = False
    """dpo: means over an answer's tokens instead of sums."""
    rejected_weight: Annotated[float, Field(ge=0.0)] = 0.1
    """unlearn: what the rejected answer's likelihood weighs."""


class SafeKey(Section):
    """SafeKey's two losses (arXiv 2505.16186) on examples with a thought, beside the answers' and the guard's;
    `safekey` says how each is computed, `spans` on which parts of the thought."""

    enabled: bool = False
    dual_path_weight: Annotated[float, Field(ge=0.0)] = 0.2
    query_mask_weight: Annotated[float, Field(ge=0.0)] = 0.2
    betas: tuple[Annotated[float, Field(ge=0.0)], Annotated[float, Field(ge=0.0)]] = (0.5, 0.5)
    """What the two heads weigh: on prompt and understanding, and on the understanding alone."""
    last_epochs: Positive = 2.0
    """Only so many epochs before the end."""
    detach: bool = False
    """Ablation: the heads learn, and the model does not learn from them."""
    mask: bool = True
    """False is the ablation: the key sentence is learnt with the prompt in sight."""
    understanding_sentences: Count = 1
    """How many sentences the understanding has, where the data do not say what it is."""
    learning_rate: Positive | None = None
    """The heads' own learning rate; None: the same as the rest."""


Share = Annotated[float, Field(ge=0.0, le=100.0)]


class MixPart(Section):
    """One named source and how much of it: `size` examples, or `weight` times all of them (0.5 half, 2 twice).

    `source` is a form (jsonl, llava, holisafe) with the file `path`, or a benchmark, with its folder where it has one.
    `images` is the folder that a file's image paths start from, when it is not the file's own. `thoughts`: with the
    thoughts that a benchmark (pictosafe) has for its answers.
    """

    source: str
    name: str = ""
    path: str | None = None
    images: str | None = None
    weight: Share | None = None
    size: Annotated[int, Field(ge=0)] | None = None
    thoughts: bool = False

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("name") and isinstance(values.get("source"), str):
            return {**values, "name": values["source"]}
        return values

    @model_validator(mode="after")
    def _one_amount(self) -> MixPart:
        if self.weight is not None and self.size is not None:
            raise ValueError("give a weight or a size, not both")
        return self


class Data(Section):
    """What to take of the data. `shares` maps a combination, or `utility` for data without one, to how much of it to
    use: 0 drops it, 0.5 keeps half, 2 shows it twice an epoch; what is not named counts 1."""

    mix: tuple[MixPart, ...] = ()
    """Sources instead of those named on the command line."""
    draw_seed: Annotated[int, Field(ge=0)] = 0
    """Decides which examples of a part are drawn and how pictures are distorted; apart from `seed`, so that tuning
    seeds compare like with like."""
    shares: dict[str, Share] = {}
    max_examples: Count | None = None
    thoughts: str = f"{THINK.open}...{THINK.close}"
    """The marks that thoughts are written in before their answers, OPEN...CLOSE or ...CLOSE; none: left out."""
    distort: Fraction = 0.0
    """The share of examples whose pictures are drawn a little differently (`tuning.distort`)."""
    check_against: tuple[str, ...] = ()
    """Benchmarks, as BENCHMARK or BENCHMARK:FOLDER, of which nothing may occur in the training data."""
    allow_overlap: bool | Literal["image", "text"] = False
    """Go on although images, texts or (true) either occur in both."""
    image_distance: Annotated[int, Field(ge=0, le=64)] = 10
    """Of 256 bits of their hashes, how many two near-duplicate images may differ in."""
    text_similarity: Annotated[float, Field(ge=0.5, le=1.0)] = 0.8
    """From which Jaccard similarity of their 5-character pieces two queries are near-duplicates."""

    @field_validator("thoughts")
    @classmethod
    def _marked(cls, thoughts: str) -> str:
        try:
            own_marks(thoughts)
        except InputError as error:
            raise ValueError(error.problem) from None
        return thoughts

    @property
    def marks(self) -> Marks | None:
        """What thoughts are written in; None: they are left out."""
        marks = own_marks(self.thoughts)
        return None if marks == AS_IT_IS else marks

    @model_validator(mode="after")
    def _names_differ(self) -> Data:
        names = [part.name for part in self.mix]
        if len(set(names)) < len(names):
            raise ValueError("two parts of the mix have the same name: give them a name each")
        return self


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


class Validation(Section):
    """Examples kept back from training. Their loss is worked out with every checkpoint (`compute.save_every`)."""

    share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """How much of the pictures (and of the texts without one), each with all of its examples."""
    patience: Count | None = None
    """End when the loss has not fallen for so many checkpoints, and take the best of them; None: never."""


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
    packing: bool = False
    """Lay the examples of a micro-batch end to end in one row, without padding. Worth it with flash_attention_2; eager
    and sdpa attention work through the whole row for each of its tokens."""
    cache_vision: bool = False
    """Run a frozen vision tower once an image and look its output up afterwards."""
    cache_megabytes: Annotated[int, Field(ge=0)] = 1024
    """How much memory prepared examples may take, so that they are prepared once and not every epoch."""
    log_every: Count = 10
    save_every: Count | None = 100
    """Steps between checkpoints, from which the same command goes on after a kill; None: no checkpoints."""
    report_to: tuple[str, ...] = ()
    """Who else is told the losses as they come: tensorboard, wandb and whatever else transformers reports to."""
    quantise: Literal["nf4"] | None = None
    """Hold the base's linear layers in 4 bits (QLoRA, arXiv 2305.14314); guard, projector and vision tower stay."""


class Recipe(Section):
    """A whole tuning run; its base model and data may also be named when it is started."""

    base: str | None = None
    """The model to start from, when none is named."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    guard: Guard = Guard()
    objective: Objective = Objective()
    safekey: SafeKey = SafeKey()
    trainable: Trainable = Trainable()
    data: Data = Data()
    optimiser: Optimiser = Field(Optimiser(), validation_alias=AliasChoices("optimiser", *OTHER_SPELLINGS))
    validation: Validation = Validation()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if self.compute.cache_vision and self.trainable.vision:
            raise ValueError("compute.cache_vision needs trainable.vision to be false: a moving tower cannot be cached")
        if self.trainable.method == "guard" and (not self.guard.enabled or self.trainable.vision):
            raise ValueError(
                "trainable.method guard trains the guard and nothing else: enable it, and leave vision alone"
            )
        if self.objective.kind != "supervised" and (self.trainable.method == "guard" or self.compute.packing):
            raise ValueError(f"objective {self.objective.kind} goes with neither trainable.method guard nor packing")
        if self.safekey.enabled:
            if self.objective.kind != "supervised" or self.trainable.method == "guard" or self.compute.packing:
                raise ValueError(
                    "safekey goes with objective supervised, and with neither trainable.method guard nor packing"
                )
            if self.data.marks is None:
                raise ValueError("safekey learns from thoughts, and data.thoughts leaves them out")
        frozen = self.trainable.method == "guard" and not self.guard.reads_token
        if self.guard.cache and not (frozen and self.guard.unit == "sample"):
            raise ValueError("guard.cache needs trainable.method guard, unit sample and a pool without the token")
        if self.validation.patience and not self.validation.share:
            raise ValueError("validation.patience needs a validation.share")
        if self.validation.share and not self.compute.save_every:
            raise ValueError("validation.share needs compute.save_every: its loss is worked out with every checkpoint")
        lora = self.trainable
        if self.compute.quantise and not (lora.method == "lora" and lora.lora.save == "adapter"):
            raise ValueError("compute.quantise needs trainable.method lora and trainable.lora.save adapter")
        return self

    def with_settings(self, settings: Iterable[str]) -> Recipe:
        """The recipe with `guard.loss_weight=0.5` and the like laid over it; a part of the mix is called by its name,
        as in `data.mix.general.size=10000`. Raises InputError for a bad one."""
        values = self.model_dump()
        for setting in settings:
            path, equals, text = setting.partition("=")
            *sections, field = (OTHER_SPELLINGS.get(name, name) for name in path.split("."))
            inner: Any = values
            for section in sections:
                inner = _named(inner, section)
            if not equals:
                raise InputError(f"{setting!r} is not written SECTION.SETTING=VALUE", where="recipe")
            if not isinstance(inner, dict):
                raise InputError(f"no section is called {'.'.join(sections)}", where="recipe", field=path)
            if inner is values and field not in values:
                homes = [f"{name}.{field}" for name, held in values.items() if isinstance(held, dict) and field in held]
                hint = f"; did you mean {' or '.join(homes)}?" if homes else ""
                raise InputError(f"no such setting{hint}", where="recipe", field=path)
            inner[field] = parse_value(text, "recipe", path)
        return validated(Recipe, values, "recipe")


def _named(values: Any, name: str) -> Any:
    """The section of that name, or the part of the mix; None where there is none."""
    if isinstance(values, list | tuple):
        return next((part for part in values if part["name"] == name), None)
    return values.get(name) if isinstance(values, dict) else None


def shipped() -> list[str]:
    """Names of the recipes in this package."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by the name of a shipped one or the path of a YAML file. Raises InputError naming file and field for
    whatever is wrong, and for what only the user may give (`specs.FOR_THE_USER_TO_TYPE`)."""
    path = Path(name)
    if str(name) in shipped():
        return validated(Recipe, parse_yaml(_folder().joinpath(f"{name}.yaml").read_text(encoding="utf-8"), path), path)
    if not path.suffix and not path.exists():
        raise InputError(f"no recipe is called {str(name)!r}; known: {', '.join(shipped())}, or a .yaml file")
    written = read_yaml(path)
    check_ordered(written, path, "say it with --set instead")
    return validated(Recipe, written, path)


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe with every setting spelled out, defaults included."""
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _folder() -> Any:
    return files(__package__).joinpath("recipes")
