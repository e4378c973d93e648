"""The page of a study of two models (`mechanism.study`): its summary in, one self-contained HTML file out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..journal import write_text
from .figures.curves import curves
from .numbers import as_cell, cell_text
from .page import content_hash
from .templates import part, template

View = dict[str, Any]
Row = Mapping[str, Any]

ORDER = ("SSS", "SSU", "SUU", "USU", "UUU", "safe", "unsafe")
"""Groups, in the order of their lines."""
WORDS = {"base": "before tuning", "tuned": "after tuning"}

READ = {
    "separation": "Each line is the mean of one combination's pairs. At 1 a pair lies where the safe pairs' mean is, "
    "at -1 where the unsafe pairs' is; 0 is half-way. The means come from other pairs, and from none of SSU, "
    "whose halves are each harmless: a model that understands the combination has SSU near the unsafe "
    "from some layer on.",
    "null_share": "How much of what tuning writes goes into directions that the base's matrix wrote nothing into (the "
    "left null space, beyond 90 % of its energy). Near 1, tuning has added something beside what the "
    "model did; near 0, it has bent what was there. Mean of the leading left singular vectors.",
    "gain": "How strongly the update acts on the states looked at, |dW a| / |a|, by "
    "combination. Where the unsafe combinations lie above SSS, the update answers to harm; where all lie "
    "together, it shifts every answer alike.",
    "depth": "How differently the two models continue after the same beginning: the base's own answer, of which so "
    "many tokens are given. A line that falls to 0 at once means that tuning changed the first tokens "
    "alone, so an answer that has begun goes on as before (shallow); one that stays up means that it "
    "reaches deeper.",
    "attacks": "The same as above for the unsafe pairs that the tuned model answers all the same. Attacks that work "
    "lie where safe inputs lie.",
}
"""Of each figure, how to read it."""


def write_mechanism_page(summary: Mapping[str, Any], out: Path) -> Path:
    """Write the page of `Study.summary` to `out`, whole or not at all; return its path."""
    write_text(out, render(summary))
    return out


def render(summary: Mapping[str, Any]) -> str:
    """The page as text."""
    style = "".join(map(part, ("results.css", "page.css", "frontier.css")))
    base, tuned = (summary[name]["model"] for name in WORDS)
    return template("mechanism.html.jinja").render(
        version=version("holisafe"),
        style=Markup(style),  # noqa: S704 - the package's own files
        style_hash=content_hash(style),
        title=f"What tuning did inside: {tuned}",
        base=base,
        tuned=tuned,
        summary=summary,
        groups=[(name, summary["groups"][name]) for name in _ordered(summary["groups"])],
        figures=list(figures(summary)),
        nearest=[(block, *(cell_text(as_cell(cell)) for cell in both)) for block, both in enumerate(_nearest(summary))],
        sensitivity=_sensitivity(summary["sensitivity"]),
        decided=[(row["group"], f"{row['mean']:.1f}") for row in summary["places"]],
        dated=f"Written {datetime.now(UTC):%d %B %Y}.".replace(" 0", " "),
    )


def figures(summary: Mapping[str, Any]) -> list[View]:
    """{title, svg, caption} each."""
    drawn: list[View] = []

    def draw(name: str, title: str, values: Mapping[str, Mapping[int, float]], along: str, upward: str) -> None:
        if values:
            svg = curves(values, along=along, upward=upward, title=title, name=f"m{len(drawn)}")
            drawn.append({"title": title, "svg": Markup(svg), "caption": READ[name]})  # noqa: S704 - escaped in svg

    for model, words in WORDS.items():
        rows = [row for row in summary["separation"] if row["model"] == model]
        draw("separation", f"Which pairs lie together, {words}", by_group(rows, "block"), "block", "nearer to the safe")
    attacks: dict[str, Mapping[int, float]] = {}
    for model, words in WORDS.items():
        rows = [row for row in summary["attacks"] if row["model"] == model]
        attacks |= {f"{group}, {words}": line for group, line in by_group(rows, "block").items()}
    draw("attacks", "Attacks that succeed", dict(list(attacks.items())[:5]), "block", "nearer to the safe")
    shares: dict[str, dict[int, float]] = {}
    for row in summary["null_share"]:
        shares.setdefault(str(row["matrix"]).rpartition(".")[2], {})[int(row["block"])] = row["null_share"]
    draw("null_share", "Where the update writes", shares, "block", "share outside the base's columns")
    draw("gain", "On what the update acts", by_group(summary["gain"], "block"), "block", "|dW a| / |a|")
    depth = by_group(summary["depth"], "position")
    draw("depth", "How deep tuning reaches", depth, "tokens already said", "KL of the next token, nats")
    return drawn


def by_group(rows: Sequence[Row], along: str) -> dict[str, dict[int, float]]:
    """{group: {number: mean}} in the usual order of groups."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(str(row["group"]), {})[int(row[along])] = float(row["mean"])
    return {name: found[name] for name in _ordered(found)}


def _ordered(groups: Mapping[str, Any]) -> list[str]:
    return sorted(groups, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))


def _nearest(summary: Mapping[str, Any]) -> list[tuple[Row, Row]]:
    return list(zip(*(summary["nearest_mean"][name] for name in WORDS), strict=True))


def _sensitivity(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """(group, before, after): mean and standard deviation."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        spread = "" if row["sd"] is None else f" ± {row['sd']:.3g}"
        found.setdefault(str(row["group"]), {})[str(row["model"])] = f"{row['mean']:.3g}{spread} (n={row['n']})"
    return [(name, *(found[name].get(model, "–") for model in WORDS)) for name in _ordered(found)]  # type: ignore[misc]
