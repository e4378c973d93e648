from __future__ import annotations

from xml.etree import ElementTree

import pytest

from holisafe.report.figures.confusion import confusion, mistakes
from holisafe.report.figures.moved import Move, moved
from holisafe.report.figures.radar import radar
from holisafe.report.figures.rates import Row, rate_plot
from holisafe.report.figures.reliability import Bin, reliability
from holisafe.report.figures.svg import TONES, WIDTH, Series, marker
from holisafe.report.figures.tradeoff import tradeoff
from holisafe.runs.scores import Cell
from holisafe.taxonomy import CATEGORIES, IMAGE_LABELS
from report.fake_runs import cell

BEFORE, AFTER = Series("Before", 0), Series("After", 1)
HALF = cell([True] * 50 + [False] * 50)
NONE = cell([False] * 40 + [None] * 10)
MOVES = [Move(0.2, -0.1, 0.5), None]
HOSTILE = Series("<b>&\"'", 1)


def every_figure(series=(BEFORE, AFTER)):
    cells = [HALF, NONE][: len(series)]
    counts = [[0] * len(IMAGE_LABELS) for _ in IMAGE_LABELS]
    for index in range(len(IMAGE_LABELS)):
        counts[index][index] = 10
    counts[3][7] = 5
    bins = [Bin(i / 10, (i + 1) / 10, i / 10 + 0.05, 0.5, 4, 0.2, 0.8) for i in range(10)]
    by_category = [dict.fromkeys(CATEGORIES, one) for one in cells]
    return {
        "rates": rate_plot([Row("ASR SSU", "only the combination", cells)], series, title="Rates", name="a"),
        "radar": radar(list(CATEGORIES), by_category, series, title="Radar", name="b"),
        "tradeoff": tradeoff(cells, cells, series, across_name="RR, %", ideal=0.0, title="Trade", name="c"),
        "confusion": confusion(IMAGE_LABELS, counts, title="Confusion", name="d"),
        "reliability": reliability(bins, tone=1, title="Reliability", name="e"),
        "moved": moved({"noise": MOVES, "x" * 90: MOVES}, [AFTER, *series[:1]], title="Moved", name="f"),
    }


def parts(svg: str, tag: str, class_: str = "") -> list[ElementTree.Element]:
    wanted = set(class_.split())
    return [node for node in ElementTree.fromstring(svg).iter(tag) if wanted <= set(node.get("class", "").split())]


@pytest.mark.parametrize("name", every_figure())
@pytest.mark.parametrize("series", [(BEFORE, AFTER), (AFTER,), (HOSTILE,)])
def test_every_figure_is_well_formed_and_says_what_it_shows(name, series):
    root = ElementTree.fromstring(every_figure(series)[name])
    assert root.get("role") == "img"
    title, description = root.find("title"), root.find("desc")
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert title.text
    assert len(description.text) > 20


def ems(words: str) -> float:
    """About how wide a sans-serif sets these words, in multiples of the font's size."""
    return sum(0.3 if letter in "fijlrt.,[]() " else 0.9 if letter in "mwMW%" else 0.58 for letter in words)


@pytest.mark.parametrize("name", every_figure())
def test_every_text_lies_inside_the_drawing(name):
    for node in ElementTree.fromstring(every_figure()[name]).iter("text"):
        if node.get("transform"):
            continue
        size = {"small": 11.5, "tiny": 10.5, "minute": 8.5}.get((node.get("class") or "").split(" ")[0], 12)
        width, x = size * ems("".join(node.itertext())), float(node.get("x"))
        left = {"end": x - width, "middle": x - width / 2}.get(node.get("text-anchor", "start"), x)
        assert left > -2, "".join(node.itertext())
        assert left + width < WIDTH + 2, "".join(node.itertext())


@pytest.mark.parametrize(("ends", "reach"), [((-0.02, 0.09), 10), ((-0.3, 0.1), 50), ((-1.0, 1.0), 100)])
def test_a_change_stands_right_of_zero_when_it_rose_and_the_scale_holds_every_interval(ends, reach):
    change = sum(ends) / 2
    svg = moved({"noise": [Move(change, *ends)]}, [AFTER], title="t", name="n")
    at = {node.text: float(node.get("x")) for node in parts(svg, "text") if node.text}
    left, middle, right = at[f"−{reach}"], at["0"], at[f"+{reach}"]
    scale = (right - middle) / reach * 100
    (mark,) = parts(svg, "circle", "mark")
    assert float(mark.get("cx")) == pytest.approx(middle + change * scale, abs=0.02)
    bar = next(node for node in parts(svg, "line", "bar") if node.get("y1") == node.get("y2"))
    assert [float(bar.get(end)) for end in ("x1", "x2")] == pytest.approx(
        [middle + end * scale for end in ends], abs=0.02
    )
    assert left <= float(bar.get("x1")) <= float(bar.get("x2")) <= right


def test_tones_differ_in_shape():
    drawn = [marker(0, 0, tone).replace(f"tone{tone}", "") for tone in range(TONES)]
    assert len(set(drawn)) == TONES


def test_a_rate_stands_where_it_belongs_with_its_interval():
    svg = rate_plot([Row("ASR", "", [HALF])], [AFTER], title="t", name="n")
    labels = {node.text: float(node.get("x")) for node in parts(svg, "text") if node.text in ("0", "100")}
    dot = float(parts(svg, "circle", "mark")[0].get("cx"))
    assert (dot - labels["0"]) / (labels["100"] - labels["0"]) == pytest.approx(HALF.rate)
    bar = parts(svg, "line", "bar")[0]
    ends = [(float(bar.get(edge)) - labels["0"]) / (labels["100"] - labels["0"]) for edge in ("x1", "x2")]
    assert ends == pytest.approx([HALF.low, HALF.high], abs=1e-3)


def test_a_band_shows_what_invalid_verdicts_could_do_and_only_then():
    def bands(one):
        return parts(rate_plot([Row("ASR", "", [one])], [AFTER], title="t", name="n"), "rect", "bound")

    assert bands(HALF) == []
    (band,) = bands(NONE)
    assert float(band.get("width")) == pytest.approx((308 - 12) * NONE.bound_high, abs=0.01)


def test_a_rate_that_was_not_measured_is_said_to_be():
    svg = rate_plot([Row("ASR", "", [None, HALF])], [BEFORE, AFTER], title="t", name="n")
    assert "not measured" in svg
    assert len(parts(svg, "circle", "mark")) == 3, "two of the legend, one of the rate"


def corners(svg: str, tone: int) -> list[tuple[float, float]]:
    (area,) = parts(svg, "polygon", f"area tone{tone}")
    return [tuple(float(value) for value in place.split(",")) for place in area.get("points").split()]


def test_the_radar_reaches_as_far_as_its_rates():
    names = ["a", "b", "c", "d"]
    rates = [{"a": HALF, "b": cell([True] * 9), "c": cell([False] * 9), "d": HALF}]
    places = corners(radar(names, rates, [AFTER], title="t", name="n"), 1)
    centre_x, centre_y = 190, 150
    reach = [((x - centre_x) ** 2 + (y - centre_y) ** 2) ** 0.5 / 104 for x, y in places]
    assert reach == pytest.approx([0.5, 1.0, 0.0, 0.5], abs=1e-3)
    assert places[0][1] < centre_y, "from the top"
    assert places[1][0] > centre_x, "clockwise"


def test_a_radar_of_small_rates_has_a_nearer_rim():
    rates = [dict.fromkeys("abc", cell([True] + [False] * 9))]
    svg = radar(list("abc"), rates, [AFTER], title="t", name="n")
    _, y = corners(svg, 1)[0]
    assert (150 - y) / 104 == pytest.approx(0.1 / 0.25, abs=1e-3)
    assert "25" in [node.text for node in parts(svg, "text", "tiny")]


def test_a_radar_needs_three_spokes():
    with pytest.raises(ValueError, match="three"):
        radar(["a", "b"], [{}], [AFTER], title="t", name="n")


def test_the_confusion_matrix_shows_each_cell_once():
    labels, counts = ["safe", "race", "suicide"], [[8, 2, 0], [0, 0, 4], [0, 0, 0]]
    svg = confusion(labels, counts, title="t", name="n")
    hits, misses = parts(svg, "rect", "hit"), parts(svg, "rect", "miss")
    assert [node.find("title").text for node in hits] == ["safe, called safe: 8 of 10"]
    assert [node.find("title").text for node in misses] == [
        "safe, called race: 2 of 10",
        "race, called suicide: 4 of 4",
    ]
    depths = [float(node.get("fill-opacity")) for node in misses]
    assert depths == pytest.approx([0.15 + 0.85 * 0.2, 1.0])
    assert float(misses[0].get("x")) > float(hits[0].get("x"))
    assert float(misses[1].get("y")) > float(hits[0].get("y"))
    assert "8 of 14 images" in svg
    assert mistakes(labels, counts) == [("race", "suicide", 4), ("safe", "race", 2)]


def test_the_reliability_plot_leaves_empty_bins_out():
    bins = [Bin(0.0, 0.5, None, None, 0), Bin(0.5, 1.0, 0.8, 0.6, 5, 0.2, 0.9)]
    svg = reliability(bins, tone=1, title="t", name="n")
    (dot,) = parts(svg, "circle", "mark")
    assert float(dot.get("cx")) == pytest.approx(44 + 0.8 * 320)
    assert float(dot.get("cy")) == pytest.approx(220 - 0.6 * 210)
    assert len(parts(svg, "rect", "count")) == 1


@pytest.mark.parametrize(("ideal", "across", "scale"), [(0.0, 0.1, (0.0, 0.2)), (1.0, 0.7, (0.6, 1.0))])
def test_the_ideal_corner_is_at_no_harm_and_no_cost(ideal, across, scale):
    sideways = Cell(rate=across, n=9, low=across, high=across)
    quarter = Cell(rate=0.25, n=9)
    svg = tradeoff([sideways], [quarter], [AFTER], across_name="x, %", ideal=ideal, title="t", name="n")
    (dot,) = parts(svg, "circle", "mark")
    start, stop = scale
    assert float(dot.get("cx")) == pytest.approx(44 + 320 * (across - start) / (stop - start))
    assert float(dot.get("cy")) == pytest.approx(260 - 0.25 * 230)
    (corner,) = parts(svg, "path", "ideal")
    assert corner.get("d").endswith(f"L {44 if ideal == 0 else 364} 260 Z")


def test_a_run_without_one_of_the_two_rates_is_left_out():
    svg = tradeoff([None, HALF], [HALF, HALF], [BEFORE, AFTER], across_name="x", ideal=0.0, title="t", name="n")
    marks = parts(svg, "circle", "mark")
    assert len(marks) == 3, "two of the legend, one of the run that has both"
    assert parts(svg, "polyline") == []
