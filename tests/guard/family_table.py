"""Run every check on every family and write the table to docs/families.md: python tests/guard/family_table.py"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import transformers

if __package__ in (None, ""):  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from guard.checks import CHECKS, Case, outcome
    from guard.tiny_families import FAMILIES
else:
    from .checks import CHECKS, Case, outcome
    from .tiny_families import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "families.md"
MARKS = {"passes": "+"}

INTRODUCTION = """# Which models take the guard

Tiny random models of {families} configurations of {types} families of transformers, each put through {checks} checks:
{whole} pass every one, the others every one that their stock model can pass. The tests fail when a check does, or when
this page is of other checks. Written by `python tests/guard/family_table.py`.

`+` passes; a letter: the stock model itself cannot, which the suite reproduces; the note says why.
"""

REFUSED = """
## Refused

`attach_guard` raises and names the reason for models whose images enter through cross-attention (Mllama, Idefics),
become words of the vocabulary (Chameleon, Emu3), are put before the text (GIT) or are placed by a mask (Kosmos-2), for
encoder-decoder models (Florence-2, UDOP) and for text-only models.
Families whose vision tower comes from the timm package (Gemma 3n, Perception LM, FastVLM) are not in the table.
"""


def table(said: Mapping[tuple[str, str], str]) -> str:
    """(family, check) -> outcome, as the page's markdown."""
    notes = list(dict.fromkeys(text for text in said.values() if text != "passes"))
    letters = {**MARKS, **{note: chr(ord("a") + index) for index, note in enumerate(notes)}}
    whole = sum(all(said[name, check] == "passes" for check in CHECKS) for name in FAMILIES)
    types = len({family.model_type for family in FAMILIES.values()})
    lines = [INTRODUCTION.format(families=len(FAMILIES), types=types, checks=len(CHECKS), whole=whole)]
    lines += [f"{number}. {check.replace('_', ' ')}" for number, check in enumerate(CHECKS, 1)]
    lines += [
        "",
        "| family | " + " | ".join(str(n) for n, _ in enumerate(CHECKS, 1)) + " |",
        "|---" * (len(CHECKS) + 1) + "|",
    ]
    for name in FAMILIES:
        lines.append(f"| {name} | " + " | ".join(letters[said[name, check]] for check in CHECKS) + " |")
    lines += ["", *(f"- {letters[note]}: {note.removeprefix('stock: ')}" for note in notes)]
    return "\n".join(lines) + "\n" + REFUSED


def main() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    said, failed = {}, []
    for name, family in FAMILIES.items():
        case = Case.of(name, family)
        for check in CHECKS:
            try:
                said[name, check] = outcome(case, check)
            except Exception as error:  # noqa: BLE001 - the page says it, whatever it is
                said[name, check] = f"fails: {type(error).__name__}"
                failed.append((name, check))
        print(name, *(check for other, check in failed if other == name), flush=True)
    PAGE.write_text(table(said))
    sys.exit(f"{len(failed)} checks fail" if failed else 0)


if __name__ == "__main__":
    main()
