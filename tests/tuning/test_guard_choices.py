"""What a recipe's guard names and reads: pairs, labels of one's own, a unit, the token's row; and what a base keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import tiny_models
from holisafe.benchmarks import open_benchmark
from holisafe.errors import InputError
from holisafe.guard import attach_guard, labels_of, load_guarded, load_model, load_processor
from holisafe.guard.meta_token import add_meta_token
from holisafe.guard.model import GuardedModel
from holisafe.guard.predict import predict
from holisafe.records import Message, Picture
from holisafe.tuning.collator import Collator
from holisafe.tuning.data import load_examples
from holisafe.tuning.examples import Example
from holisafe.tuning.mix import draw_mix
from holisafe.tuning.recipe import Recipe
from holisafe.tuning.train import tune, with_guard
from tuning.colours import colour_file

FROZEN = Recipe().with_settings(
    ["trainable.method=guard", "optimiser.learning_rate=1e-2", "optimiser.epochs=60", "guard.dropout=0"]
)
QUERIES = ("which colour is it", "how do i use this to hurt someone")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.llava(tmp_path_factory.mktemp("base") / "llava", spread=1.5)


def crossed(folder: Path) -> str:
    """A truth table: either question is safe with one colour and unsafe with the other; every image is safe."""
    rows = []
    for (at, colour), (which, query) in product(enumerate(("red", "blue")), enumerate(QUERIES)):
        Image.new("RGB", (32, 32), colour).save(folder / f"{colour}.png")
        code = "SSS" if at == which else "SSU"
        row = {"id": f"{at}{which}", "images": [f"{colour}.png"], "query": query, "response": "it is green"}
        rows.append(row | {"image_label": "safe", "combination": code})
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def unsafe(folder: Path) -> list[float]:
    """P(unsafe) of red and blue, each with both questions."""
    images = (Image.new("RGB", (32, 32), colour) for colour in ("red", "red", "blue", "blue"))
    readings = predict(load_guarded(folder), load_processor(folder), images, texts=QUERIES * 2)
    return [reading.probabilities["unsafe"] for reading in readings]


@pytest.mark.parametrize("blind", ["last_hidden", "token"])
def test_a_guard_on_pairs_learns_what_neither_half_says(base: Path, tmp_path: Path, blind: str) -> None:
    data = crossed(tmp_path)
    seeing = tune(base, data, FROZEN.with_settings(["guard.labels=pair"]), tmp_path / "seeing")
    assert [share > 0.5 for share in unsafe(seeing)] == [False, True, True, False]
    config = json.loads((seeing / "config.json").read_text())
    assert config["safety_categories"] == ["safe", "unsafe"]
    assert config["safety_pool"] == "projected+image_and_text"
    settings = ["guard.labels=pair", f"guard.pool={blind}", "optimiser.epochs=20"]
    red, red_too, blue, blue_too = unsafe(tune(base, data, FROZEN.with_settings(settings), tmp_path / "blind"))
    assert (red, blue) == pytest.approx((red_too, blue_too), abs=1e-5), "what stands before the text sees none"


def test_pair_labels_say_what_a_safe_model_does() -> None:
    picture = Picture("grey", lambda: Image.new("RGB", (32, 32), "grey"))

    def example(kind: str, expected: str | None = None, pictures: tuple[Picture, ...] = (picture,)) -> Example:
        return Example("a", (Message("user", "q", pictures),), "a", "suicide", kind, expected=expected)  # type: ignore[arg-type]

    collator = Collator(None, labels=("safe", "unsafe"), pairs=True)
    known = {"SSS": 0, "SSU": 1, "SUU": 1, "USU": 1, "UUU": 1, "utility": -100}
    assert {kind: collator.label_id(example(kind)) for kind in known} == known
    assert [collator.label_id(example("utility", expected)) for expected in ("answer", "refuse")] == [0, 1]
    assert collator.label_id(example("SSU", pictures=())) == -100
    expected = {sample.id: sample.expected for sample in open_benchmark("pictosafe", split="train").samples}
    for one in load_examples("pictosafe"):
        assert one.pair_label == {"answer": "safe", "refuse": "unsafe"}[expected[one.id]]


def test_labels_of_ones_own(base: Path, tmp_path: Path) -> None:
    file = Path(crossed(tmp_path))
    file.write_text(file.read_text().replace('"image_label": "safe"', '"image_label": "calm"', 2))
    file.write_text(file.read_text().replace('"image_label": "safe"', '"image_label": "loud"'))
    recipe = FROZEN.with_settings(["guard.labels=[loud, calm, mild]", "optimiser.max_steps=1", "guard.unit=image"])
    model = load_guarded(tune(base, str(file), recipe, tmp_path / "out"))
    assert labels_of(model) == ("loud", "calm", "mild")
    assert model.config.safety_unit == "image"
    collator = Collator(None, labels=("loud", "calm", "mild"))
    examples = load_examples(str(file), recipe.guard.data_labels)
    assert [collator.label_id(example) for example in examples] == [1, 1, 0, 0]
    mixed = recipe.with_settings([f"data.mix=[{{source: jsonl, path: {file}}}]"])
    assert len(draw_mix(mixed.data, mixed.guard.data_labels)[0]) == 4
    for labels in ("image", "pair", "[loud, mild]"):
        with pytest.raises(InputError, match=r"row 1, .*image_label.*unknown image label 'calm'"):
            tune(base, str(file), recipe.with_settings([f"guard.labels={labels}"]), tmp_path / "no")


@pytest.mark.parametrize("labels", ["pears", "3", "[safe]", "[safe, '']", "[safe, safe]", "[safe, [unsafe]]"])
def test_labels_that_make_no_guard(labels: str) -> None:
    with pytest.raises(InputError, match=r"guard\.labels.*image, pair, or a list"):
        FROZEN.with_settings([f"guard.labels={labels}"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("guard.labels=pair", "guard.labels"),
        ("guard.labels=[suicide, safe]", "guard.labels"),
        ("guard.pool=projected", "guard.pool"),
        ("guard.unit=image", "guard.unit"),
    ],
)
def test_another_guard_than_the_bases_is_refused(base: Path, setting: str, said: str) -> None:
    model = attach_guard(load_model(base))
    with pytest.raises(InputError, match=f"{said}.*the base's own guard has"):
        with_guard(model, FROZEN.with_settings([setting]))
    head = model.img_safety_head
    assert with_guard(model, FROZEN.with_settings(["guard.pool=last_hidden"])).img_safety_head is head


def rows_that_differ(one: torch.Tensor, other: torch.Tensor) -> Iterator[int]:
    return iter((one != other).any(-1).nonzero().flatten().tolist())


@pytest.mark.parametrize("tied", [False, True])
def test_of_a_frozen_model_the_tokens_row_alone_trains(base: Path, tmp_path: Path, tied: bool) -> None:
    model, processor = load_model(base), load_processor(base)
    if tied:
        for config in (model.config, model.config.text_config):
            config.tie_word_embeddings = True
        model.tie_weights()
        base = tmp_path / "tied"
        model.save_pretrained(base)
        processor.save_pretrained(base)
        model = load_model(base)
    token = add_meta_token(model, processor)
    model.save_pretrained(tmp_path / "untrained")
    before = load_file(tmp_path / "untrained" / "model.safetensors")
    recipe = FROZEN.with_settings(["guard.pool=token", "optimiser.epochs=1", "optimiser.weight_decay=0.1"])
    out = tune(base, str(colour_file(tmp_path)), recipe, tmp_path / "out")
    after = {n: v for n, v in load_file(out / "model.safetensors").items() if not n.startswith("img_safety_head")}
    assert after.keys() == before.keys()
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert [name.rpartition("model.")[2] for name in changed] == ["embed_tokens.weight"]
    assert list(rows_that_differ(after[changed[0]], before[changed[0]])) == [token]
    assert load_guarded(out).config.safety_token_id == token


@pytest.mark.parametrize("balance", ["none", "inverse"])
def test_what_a_frozen_model_says_is_worked_out_once(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, balance: str
) -> None:
    """Cached and not: the same head, and as many rows through the frozen model as there are examples."""
    seen: list[int] = []
    forward = GuardedModel._guarded_forward

    def counted(self: GuardedModel, *args: object, **kwargs: torch.Tensor) -> object:
        seen.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GuardedModel, "_guarded_forward", counted)
    settings = ["optimiser.epochs=6", "guard.dropout=0.1", f"guard.class_balance={balance}", "guard.loss_weight=0.5"]
    recipe = FROZEN.with_settings([*settings, "optimiser.learning_rate=1e-3", "compute.log_every=1"])
    data = str(colour_file(tmp_path))
    folders = {}
    for cache in (False, True):
        seen.clear()
        folders[cache] = tune(base, data, recipe.with_settings([f"guard.cache={cache}"]), tmp_path / f"{cache}")
        assert sum(seen) == 17 * (1 if cache else 6)
    plain, cached = (load_file(folders[cache] / "model.safetensors") for cache in (False, True))
    for name, value in plain.items():
        torch.testing.assert_close(value, cached[name], atol=1e-5, rtol=1e-4)
    first, again = (
        [json.loads(line) for line in (folders[cache] / "training_log.jsonl").read_text().splitlines()]
        for cache in (False, True)
    )
    assert [line["safety_loss"] for line in first] == pytest.approx([line["safety_loss"] for line in again], abs=1e-4)
    assert [line["loss"] for line in again] == pytest.approx([0.5 * line["safety_loss"] for line in again], abs=1e-5)


@pytest.mark.parametrize("setting", ["trainable.method=full", "guard.unit=image", "guard.pool=token"])
def test_what_trains_before_the_head_cannot_be_cached(setting: str) -> None:
    with pytest.raises(InputError, match=r"guard\.cache needs"):
        FROZEN.with_settings(["guard.cache=true", setting])


def test_a_cached_run_goes_on_after_a_stop(base: Path, tmp_path: Path) -> None:
    settings = ["guard.cache=true", "optimiser.epochs=4", "compute.save_every=2", "compute.log_every=1"]
    recipe = FROZEN.with_settings([*settings, "optimiser.batch_size=9", "guard.dropout=0.1"])
    data = str(colour_file(tmp_path))

    def stop(step: int, steps: int, losses: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(base, data, recipe, tmp_path / "out", progress=stop)
    through, again = (tune(base, data, recipe, tmp_path / name) for name in ("through", "out"))
    first, second = (load_file(folder / "model.safetensors") for folder in (through, again))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    log = [json.loads(line) for line in (again / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 9))
