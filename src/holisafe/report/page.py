"""The page as a whole: run folders in, one self-contained HTML file out."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..journal import write_text
from .doubts import doubts
from .drawn import attacked, figures
from .groups import Group, benchmark_name, parts_of, read_groups
from .pairs import browser_data, packed
from .pictures import OpenImage, Progress
from .sections import breakdown_tables, facts, headlines, judges_of, result_tables, sentence
from .templates import part, template

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}


def write_page(
    runs: Sequence[Path],
    out: Path,
    open_image: OpenImage | None = None,
    titles: Sequence[str] | None = None,
    *,
    max_pairs: int = 20_000,
    tell: Progress = lambda stage, done, total: None,
) -> Path:
    """Write the report of one or several run folders to `out`, one HTML file that needs nothing else; return its path.

    Runs of the same benchmark stand side by side in the order given: the first is what the others are compared with.
    They are called by their models, and two of one model that was made safer Before and After, unless `titles`, one a
    run folder, says otherwise. Runs that asked the same models nothing but plain questions join the safety runs just
    before them.

    `open_image(run folder, image name)` gives the RGB pixels of a picture or raises InputError, in several threads.
    Without it pairs are listed without pictures. The browser of pairs carries at most `max_pairs`, and says how many it
    left out; pictures shrink as far as it takes for a page of ten megabytes. `tell` hears how far the work is.

    Raises InputError, with nothing written, for a folder that holds no scored run.
    """
    if max_pairs < 0:
        raise InputError(f"max_pairs is {max_pairs}; it must not be negative")
    groups = read_groups(runs, titles)
    write_text(out, render(groups, open_image, max_pairs, tell))
    return out


def render(groups: Sequence[Group], open_image: OpenImage | None, max_pairs: int, tell: Progress) -> str:
    """The page as text."""
    from markupsafe import Markup

    style, script = "".join(map(part, ("results.css", "page.css"))), part("page.js")
    data = browser_data(groups, open_image, max_pairs, tell=tell)
    return template("page.html.jinja").render(
        version=version("holisafe"),
        style=Markup(style),  # noqa: S704 - the package's own file
        style_hash=content_hash(style),
        script=Markup(script),  # noqa: S704 - the package's own file
        script_hash=content_hash(script),
        groups=[group_view(group, f"set-{index + 1}") for index, group in enumerate(groups)],
        manifests=[
            {
                "title": f"{run.title}: {benchmark_name(part.benchmark)}",
                "text": json.dumps(part.manifest, indent=2, ensure_ascii=False),
            }
            for group in groups
            for run in group.runs
            for part in parts_of(run)
        ],
        browser={"note": _browser_note(data)},
        pairs=packed({name: data[name] for name in ("sets", "pairs", "pictures")}),
        dated=f"Written {datetime.now(UTC):%d %B %Y}.".replace(" 0", " "),
        **_opening(groups),
    )


def content_hash(text: str) -> str:
    """The hash by which the Content-Security-Policy lets this very style or script through, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def group_view(group: Group, name: str) -> dict[str, Any]:
    """All of a group but its pairs, as the templates read it; `name` makes its ids unique."""
    return {
        "id": name,
        "name": group.name,
        "asked": _asked(group),
        "models": [f"{run.title} ({run.target})" if len(group.runs) > 1 else run.target for run in group.runs],
        "judges": judges_of(group),
        "said": sentence(group),
        "headlines": headlines(group),
        "doubts": doubts(group),
        "tables": result_tables(group),
        "robustness": attacked(group, name),
        "figures": figures(group, name),
        "breakdowns": breakdown_tables(group),
        "facts": facts(group),
    }


def _opening(groups: Sequence[Group]) -> dict[str, str]:
    """Title, heading and first sentence."""
    runs = [run for group in groups for run in group.runs]
    names = _listed([group.name for group in groups])
    heading = "Does it refuse what it should, and answer what it may?"
    times = "one run" if len(runs) == 1 else f"{NUMBERS.get(len(runs), len(runs))} runs"
    lead = f"The safety of a vision-language model on {names}, measured in {times}."
    return {"title": f"HoliSafe report: {names}", "heading": heading, "lead": lead}


def _asked(group: Group) -> str:
    """How many questions, of which kind."""
    counts = sorted({len(run.samples) for run in group.runs})
    number = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    plain = {sum(sample.has_answer_key for sample in run.samples.values()) for run in group.runs}
    useful = f", {max(plain):,} of them plain questions that test usefulness," if max(plain) else ""
    pictured = any(sample.every_image for run in group.runs for sample in run.samples.values())
    return f"{number} question{'' if number == '1' else 's'}{' about images' if pictured else ''}{useful}"


def _browser_note(data: dict[str, Any]) -> str:
    kept, left = len(data["pairs"]), data["left_out"]
    note = f"The page carries all {kept:,} pairs, in the order of asking."
    if left:
        note = (
            f"The page carries {kept:,} pairs and leaves {left:,} out: of every combination as many, wrong answers "
            "before others, so shares counted here are not the rates above. They are listed in the order of asking."
        )
    if data["changed"]:
        note += " The benchmark is not what the model was asked about any more, so its pictures are left out."
    elif data["unreadable"]:
        note += f" {data['unreadable']:,} images could not be read."
    if data["no_room"]:
        note += f" There was no room for {data['no_room']:,} images."
    return note


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
