"""A table in the terminal: no number is cut, whatever the width, and nothing stands wider than the screen."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from holisafe.report.grids import Grid

NUMBERS = ("100.0 % [73.5, 100.0] n=1,272 (12 invalid)", "−66.7 [−79.4, −48.4]", "<0.001", "0.025 s (1.3×)", "1 [1, 2]")
WIDE = Grid(
    "A title that is longer than a narrow terminal is wide",
    ("Model", "Rate, 95 % interval", "Change, points", "p", "Latency", "Rank", "Said"),
    (
        ("by llm/holisafe/openai/a-judge-with-a-name-of-more-than-forty-letters",),
        ("an/organisation/and-a-model-with-a-long-name", *NUMBERS, "front: SRA_s, RR; knee: Utility"),
        ("b", "–", "", "0.050", "–", "2", ""),
        ("by another",),
        ("c", *NUMBERS, "2 things"),
    ),
    note="What the columns say.",
)


def shown(grid: Grid, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(grid)
    return console.export_text()


@pytest.mark.parametrize("width", [36, *range(40, 130, 10), 200])
def test_no_number_is_cut_and_nothing_is_wider_than_the_screen(width: int) -> None:
    told = shown(WIDE, width)
    assert max(map(len, told.splitlines())) <= width
    words = " ".join(told.split())
    for piece in ("100.0 %", "[73.5, 100.0]", "n=1,272", "(12 invalid)", "−66.7", "[−79.4, −48.4]", "<0.001", "(1.3×)"):
        assert words.count(piece) == 2, piece
    assert "…" not in told
    letters = re.sub(r"\s", "", told)
    assert all(row[0] in letters for row in WIDE.rows if " " not in row[0]) or width < 130  # names may be broken
    assert "Whatthecolumnssay." in letters


def test_a_table_that_fits_has_a_line_a_row_below_the_headings_of_its_blocks() -> None:
    lines = [re.split(r" {2,}", line.strip()) for line in shown(WIDE, 240).splitlines() if line.strip()]
    assert lines[0] == [WIDE.title]
    assert lines[1] == list(WIDE.columns)
    assert set(lines[2][0]) == {"─"}
    assert lines[3:8] == [list(filter(None, row)) for row in WIDE.rows]
    assert lines[8] == [WIDE.note]


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    grid = Grid("", ("Name", "Size", "n"), (("a", "1,272 test pairs", "7"), ("b", "–", "1,000")))
    lines = shown(grid, 80).splitlines()
    assert lines[0] == "Name  Size                  n"
    assert lines[2] == "a     1,272 test pairs      7"
    assert lines[3] == "b     –                 1,000"


def test_a_narrow_table_names_what_every_number_is() -> None:
    lines = [" ".join(line.split()) for line in shown(WIDE, 60).splitlines()]
    assert {"Change, points −66.7 [−79.4, −48.4]", "p <0.001", "Latency 0.025 s (1.3×)"} <= {*lines[lines.index("c") :]}


def test_markdown_keeps_a_bar_in_a_cell() -> None:
    assert Grid("t", ("a", "b"), (("x|y", "1\n2"),)).markdown() == "| a | b |\n| --- | --- |\n| x\\|y | 1 2 |"
