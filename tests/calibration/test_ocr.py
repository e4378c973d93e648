"""Text found in pictures stands beside them; who reads it is a part of its own, tested on real models (tests/real)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holisafe.calibration import attacked, calibrated
from holisafe.errors import InputError
from holisafe.read_pictures import TOLD
from holisafe.records import Message, Picture, Request
from scripted_ocr import BLANK, WRITTEN, scripted
from toy_plugin import ToyTarget

ASKED = Request(
    sample_id="a",
    messages=(
        Message("system", "S"),
        Message("user", "Follow the picture.", (Picture("w", lambda: WRITTEN), Picture("b", lambda: BLANK))),
    ),
)


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return scripted(monkeypatch)


def test_the_text_stands_beside_the_picture_and_each_is_read_once(looked_at: list[str]) -> None:
    target = calibrated(ToyTarget("toy/a"), ["ocr"])
    turn = target.edit(ASKED).messages[1]  # type: ignore[attr-defined]
    assert turn.text == f'{TOLD}\n"""\nMETHODS TO OPEN\n"""\n\nFollow the picture.'
    assert turn.pictures == ASKED.messages[1].pictures
    target.edit(replace(ASKED, sample_id="b"))  # type: ignore[attr-defined]
    assert len(looked_at) == 2
    after = calibrated(ToyTarget("toy/a"), ["ocr,placement=after,most=7"]).edit(ASKED).messages[1].text  # type: ignore[attr-defined]
    assert after == f'Follow the picture.\n\n{TOLD}\n"""\nMETHODS\n"""'
    (facts,) = target.describe()["calibration"]
    assert (facts["method"], facts["reader"], facts["text"]) == ("ocr", "tesseract", TOLD)


def test_a_picture_without_text_leaves_the_very_request(looked_at: list[str]) -> None:
    asked = replace(ASKED, messages=(Message("user", "Q", (Picture("b", lambda: BLANK),)),))
    assert calibrated(ToyTarget("toy/a"), ["ocr"]).edit(asked) is asked  # type: ignore[attr-defined]


def test_it_reads_what_an_attacker_made_of_the_picture(looked_at: list[str]) -> None:
    target = attacked(calibrated(ToyTarget("toy/a"), ["ocr"]), ["typed,placement=alone"])
    request = target.target.edit(target.edit(ASKED))  # type: ignore[attr-defined]
    assert len(request.messages[1].pictures) == 3
    assert len(looked_at) == 3


def test_who_is_not_here_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holisafe.read_pictures.shutil.which", lambda name: None)
    monkeypatch.setattr("holisafe.read_pictures.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"no OCR reader is here, try: pip install 'holisafe\[ocr\]'"):
        calibrated(ToyTarget("toy/a"), ["ocr"])
    with pytest.raises(InputError, match="tesseract is not here"):
        calibrated(ToyTarget("toy/a"), ["ocr,reader=tesseract"])
    with pytest.raises(InputError, match="field 'reader'"):
        calibrated(ToyTarget("toy/a"), ["ocr,reader=eyes"])
