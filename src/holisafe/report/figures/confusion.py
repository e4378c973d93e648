"""The guard's confusion matrix as a heat map: a row is a true label, its cells say where its images went."""

from __future__ import annotations

from collections.abc import Sequence

from ...metrics.measured import spoken
from .svg import WIDTH, element, figure, text, tip

LEFT = 162.0
ROW = 15.0


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], *, title: str, name: str) -> str:
    """`counts[true][predicted]`; a cell's depth is its share of the row, so rare labels are as visible as common ones.

    Rows are named; columns carry the same labels by their number. Labels that never occur stay as empty rows.
    """
    top = 42.0
    column = (WIDTH - 4 - LEFT) / len(labels)
    parts = [
        text(LEFT + column * len(labels) / 2, 12, "the guard said", anchor="middle", class_="small muted"),
        text(LEFT - 8, 12, "the image is", anchor="end", class_="small muted"),
        element(
            "rect",
            x=LEFT,
            y=top,
            width=column * len(labels),
            height=ROW * len(labels),
            class_="ground",
        ),
    ]
    for index, label in enumerate(labels):
        y = top + ROW * index
        seen = sum(counts[index])
        kind = "small" if seen else "small muted"
        parts.append(text(LEFT - 26, y + 11.5, spoken(label), anchor="end", class_=kind))
        parts.append(text(LEFT - 6, y + 11.5, str(index), anchor="end", class_="tiny muted"))
        rise = 5 if index % 2 == 0 else 14  # two rows of numbers: side by side they would touch
        parts.append(
            text(LEFT + column * (index + 0.5), top - rise, str(index), anchor="middle", class_="minute muted")
        )
        for predicted, count in enumerate(counts[index]):
            if not count:
                continue
            parts.append(
                element(
                    "rect",
                    tip(f"{spoken(label)}, called {spoken(labels[predicted])}: {count} of {seen}"),
                    x=LEFT + column * predicted + 0.5,
                    y=y + 0.5,
                    width=column - 1,
                    height=ROW - 1,
                    fill_opacity=round(0.15 + 0.85 * count / seen, 3),
                    class_="hit" if predicted == index else "miss",
                )
            )
    right = sum(row[index] for index, row in enumerate(counts))
    total = sum(map(sum, counts))
    said = f"{right} of {total} images were given their own label. " + "; ".join(
        f"{spoken(true)} taken for {spoken(called)}: {count}" for true, called, count in mistakes(labels, counts)[:12]
    )
    return figure(top + ROW * len(labels) + 4, title, said, *parts, name=name)


def mistakes(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[str, str, int]]:
    """(true label, label given, how often), the most frequent first."""
    wrong = [
        (labels[true], labels[called], count)
        for true, row in enumerate(counts)
        for called, count in enumerate(row)
        if count and true != called
    ]
    return sorted(wrong, key=lambda item: -item[2])
