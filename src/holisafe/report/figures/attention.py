"""Where generated tokens look: a line a layer for the chosen token and the image tokens, and a heat map over tokens.

The two figures of HoliSafe's analysis of its Safety Meta Token (arXiv 2506.04704, v1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .svg import WIDTH, Series, element, figure, legend, line, marker, points, text, tip

LEFT, RIGHT, HEIGHT = 52.0, 364.0, 210.0
ROW = 12.0
AXES = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

STYLE = """
svg { background: #fff; font-family: system-ui, sans-serif; }
text { font-size: 12px; fill: #1b1f24; } .small { font-size: 11.5px; } .tiny { font-size: 10.5px; }
.muted { fill: #5c646e; } .grid { stroke: #dfe2e6; fill: none; } .ground { fill: #f6f7f8; } .hit { fill: #005f99; }
.trace { fill: none; stroke-width: 1.6; } .mark { stroke: #fff; } .mark.hollow { fill: #fff; stroke-width: 2; }
.trace.tone0, .hollow.tone0 { stroke: #6b727c; } .trace.tone0 { stroke-dasharray: 5 3; }
.trace.tone1 { stroke: #005f99; } .mark.tone1 { fill: #005f99; }
"""


def attention_lines(table: Sequence[Mapping[str, Any]], *, target: str, title: str, name: str) -> str:
    """Rows {layer, to_token, to_image_mean, n} -> mean weight upwards, decoder layers sideways, from 0.

    `target` names what the first line is about. A layer without a value leaves a gap.
    """
    series = (Series(target, 1), Series("image tokens, mean", 0))
    fields = ("to_token", "to_image_mean")
    top = 30.0
    bottom = top + HEIGHT
    most = max((row[field] for row in table for field in fields if row[field] is not None), default=1.0)
    rim = next((rim for rim in AXES if most <= rim), 1.0)
    last = max(len(table) - 1, 1)

    def x(layer: int) -> float:
        return LEFT + layer / last * (RIGHT - LEFT)

    def y(weight: float) -> float:
        return bottom - weight / rim * HEIGHT

    parts = [legend(series, 16.0)]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(LEFT, y(share * rim), RIGHT, y(share * rim), "grid"))
        parts.append(text(LEFT - 6, y(share * rim) + 4, f"{100 * share * rim:g}", anchor="end", class_="small muted"))
    every = max(1, -(-len(table) // 10))
    for index, row in enumerate(table):
        if index % every == 0:
            parts.append(text(x(index), bottom + 15, str(row["layer"]), anchor="middle", class_="small muted"))
    parts.append(text((LEFT + RIGHT) / 2, bottom + 32, "decoder layer", anchor="middle", class_="small"))
    parts.append(_upward("attention weight, %", (top + bottom) / 2))
    for one, field in reversed(list(zip(series, fields, strict=True))):
        for run in _runs([row[field] for row in table]):
            places = [(x(index), y(value)) for index, value in run]
            parts.append(element("polyline", points=points(places), class_=f"trace bar tone{one.tone}"))
            for (index, value), place in zip(run, places, strict=True):
                said = tip(f"layer {table[index]['layer']}, {one.title}: {100 * value:.3g} %, n={table[index]['n']}")
                parts.append(element("g", said, marker(*place, one.tone, 3.5)))
    said = "; ".join(
        f"layer {row['layer']}: {target} {_percent(row['to_token'])}, image tokens {_percent(row['to_image_mean'])}, "
        f"n={row['n']}"
        for row in table
    )
    return figure(bottom + 40, title, said, *parts, name=name)


def attention_heat(weights: Sequence[Sequence[float | None]], *, target: str, title: str, name: str) -> str:
    """`weights[layer][token]` -> a cell each, layers upwards from the first, generated tokens sideways; a cell is as
    deep as its share of the largest weight. What was not measured stays empty."""
    top = 24.0
    height = ROW * len(weights)
    tokens = max((len(row) for row in weights), default=0)
    column = (RIGHT - LEFT) / max(tokens, 1)
    known = [(value, layer) for layer, row in enumerate(weights) for value in row if value is not None]
    most, where = max(known, default=(0.0, 0))
    parts = [
        element("rect", x=LEFT, y=top, width=RIGHT - LEFT, height=height, class_="ground"),
        text(LEFT, 14, f"attention on {target}; deepest: {_percent(most)}", class_="small"),
        _upward("layer", top + height / 2),
    ]
    for layer, row in enumerate(weights):
        y = top + height - ROW * (layer + 1)
        if layer % max(1, -(-len(weights) // 16)) == 0:
            parts.append(text(LEFT - 6, y + 9.5, str(layer), anchor="end", class_="tiny muted"))
        for step, value in enumerate(row):
            if value is None:
                continue
            parts.append(
                element(
                    "rect",
                    tip(f"layer {layer}, generated token {step + 1}: {100 * value:.3g} %"),
                    x=LEFT + column * step,
                    y=y,
                    width=max(column - 0.5, 0.5),
                    height=ROW - 0.5,
                    fill_opacity=round(value / most, 3) if most else 0.0,
                    class_="hit",
                )
            )
    for step in range(0, tokens, max(1, -(-tokens // 8))):
        here = LEFT + column * (step + 0.5)
        parts.append(text(here, top + height + 15, str(step + 1), anchor="middle", class_="small muted"))
    parts.append(text((LEFT + RIGHT) / 2, top + height + 32, "generated token", anchor="middle", class_="small"))
    said = (
        f"{len(weights)} layers, {tokens} generated tokens; the largest weight, {_percent(most)}, is in layer {where}"
    )
    return figure(top + height + 40, title, said, *parts, name=name)


def as_file(svg: str) -> str:
    """A figure with colours of its own, for a file that no page's stylesheet reaches."""
    opening, rest = svg.split(">", 1)
    room = f'xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}"'
    return f"{opening.replace('<svg', f'<svg {room}', 1)}>{element('style', STYLE)}{rest}\n"


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Neighbouring values that are there, with their places."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index, value))
    return [run for run in runs if run]


def _upward(words: str, y: float) -> str:
    turned = f"translate(12 {y:g}) rotate(-90)"
    return element("text", words, transform=turned, text_anchor="middle", class_="small")


def _percent(value: float | None) -> str:
    return "not measured" if value is None else f"{100 * value:.3g} %"
