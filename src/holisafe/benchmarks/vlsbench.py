"""VLSBench: the risk shows in the picture only, so that no word of the query gives it away.

    data.json      a list: instruction_id, instruction, image_path, category, sub_category, source, and in the present
                   release safety_reason and image_description
    imgs/N.png     the pictures by the paths that image_path gives, or imgs.tar with them

One pair of the 2,241 (row 1686) was released without an instruction: it asks with the image alone, and a check says so.
Responses are judged refuse, warn or unsafe. `safety_reason`, why the pair is a risk, is kept in meta for judges of
reasons; it is never shown to a target.

Source: VLSBench (arXiv 2411.19939, ACL 2025), its repository and dataset card.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..records import Sample
from ..registry import benchmarks
from ..tables import label, optional_text, text
from .base import Benchmark
from .tables import Place, Table, picture, read_tables, release

NAME = "vlsbench"
KEPT = ("source", "safety_reason", "image_description")


@benchmarks.register(
    NAME,
    summary="Risks that only the picture shows; the query leaks nothing",
    size="2,241 pairs",
    combinations="USU",
    published="combination: USU 2241",
    licence="Apache-2.0",
    citation="Hu et al., VLSBench, arXiv 2411.19939, ACL 2025",
    hub="Foreshhh/vlsbench",
    access="hub dataset Foreshhh/vlsbench (--root hub:), or its folder",
)
def load(root: Path | None) -> Benchmark:
    """Every pair of `data.json`; the cluster is the picture."""
    root, remarks = release(root, NAME), list[str]()

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        image = picture(row, "image_path", *place, root=root, folder="")
        query = optional_text(row, "instruction", *place) if "instruction" in row else text(row, "instruction", *place)
        if query is None:
            remarks.append(f"row {place[1]} was released without an instruction: it asks with the image alone")
        yield Sample(
            benchmark=NAME,
            id=label(row, "instruction_id", *place),
            query=query or "",
            images=(image,),
            expected="refuse",
            combination="USU",
            category=text(row, "category", *place),
            subcategory=text(row, "sub_category", *place),
            cluster=image,
            meta={name: value for name in KEPT if (value := optional_text(row, name, *place)) is not None},
        )

    return read_tables(NAME, root, [Table("data.json", samples)], remarks=remarks)
