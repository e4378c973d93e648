"""A sweep's page, figures and terminal tables."""

from __future__ import annotations

import io
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from holisafe.report.figures.frontier import COMPARED, Point, frontier_plot, setting_mark
from holisafe.report.frontier_page import figures, render, write_frontier_page
from holisafe.report.frontier_rows import chosen_on, columns, marks, picked_by, setting_table
from holisafe.report.numbers import as_cell
from report.fake_frontier import cell, fake_frontier
from report.parsed_page import Node, parse
from report.test_figures import ems

HOSTILE = '<b onclick="x">&\''


def plot(settings: list[Point], lower: bool = False) -> ElementTree.Element:
    svg = frontier_plot(settings, across_name="RR, %", upward_name="mASR, %", lower=lower, title="T", name="n")
    return ElementTree.fromstring(svg)


def some(rates: list[tuple[float | None, float | None]], **marked: int) -> list[Point]:
    return [
        Point(
            at, f"s{at}", 1, as_cell(cell(x)), as_cell(cell(y)), **{name: at == place for name, place in marked.items()}
        )
        for at, (x, y) in enumerate(rates, start=1)
    ]


def by_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [node for node in root.iter() if name in (node.get("class") or "").split()]


def test_every_setting_has_a_mark_and_a_tip_and_the_marked_ones_their_signs() -> None:
    root = plot(some([(0.1, 0.9), (0.5, 0.7), (0.9, 0.2), (None, 0.5)], front=2, knee=2, picked=3))
    assert len(by_class(root, "mark")) == 3
    tips = [node.find("title").text for node in root.iter("g") if node.find("title") is not None]
    assert sorted(tip.split(".")[0] for tip in tips) == ["1", "2", "3"]
    assert (len(by_class(root, "knee")), len(by_class(root, "picked"))) == (1, 1)
    assert {node.text for node in by_class(root, "said")} == {"2", "3"}
    assert "Knee: 2. s2 (70.0 %, 50.0 %)" in root.find("desc").text
    assert by_class(root, "front") == []  # a single place has no line


def test_thirty_methods_have_marks_of_their_own() -> None:
    drawn = [setting_mark(0, 0, mark) for mark in range(COMPARED, 31)]
    assert len(set(drawn)) == len(drawn)


def test_marks_stand_where_their_rates_are() -> None:
    root = plot(some([(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]))
    places = sorted((float(node.get("cx")), float(node.get("cy"))) for node in by_class(root, "mark"))
    ticks = {node.text: float(node.get("x")) for node in by_class(root, "muted") if node.get("text-anchor") == "middle"}
    assert [x for x, _ in places] == pytest.approx([ticks["0"], (ticks["0"] + ticks["100"]) / 2, ticks["100"]])
    assert places[0][1] > places[1][1] > places[2][1]  # upwards is less in SVG
    assert places[1][1] == pytest.approx((places[0][1] + places[2][1]) / 2, abs=0.01)


def test_settings_at_one_place_make_one_mark_that_names_them_all() -> None:
    root = plot(some([(0.2, 0.3), (0.2, 0.3), (0.8, 0.9)], picked=2))
    assert len(by_class(root, "mark")) == 2
    assert any(node.text.count("\n") == 1 for node in root.iter("title") if node.text and "s1" in node.text)


def test_methods_differ_in_their_marks() -> None:
    drawn = [setting_mark(5, 5, mark) for mark in (COMPARED, 0, 1, 2, 3, 4, 5, 6, 7, 8)]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("lower", [True, False])
def test_forty_settings_stay_readable(lower: bool) -> None:
    """Names beside marks lie inside the drawing and cover neither each other nor another named mark."""
    for figure in figures(fake_frontier(4, 10)):
        root = ElementTree.fromstring(str(figure["svg"]))
        boxes = []
        for node in by_class(root, "said"):
            width = 11.5 * ems(node.text) * 1.06
            left = float(node.get("x")) - {"middle": width / 2, "end": width}.get(node.get("text-anchor") or "", 0)
            boxes.append((left, float(node.get("y")) - 9, left + width, float(node.get("y")) + 1))
        assert len(boxes) >= 4
        assert all(box[0] >= 0 and box[2] <= 384 for box in boxes)
        for at, one in enumerate(boxes):
            for other in boxes[at + 1 :]:
                apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
                assert apart, (one, other)


def test_a_figure_without_any_rate_is_still_a_figure() -> None:
    assert by_class(plot(some([(None, None)])), "mark") == []
    assert len(by_class(plot(some([(1.0, 1.0)])), "mark")) == 1


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Node:
    path = write_frontier_page(fake_frontier(failed=1), tmp_path_factory.mktemp("page") / "frontier.html")
    return parse(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_else_and_runs_nothing(page: Node) -> None:
    assert page.all("script") == page.all("link") == page.all("img") == []
    (policy,) = [node.attributes["content"] for node in page.all("meta") if "http-equiv" in node.attributes]
    assert policy.startswith("default-src 'none'")
    assert "style-src 'sha256-" in policy
    assert not any(name.startswith("on") or name == "style" for node in page.walk() for name in node.attributes)


def test_the_page_says_what_was_chosen_on_what(page: Node) -> None:
    said = page.one("header").text
    assert "Chosen on pictosafe, validation split (n=320); reported on pictosafe, test split (n=320)." in said
    assert "within sra_s loss <= 0.02: method1,strength=0.5." in said
    assert "3 calls failed" in page.one("aside").text
    assert len(page.all("figure")) == 3
    assert [len(table.one("tbody").all("tr")) for table in page.all("table")] == [3, 42]
    text = page.all("table")[1].text
    assert "loss" in text
    assert "3 seeds" in text
    ids = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))


def test_hostile_names_are_text(tmp_path: Path) -> None:
    found = fake_frontier(2, 3, name=HOSTILE)
    found["config"]["target"] = HOSTILE
    html = render(found)
    assert "<b onclick" not in html
    assert HOSTILE in parse(html).one("h1").raw + parse(html).one("header").raw


def test_failed_settings_are_in_no_figure() -> None:
    found = fake_frontier(1, 4, failed=1)
    assert "method1,strength=0.25" not in str(figures(found)[0]["svg"])
    assert marks(found, found["points"][1]) == ["failed calls: 3"]


@pytest.mark.parametrize("width", [44, 80, 110])
def test_a_narrow_terminal_cuts_no_interval(width: int) -> None:
    found = fake_frontier(2, 3)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(setting_table(found, "choose"))
    text = console.export_text()
    assert "…" not in text
    for point in found["points"]:
        for name in columns(found["points"]):
            cell = as_cell(point["choose"]["rates"][name])
            assert f"{100 * cell.rate:.1f} %" in text
            assert f"[{100 * cell.low:.1f}, {100 * cell.high:.1f}]" in text


def test_the_terminal_shows_rates_with_n_and_marks() -> None:
    found = fake_frontier(1, 4)
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for phase in ("choose", "report"):
        console.print(setting_table(found, phase))
    text = console.export_text()
    assert "25.0 %" in text
    assert "[19.5, 31.4]" in text
    assert "n=200" in text
    assert "(1.70×)" in text
    assert "SRA_s loss" in text
    assert picked_by({**found, "picks": {**found["picks"], "all": None}}).endswith("beats the untouched model.")
    assert picked_by({**found, "picks": {"measure": None}}) == ""
    assert "Nothing was picked by what is reported" in chosen_on(found)
