"""A policy of the user's own: how it is written, and what each guard that takes one makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import holisafe
from holisafe.errors import InputError
from holisafe.guard import load_model, save_guarded
from holisafe.guards import open_guard, open_policy
from holisafe.guards.base import Item
from holisafe.guards.policy import Category, Policy
from holisafe.records import Picture
from tiny_models import llava

WRITTEN = """
name: toys
categories:
  - name: weapons
    definition: shows a real weapon
    examples: [a pistol, a sword]
    labels: [weapon_related_violence, terrorism]
    threshold: 0.1
  - name: people
    definition: is about hurting people
    labels: [physical_altercation]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "toys.yaml"
    path.write_text(WRITTEN)
    return path


def opened(file: Path) -> Policy:
    found = open_policy(file)
    assert found is not None
    return found


def test_a_policy_is_read_as_it_is_written(file: Path) -> None:
    policy = opened(file)
    assert [category.name for category in policy.categories] == ["weapons", "people"]
    assert [category.threshold for category in policy.categories] == [0.1, 0.5]
    told = (
        "- weapons: shows a real weapon\n  - such as: a pistol\n  - such as: a sword\n- people: is about hurting people"
    )
    assert policy.in_words("- ") == told
    other = Path(file.parent, "other.yaml")
    other.write_text(WRITTEN.replace("a sword", "a knife"))
    assert opened(other).digest != policy.digest
    assert open_policy(None) is None


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ("name: toys", "categories"),
        ("categories: []", "categories"),
        ("categories: [{name: a, limit: 3}]", "categories.0.limit"),
        ("categories: [{name: a, threshold: 1.5}]", "categories.0.threshold"),
        ("categories: [{name: a, threshold: high}]", "categories.0.threshold"),
        ("categories: [{definition: a}]", "categories.0.name"),
        ("categories: [{name: a}, {name: a}]", "categories"),
        ("categories: [{name: ''}]", "categories.0.name"),
        ("categories: [{name: a}, {name: '  '}]", "categories.1.name"),
        ('categories: [{name: "a\\nb"}]', "categories.0.name"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, wrong: str, field: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(wrong)
    with pytest.raises(InputError) as told:
        open_policy(path)
    assert (told.value.where, told.value.field) == (path, field)


def test_a_guard_names_what_it_needs_and_does_not_find(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("categories: [{name: a, labels: [terrorism]}]")
    with pytest.raises(InputError, match=r"'a' has no definition.*|.*field 'categories.0.definition'"):
        open_guard("qguard/openai/m,base_url=http://127.0.0.1:9/v1", open_policy(tmp_path / "p.yaml"))
    with pytest.raises(InputError, match="takes no policy of your own"):
        open_guard("moderation/m,base_url=http://127.0.0.1:9/v1", open_policy(tmp_path / "p.yaml"))
    (tmp_path / "q.yaml").write_text("categories: [{name: a, definition: b, labels: [nobodys]}, {name: c}]")
    policy = opened(tmp_path / "q.yaml")
    for names, problem in ((("nobodys",), "'c' has no labels"), (("terrorism",), "'c' has no labels")):
        with pytest.raises(InputError, match=problem):
            policy.labelled(names)


def test_a_spec_may_name_its_policy_and_the_guards_name_tells_it(file: Path) -> None:
    place = "openai/m,base_url=http://127.0.0.1:9/v1"
    named: Any = open_guard(f"qguard/{place},policy={file}")
    given: Any = open_guard(f"qguard/{place}", opened(file))
    assert (named.name, named.version) == (given.name, given.version)
    assert named.name == "qguard/openai/m,policy=toys"
    assert named.version != open_guard(f"qguard/{place}").version
    with pytest.raises(InputError, match="no such file"):
        open_guard(f"qguard/{place},policy={file}.not")


def test_ours_adds_up_the_labels_of_a_category(file: Path, tmp_path: Path) -> None:
    folder = llava(tmp_path / "m", tower="swin")
    torch.manual_seed(0)
    model = holisafe.attach_guard(load_model(folder))
    for parameter in model.img_safety_head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_guarded(model, folder)
    items = [
        Item(id=str(n), pictures=(Picture(f"{n}", lambda n=n: Image.new("RGB", (34, 34), (60 * n, 0, 90))),))  # type: ignore[misc]
        for n in range(4)
    ]
    plain: Any = open_guard(str(folder))
    policy = opened(file)
    own: Any = open_guard(str(folder), policy)
    assert own.version != plain.version
    for before, after in zip(plain.read(items), own.read(items), strict=True):
        chances = before.scores
        weapons = chances["weapon_related_violence"] + chances["terrorism"]
        assert after.scores == pytest.approx({"weapons": weapons, "people": chances["physical_altercation"]}, abs=1e-6)
        assert after.score == pytest.approx(weapons + chances["physical_altercation"], abs=1e-6)
        expected = ("weapons",) * (weapons > 0.1) + ("people",) * (chances["physical_altercation"] > 0.5)
        assert set(after.categories) == set(expected)
        assert after.unsafe == bool(expected)
    with pytest.raises(InputError, match="a policy has its own thresholds"):
        open_guard(f"visual-guard/{folder}", policy, {"threshold": "0.3"})


def test_what_would_never_or_always_be_an_alarm_is_refused() -> None:
    for threshold in ("2", "nan", "-0.1", "high"):
        with pytest.raises(InputError, match=f"threshold={threshold} does not lie between 0 and 1"):
            open_guard(f"qguard/openai/m,base_url=http://127.0.0.1:9/v1,threshold={threshold}")
    policy = Policy("toys", (Category("nice", labels=("suicide", "safe")),), "toys.yaml")
    with pytest.raises(InputError, match=r"toys.yaml, field 'categories.0.labels': 'nice' would forbid what is safe"):
        policy.labelled(["safe", "suicide"])
