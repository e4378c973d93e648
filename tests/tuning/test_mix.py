"""A mix of named sources: amounts, what is recorded, and the dial from the command line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import tiny_models
from holisafe.errors import InputError
from holisafe.tuning.mix import draw_mix
from holisafe.tuning.recipe import Data, MixPart, Recipe, load_recipe
from holisafe.tuning.train import gather, tune
from tuning.colours import colour_file


@pytest.fixture
def general(tmp_path: Path) -> Path:
    file = tmp_path / "general.json"
    talks = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    file.write_text(json.dumps([{"id": n, "conversations": talks} for n in range(40)]))
    return file


def mix(colours: Path, general: Path, **amount: float) -> Data:
    return Data(
        mix=(
            MixPart(source="jsonl", path=str(colours)),
            MixPart.model_validate({"source": "llava", "name": "general", "path": str(general), **amount}),
        )
    )


def test_sizes_nest_and_weights_repeat(tmp_path: Path, general: Path) -> None:
    colours = colour_file(tmp_path / "c")

    def drawn(seed: int = 0, **amount: float) -> list[str]:
        data = mix(colours, general, **amount).model_copy(update={"draw_seed": seed})
        return [example.id for example in draw_mix(data)[0] if example.source == "llava/general"]

    assert drawn(size=0) == []
    assert drawn(size=10) == drawn(size=10) == drawn(size=30)[:10]
    assert set(drawn(size=10)) != set(drawn(seed=1, size=10))
    assert len(drawn()) == 40
    assert len(drawn(weight=0.25)) == 10
    repeats = Counter(drawn(weight=2.5))
    assert Counter(repeats.values()) == {2: 20, 3: 20}
    with pytest.raises(InputError, match="has 40 examples, not 41"):
        drawn(size=41)


def test_what_was_drawn_is_recorded_with_the_model(tmp_path: Path, general: Path) -> None:
    base, colours = tiny_models.llava(tmp_path / "base"), colour_file(tmp_path / "c")
    recipe = Recipe(base=str(base), data=mix(colours, general, size=5)).with_settings(["optimiser.max_steps=1"])
    out = tune(None, None, recipe, tmp_path / "out")
    report = json.loads((out / "tuning.json").read_text())
    assert [(part["name"], part["available"], part["drawn"]) for part in report["mix"]] == [
        ("jsonl", 17, 17),
        ("general", 40, 5),
    ]
    assert report["data"] == [f"jsonl:{colours}", f"llava:{general}"]
    assert report["base"] == str(base)
    lines = [json.loads(line) for line in (out / "examples.jsonl").read_text().splitlines()]
    drawn, _ = draw_mix(recipe.data)
    assert {(line["source"], line["id"]) for line in lines} == {(example.source, example.id) for example in drawn}
    assert all(line["times"] == 1 for line in lines)
    assert load_recipe(out / "recipe.yaml") == recipe


def test_the_dial_is_set_by_the_parts_name(tmp_path: Path, general: Path) -> None:
    recipe = Recipe(data=mix(colour_file(tmp_path / "c"), general, size=5))
    assert recipe.with_settings(["data.mix.general.size=0"]).data.mix[1].size == 0
    for setting in ("data.mix.other.size=0", "data.mix.general.weight=2", "data.mix.general=3"):
        with pytest.raises(InputError):
            recipe.with_settings([setting])


def test_data_are_named_in_one_place(tmp_path: Path, general: Path) -> None:
    recipe = Recipe(data=mix(colour_file(tmp_path / "c"), general))
    with pytest.raises(InputError, match="name no other data"):
        gather("pictosafe", recipe)
    with pytest.raises(InputError, match="name the data"):
        gather(None, Recipe())
    with pytest.raises(InputError, match="no example"):
        gather(None, recipe.with_settings(["data.mix.general.size=0", "data.mix.jsonl.size=0"]))
    with pytest.raises(InputError, match="no base model"):
        tune(None, "pictosafe", Recipe(), tmp_path / "out")
    with pytest.raises(ValueError, match="same name"):
        Data(mix=(MixPart(source="pictosafe"), MixPart(source="pictosafe")))
