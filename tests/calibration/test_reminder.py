"""Where a reminder stands in the conversation, and which wordings there are."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from holisafe.calibration import calibrated
from holisafe.calibration.methods.reminder import reminded, wording, wordings
from holisafe.errors import InputError
from holisafe.records import Message, Picture
from holisafe.targets.base import Capabilities
from toy_plugin import ToyTarget

SHOWN = (Picture("a", lambda: Image.new("RGB", (4, 4))),)
SYSTEM, FIRST, ANSWER = Message("system", "S"), Message("user", "Q1", SHOWN), Message("assistant", "A1")
LAST = Message("user", "Q2", SHOWN)


@pytest.mark.parametrize(
    ("messages", "placement", "texts"),
    [
        ((LAST,), "system", ["R", "Q2"]),
        ((SYSTEM, LAST), "system", ["S\n\nR", "Q2"]),
        ((LAST,), "before", ["R\n\nQ2"]),
        ((SYSTEM, LAST), "after", ["S", "Q2\n\nR"]),
        ((SYSTEM, FIRST, ANSWER, LAST), "system", ["S\n\nR", "Q1", "A1", "Q2"]),
        ((SYSTEM, FIRST, ANSWER, LAST), "before", ["S", "Q1", "A1", "R\n\nQ2"]),
        ((FIRST, ANSWER, LAST), "after", ["Q1", "A1", "Q2\n\nR"]),
        ((LAST, ANSWER), "after", ["Q2\n\nR", "A1"]),  # an answer that was begun
    ],
)
def test_where_it_stands(messages: tuple[Message, ...], placement: str, texts: list[str]) -> None:
    found = reminded(messages, "R", placement)
    assert [message.text for message in found] == texts
    assert [message.pictures for message in found if message.role != "system"] == [
        message.pictures for message in messages if message.role != "system"
    ]
    assert found[0].role == ("system" if placement == "system" else messages[0].role)


def test_every_shipped_wording_is_a_few_plain_sentences() -> None:
    shipped = sorted(
        path.name.removesuffix(".txt") for path in files("holisafe.calibration").joinpath("reminders").iterdir()
    )
    assert wordings() == shipped
    assert 4 <= len(shipped) <= 6
    texts = [wording(name) for name in shipped]
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert text == text.strip()
        assert "\n" not in text
        assert 10 <= len(text.split()) <= 60


def test_a_wording_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("\nLook twice. \n", encoding="utf-8")
    target = calibrated(ToyTarget("toy/a"), [f"reminder,wording={file},placement=after"])
    assert target.describe()["calibration"] == [{"method": "reminder", "placement": "after", "text": "Look twice."}]
    file.write_text("Look thrice.")
    again = calibrated(ToyTarget("toy/a"), [f"reminder,wording={file},placement=after"])
    assert again.describe() != target.describe()  # the same name with another text is another calibration


@pytest.mark.parametrize(
    ("content", "says"), [(None, "no such file"), (b" \n", "holds no text"), (b"\xff\xfe\x00", "UTF-16 text")]
)
def test_a_wording_that_cannot_be_used(content: bytes | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        wording(str(file))
    assert caught.value.where == file


def test_what_a_reminder_cannot_be() -> None:
    for spec, says in (
        ("reminder,wording=loud", "no wording is called 'loud'; known: balanced"),
        ("reminder,placement=under", "field 'placement'"),
        ("reminder,tone=mild", "field 'tone': no such setting"),
    ):
        with pytest.raises(InputError, match=says):
            calibrated(ToyTarget("toy/a"), [spec])
    mute = ToyTarget("toy/a", capabilities=Capabilities(system_prompt=False))
    with pytest.raises(InputError, match="takes no system prompt; try reminder,placement=before"):
        calibrated(mute, ["reminder"])
    assert calibrated(mute, ["reminder,placement=before"]).capabilities.system_prompt is False
