"""`holisafe scan` and `holisafe.scan`: what they print, write and leave with; pictures stay blurred until asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import bright_guard  # noqa: F401  (registers the guard)
import holisafe
from bright_guard import BrightGuard, brightness, paint
from holisafe import cli
from holisafe.errors import InputError
from holisafe.report.scan_page import render

Captured = pytest.CaptureFixture[str]


def typed(capsys: Captured, *words: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.app(["scan", *map(str, words)])
    said = capsys.readouterr()
    return int(left.value.code or 0), said.out, said.err


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(30):
        paint(tmp_path / "photos" / f"{number}.png", number)
    (tmp_path / "photos" / "copy.png").write_bytes((tmp_path / "photos" / "3.png").read_bytes())
    paint(tmp_path / "photos" / "<b>&bold<.png", 500)
    (tmp_path / "photos" / "broken.png").write_text("no")
    return tmp_path / "photos"


def test_the_command_prints_tables_and_writes_a_page(photos: Path, tmp_path: Path, capsys: Captured) -> None:
    words = (photos, "--guard", "bright/-", "--out", tmp_path / "out", "--sensitivity", "93/100")
    code, out, err = typed(capsys, *words, "--specificity", "880/892")
    assert (code, err) == (0, "")
    unsafe = sum(brightness(Image.open(path)) > 0.5 for path in photos.glob("[!b]*.png"))
    assert re.search(rf"(?m)^called unsafe +{unsafe} \(", out)
    assert re.search(
        r"^unsafe, corrected for the guard's errors +\d+\.\d % \[\d+\.\d, \d+\.\d\] n=31", out, re.MULTILINE
    )
    assert "not an image: plain text" in out
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;bold" in page
    assert "<script" not in page
    assert page.count('<label class="picture"><input type="checkbox"') == page.count("data:image/webp") > 5
    assert "filter: blur" in page
    assert "checked>" not in page
    code, out, _ = typed(capsys, *words, "--specificity", "880/892", "--json")
    said = json.loads(out)
    assert (code, said["n"], said["copies"], said["verdicts"]["unsafe"]) == (0, 33, 1, unsafe)
    assert said["distinct"]["prevalence"]["specificity"] == {"rate": 880 / 892, "n": 892}


def test_what_may_pass_makes_the_command_one_to_repeat(photos: Path, tmp_path: Path, capsys: Captured) -> None:
    (photos / "gone.png").symlink_to(photos / "nowhere.png")
    code, out, err = typed(capsys, photos, "--guard", "bright/-", "--out", tmp_path / "out")
    assert code == 3
    assert err == "holisafe: 1 could not be read; the same command tries them again\n"
    assert "The same command tries 1 of them again." in out
    assert "The share called unsafe is not the share that is unsafe" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sensitivity", "9/10"], "--sensitivity and --specificity go together"),
        (["--sensitivity", "9", "--specificity", "1/1"], "--sensitivity '9' is not written FOUND/ALL"),
        (["--rates", "nowhere"], "nowhere: no such file"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, photos: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = typed(capsys, photos, "--guard", "bright/-", "--out", "out", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"holisafe: {said}")
    assert err.count("\n") == 1
    assert not Path("out").exists()


def test_from_python_it_shows_itself_and_has_a_frame(photos: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    found = holisafe.scan(
        photos, BrightGuard(), tmp_path / "out", progress=lambda *told: heard.append(told), sensitivity=(9, 10),
        specificity=(99, 100),
    )  # fmt: skip
    assert heard[-1] == ("scan", 33, 33)
    assert "called unsafe" in str(found)
    assert "<table" in found._repr_html_()
    assert "webp" not in found._repr_html_()
    frame = found.frame().set_index("id")
    assert len(frame) == found["n"] == 33
    assert frame.loc["copy.png", "score"] == frame.loc["3.png", "score"] == frame.loc["3.png", "p_bright"]
    assert frame.loc["broken.png", "fault"] == "not an image: plain text"
    assert frame["unsafe"].fillna(False).sum() == found["verdicts"]["unsafe"]
    assert (tmp_path / "out" / "index.html").read_text() == render(found)
    with pytest.raises(InputError, match="go together"):
        holisafe.scan(photos, BrightGuard(), tmp_path / "other", sensitivity=(9, 10))
    for odd in ((5, 3), (0, 0), (-1, 2)):
        with pytest.raises(InputError, match="such as"):
            holisafe.scan(photos, BrightGuard(), tmp_path / "other", sensitivity=odd, specificity=(9, 10))
