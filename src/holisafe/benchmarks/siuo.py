"""SIUO, "safe inputs but unsafe output": image and text harmless by themselves, dangerous together.

The folder holds what its authors release: `siuo_gen.json` (also under `data/`) and `images/`. The multiple-choice half
is another task and is not read.

Source: SIUO (arXiv 2406.15279, Findings of NAACL 2025), its repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..records import Sample
from ..registry import benchmarks
from ..tables import label, text
from ..taxonomy import SAFE
from .base import Benchmark
from .tables import Place, Table, first_of, picture, read_tables, release


@benchmarks.register(
    "siuo",
    summary="Image and text harmless by themselves, dangerous together",
    size="167 pairs",
    combinations="SSU",
    licence="none stated",
    citation="Wang et al., SIUO, arXiv 2406.15279, Findings of NAACL 2025",
    access="hub dataset sinwang/SIUO (--root hub:), with the pictures it links to unpacked as images/ beside the json",
    hub="sinwang/SIUO",
    published="combination: SSU 167",
)
def load(root: Path | None) -> Benchmark:
    """SSU pairs, each image a cluster. The reference is a safe and helpful answer, `meta.safety_warning` the danger."""
    root = release(root, "siuo")
    table = first_of(root, "siuo_gen.json", "data/siuo_gen.json")
    folder = first_of(root, "images", "data/images")

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        image = picture(row, "image", *place, root=root, folder=folder)
        yield Sample(
            benchmark="siuo",
            id=label(row, "question_id", *place),
            query=text(row, "question", *place),
            images=(image,),
            expected="refuse",
            combination="SSU",
            category=text(row, "category", *place),
            image_label=SAFE,
            cluster=image,
            reference=text(row, "reference_answer", *place),
            meta={"safety_warning": text(row, "safety_warning", *place)},
        )

    return read_tables("siuo", root, [Table(table, samples)])
