"""What guards find against what they raise falsely: a curve with its 95 % band where there are scores, and the guard's
own verdict as a mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .svg import Series, element, figure, legend, line, marker, points, text, tip

LEFT, TOP, SIDE = 46.0, 40.0, 300.0


@dataclass(frozen=True)
class Guarding:
    """A guard in the figure. `curve` has (share of safe items raised, share of unsafe found, low, high), from 0 to 1;
    empty without scores. `own` is where its own verdict lies, None where it gives none."""

    title: str
    tone: int
    curve: Sequence[tuple[float, float, float, float]] = ()
    own: tuple[float, float] | None = None


def roc(guards: Sequence[Guarding], *, title: str, name: str) -> str:
    """False alarms sideways, what is found upwards; the diagonal is chance."""

    def at(share: float, found: float) -> tuple[float, float]:
        return LEFT + share * SIDE, TOP + (1 - found) * SIDE

    parts = [legend([Series(one.title, one.tone) for one in guards], 16.0)]
    for tick in range(6):
        here = tick / 5
        (x, bottom), (_, y) = at(here, 0), at(0, here)
        parts += [line(LEFT, y, LEFT + SIDE, y, "grid"), line(x, TOP, x, bottom, "grid")]
        parts.append(text(LEFT - 6, y + 4, f"{here:.0%}", anchor="end", class_="small muted"))
        parts.append(text(x, bottom + 15, f"{here:.0%}", anchor="middle", class_="small muted"))
    parts.append(line(*at(0, 0), *at(1, 1), "grid"))
    parts.append(text(LEFT + SIDE / 2, TOP + SIDE + 32, "safe items raised", anchor="middle", class_="small"))
    parts.append(text(LEFT, TOP - 8, "unsafe items found", class_="small muted"))
    for one in guards:
        if one.curve:
            band = [at(share, high) for share, _, _, high in one.curve]
            band += [at(share, low) for share, _, low, _ in reversed(one.curve)]
            parts.append(element("polygon", points=points(band), class_=f"roc-band tone{one.tone}"))
            traced = points(at(share, found) for share, found, _, _ in one.curve)
            parts.append(element("polyline", points=traced, class_=f"trace bar tone{one.tone}", fill="none"))
    for one in guards:
        if one.own is not None:
            told = f"{one.title}, its own verdict: {one.own[1]:.1%} found, {one.own[0]:.1%} of safe items raised"
            parts.append(element("g", tip(told), marker(*at(*one.own), one.tone)))
    told = "; ".join(
        f"{one.title}: " + ", ".join(f"{found:.0%} at {share:.0%}" for share, found, _, _ in one.curve[::4])
        for one in guards
        if one.curve
    )
    return figure(TOP + SIDE + 40, title, told or title, *parts, name=name)
