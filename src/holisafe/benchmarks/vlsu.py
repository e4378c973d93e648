"""VLSU: image, text and the two together graded apart as safe, borderline or unsafe.

    [data/]VLSU.csv    prompt, image_grade, consensus_text_grade, consensus_combined_grade, image_category,
                       text_category, combined_category, web_path, uuid
    images/UUID.*      the pictures, which are released as addresses in web_path: nothing here fetches them

What is expected follows from the combined grade; pairs graded `not_sure`, and those whose picture is not there, are
left out and counted. A combination has a pair none of whose three grades is borderline, where the five know it.

Source: VLSU (arXiv 2510.18214), its repository apple/ml-vlsu.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..records import Sample
from ..registry import benchmarks
from ..tables import identity, one_of, optional_text, text
from ..taxonomy import COMBINATIONS, SAFE, Expected
from .base import Benchmark
from .tables import Place, Table, by_stem, first_of, read_tables, release

NAME = "vlsu"
EXPECTED: dict[str, Expected] = {"safe": "answer", "borderline": "borderline", "unsafe": "refuse"}
GRADES = (*EXPECTED, "not_sure")
GRADED = ("image_grade", "consensus_text_grade", "consensus_combined_grade")
CATEGORIES = ("image_category", "text_category")


@benchmarks.register(
    NAME,
    summary="Image, text and both graded safe, borderline or unsafe",
    size="8,187 pairs",
    combinations="SSS SSU SUU USU UUU: none where a grade is borderline",
    licence="see its repository",
    citation="Palaskar et al., VLSU, arXiv 2510.18214",
    access="github.com/apple/ml-vlsu, the pictures from its addresses as images/UUID.jpg; name its folder with --root",
)
def load(root: Path | None) -> Benchmark:
    """Every pair with a picture; `meta.pattern` has the three grades, the cluster is the picture."""
    root = release(root, NAME)
    files = by_stem(root, "images")
    left_out = {"is": 0, "grade": 0}

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        name = identity(row, "uuid", *place)
        grades = [one_of(row, field, GRADES, *place) for field in GRADED]
        if grades[2] not in EXPECTED or name not in files:
            left_out["grade" if grades[2] not in EXPECTED else "is"] += 1
            return
        code = "".join(grade[0].upper() for grade in grades)
        settled = "borderline" not in grades and "not_sure" not in grades and code in COMBINATIONS
        kept = {field: value for field in CATEGORIES if (value := optional_text(row, field, *place)) is not None}
        yield Sample(
            benchmark=NAME,
            id=name,
            query=text(row, "prompt", *place),
            images=(files[name],),
            expected=EXPECTED[grades[2]],
            combination=code if settled else None,
            category=optional_text(row, "combined_category", *place),
            image_label=SAFE if grades[0] == "safe" else None,
            cluster=files[name],
            meta={"pattern": "_".join(grades), **kept},
        )

    found = read_tables(NAME, root, [Table(first_of(root, "data/VLSU.csv", "VLSU.csv"), samples)])
    words = {"is": "have no picture in images/", "grade": "are graded not_sure as a pair"}
    return replace(found, remarks=tuple(f"{n:,} pairs {words[why]}: left out" for why, n in left_out.items() if n))
