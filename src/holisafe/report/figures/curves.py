"""Values of some groups along a row of numbers: layers, or positions of an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from .svg import Series, element, figure, legend, line, marker, points, text, tip

LEFT, RIGHT, HEIGHT = 44.0, 370.0, 190.0
STEPS = (1, 2, 5)


def curves(
    values: Mapping[str, Mapping[int, float]], *, along: str, upward: str, title: str, name: str, unit: str = ""
) -> str:
    """`values[group][number]` -> a line a group, numbers sideways under the words `along`, values upwards.

    Groups take the tones in order. Zero is always on the scale; a group without a value at a number leaves it out.
    """
    series = [Series(group, tone) for tone, group in enumerate(values)]
    numbers = sorted({number for group in values.values() for number in group})
    low, high, step = scale([value for group in values.values() for value in group.values()])
    top = 46.0
    bottom = top + HEIGHT

    def x(number: int) -> float:
        return LEFT + (number - numbers[0]) / max(numbers[-1] - numbers[0], 1) * (RIGHT - LEFT - 8) + 4

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * HEIGHT

    parts = [legend(series, 16.0), text(8.0, top - 12, upward, class_="small muted")]
    for count in range(round((high - low) / step) + 1):
        here = low + count * step
        parts.append(line(LEFT, y(here), RIGHT, y(here), "bar tone0 thin" if abs(here) < step / 2 else "grid"))
        parts.append(text(LEFT - 6, y(here) + 4, f"{here:g}", anchor="end", class_="small muted"))
    shown = numbers[:: max(1, -(-len(numbers) // 10))]
    parts += [text(x(number), bottom + 15, str(number), anchor="middle", class_="small muted") for number in shown]
    parts.append(text((LEFT + RIGHT) / 2, bottom + 32, along, anchor="middle", class_="small"))
    for one in series:
        places = sorted(values[one.title].items())
        spots = [(x(number), y(value)) for number, value in places]
        parts.append(element("polyline", points=points(spots), class_=f"trace bar tone{one.tone}", fill="none"))
        for (number, value), spot in zip(places, spots, strict=True):
            said = tip(f"{along} {number}, {one.title}: {value:.3g}{unit}")
            parts.append(element("g", said, marker(*spot, one.tone, 3.5)))
    told = "; ".join(
        f"{group}: " + ", ".join(f"{number}: {value:.3g}" for number, value in sorted(of.items()))
        for group, of in values.items()
    )
    return figure(bottom + 40, title, told, *parts, name=name)


def scale(values: Sequence[float]) -> tuple[float, float, float]:
    """Ends and step of an axis of about five round steps that holds 0 and every value."""
    low, high = min([0.0, *values]), max([0.0, *values])
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * one for one in (*STEPS, 10) if span / (power * one) <= 6)
    return math.floor(low / step + 1e-9) * step, math.ceil((high or span) / step - 1e-9) * step, step
