"""The images of a folder: all that are there, each with a reason where it cannot be opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from holisafe.errors import InputError
from holisafe.image_files import image_files, shown_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home, away = tmp_path / "home", tmp_path / "away"
    for place in (home / "deep", away):
        place.mkdir(parents=True)
        Image.new("RGB", (4, 3)).save(place / "one.png")
    Image.new("RGB", (4, 3)).save(home / "two.jfif", format="JPEG")
    Image.new("RGB", (4, 3)).save(home / "12:30.AVIF", format="AVIF")
    (home / "notes.txt").write_text("notes")
    (home / "README").write_text("notes")
    (home / "in.png").symlink_to("deep/one.png")
    (home / "out.png").symlink_to("../away/one.png")
    (home / "gone.png").symlink_to("nowhere.png")
    (home / "far").symlink_to("../away")
    (home / "deep" / "round").symlink_to("..")
    return home


def test_every_image_is_there_and_what_is_left_out_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, left_out = image_files(folder)
    names = ["12:30.AVIF", "deep/one.png", "gone.png", "in.png", "out.png", "two.jfif"]
    assert [path.relative_to(folder).as_posix() for path in images] == names
    assert left_out == {".txt": 1, "without an ending": 1, "linked folders (--follow-links)": 2}
    refused = {}
    for path, opener in images.items():
        try:
            opener()
        except InputError as fault:
            refused[path.name] = fault.problem
    assert refused.keys() == {"gone.png", "out.png"}
    assert "--follow-links" in refused["out.png"]
    assert "no such image" in refused["gone.png"]
    monkeypatch.setenv("HOLISAFE_FOLLOW_LINKS", "1")
    images, left_out = image_files(folder)
    assert [path.relative_to(folder).as_posix() for path in images] == sorted([*names, "far/one.png"])
    assert images[folder / "out.png"]().size == (4, 3)
    assert left_out == {".txt": 1, "without an ending": 1}


def test_a_name_that_is_no_text_can_be_shown(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (4, 3)).save(tmp_path / name)
    ((path, opener),) = image_files(tmp_path).images.items()
    assert opener().size == (4, 3)
    assert shown_name(path) == f"{tmp_path}/caf\\xe9.png"
    assert shown_name(Path("café.png")) == "café.png"
