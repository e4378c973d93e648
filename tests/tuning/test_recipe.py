"""Recipes: defaults, files, overrides, and one line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from holisafe.errors import InputError
from holisafe.tuning.recipe import Recipe, load_recipe, save_recipe, shipped


def test_shipped_recipes_load() -> None:
    assert {"demo", "lora"} <= set(shipped())
    for name in shipped():
        load_recipe(name)
    assert load_recipe("demo").guard.loss_weight == 0.2


def test_a_saved_recipe_reads_back_the_same(tmp_path: Path) -> None:
    recipe = load_recipe("demo").with_settings(["guard.learning_rate=1e-3", "data.shares={SSS: 0, utility: 2.5}"])
    assert (recipe.guard.learning_rate, recipe.data.shares) == (1e-3, {"SSS": 0.0, "utility": 2.5})
    save_recipe(recipe, tmp_path / "r.yaml")
    assert load_recipe(tmp_path / "r.yaml") == recipe
    assert load_recipe(str(tmp_path / "r.yaml")) == recipe


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("guard: {lambda: 1}", "guard.lambda", "no such setting"),
        ("colour: 1", "colour", "no such setting"),
        ("guard: {loss_weight: -1}", "guard.loss_weight", "greater than or equal to 0"),
        ("guard: {loss_weight: .nan}", "guard.loss_weight", "finite"),
        ("trainable: {method: half}", "trainable.method", "'full', 'lora' or 'guard'"),
        ("optimiser: {batch_size: 0}", "optimiser.batch_size", "greater than 0"),
        ("optimiser: {batch_size: many}", "optimiser.batch_size", "valid integer"),
        ("optimiser: {betas: [0.9]}", "optimiser.betas.1", "required"),
        ("data: {shares: {SSS: -1}}", "data.shares.SSS", "greater than or equal to 0"),
        ("compute: {cache_vision: true}\ntrainable: {vision: true}", None, "a moving tower cannot be cached"),
        ("- 1", None, "not a mapping"),
        ("a: [", None, "not YAML"),
    ],
)
def test_a_mistake_names_file_and_field(tmp_path: Path, text: str, field: str | None, said: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said) as caught:
        load_recipe(file)
    assert (caught.value.where, caught.value.field) == (file, field)
    assert "\n" not in str(caught.value)


def test_unknown_names_and_bad_overrides() -> None:
    with pytest.raises(InputError, match="demo"):
        load_recipe("dmeo")
    with pytest.raises(InputError, match="no such file"):
        load_recipe("missing.yaml")
    for setting in ("guard", "guard.loss_weight", "nothing.at=1", "seed.x=1", "guard.loss_weight=[", "guard.x=1"):
        with pytest.raises(InputError):
            Recipe().with_settings([setting])


def test_a_shipped_name_wins_over_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo writes a folder called demo and then asks for the recipe of that name."""
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_recipe("demo").compute.cache_vision


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("max_steps=2", "recipe, field 'max_steps': no such setting; did you mean optimiser.max_steps?"),
        ("colour=2", "recipe, field 'colour': no such setting"),
        ("colours.red=2", "recipe, field 'colours.red': no section is called colours"),
        ("max_steps 2", "recipe: 'max_steps 2' is not written SECTION.SETTING=VALUE"),
    ],
)
def test_a_setting_that_is_not_there_is_told_where_it_is(setting: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        Recipe().with_settings([setting])
    assert str(error.value) == said
