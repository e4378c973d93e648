"""Off a terminal, how far long work is stands in lines, not more often than asked."""

from __future__ import annotations

import pytest

from holisafe.cli.progress import in_words, showing_progress


def test_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with showing_progress(seconds=0) as show:
        show("tuning", 3, 40, in_words({"loss": 1.25}))
        show("asking", 1, 2)
    assert capsys.readouterr().err == "tuning 3/40  loss 1.250\nasking 1/2\n"
    with showing_progress() as show:
        show("asking", 2, 2)
    assert capsys.readouterr().err == ""
