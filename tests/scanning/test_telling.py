"""What is told while a scan runs: how far it is, how fast, how long it may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from bright_guard import paint
from holisafe.scanning import telling as told
from holisafe.scanning.sources import open_source
from holisafe.scanning.telling import in_words, telling


def test_speed_and_rest_by_a_clock_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        paint(tmp_path / f"{number}.png", number, side=2)
    now, heard = [100.0], list[tuple[int, int, str]]()
    monkeypatch.setattr(told.time, "monotonic", lambda: now[0])
    with telling(
        open_source(str(tmp_path)), 40, lambda stage, done, total, note="": heard.append((done, total, note))
    ) as done:
        for thread in [one for one in told.threading.enumerate() if one.name == "holisafe-count"]:
            thread.join()
        for _ in range(101):
            done()
            now[0] += 0.05
    assert heard[1][2] == "", "too early to tell"
    assert heard[-1] == (141, 200, "20 a second, 3 s left")
    assert all(total == 200 for _, total, _ in heard)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5.4, "5 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h"), (400_000, "4.6 days")]
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
