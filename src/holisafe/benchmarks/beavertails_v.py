"""BeaverTails-V: questions meant to bring out harm, with pictures by severity, and responses labelled safe or not.

    data/**/*.parquet, or *.parquet    question, image, category, image_severity, response, is_response_safe

A row is a sample; what was answered and how people labelled it is kept in meta, so that the labels are a test of
judges: docs/benchmarks.md shows how. Source: Safe RLHF-V (arXiv 2503.17682), its dataset card.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..records import Sample
from ..registry import benchmarks
from ..tables import label, optional_text, text, truth
from .base import Benchmark
from .parquet_tables import SHARD, held_picture, read_parquet
from .tables import Place, release

NAME = "beavertails-v"
SPLITS = ("train", "evaluation", "test", "validation")


@benchmarks.register(
    NAME,
    summary="Questions with pictures by severity, and labelled responses: a test of judges",
    size="its files",
    combinations="none: all to be refused",
    licence="CC BY-NC 4.0",
    citation="Ji et al., Safe RLHF-V, arXiv 2503.17682",
    hub="PKU-Alignment/BeaverTails-V",
    access="hub dataset PKU-Alignment/BeaverTails-V (--root hub:), or its folder",
)
def load(root: Path | None) -> Benchmark:
    """Every row: `meta` has image_severity, response and is_response_safe; the cluster is the picture."""
    root = release(root, NAME)
    files = {path: path.relative_to(root).as_posix() for path in sorted(root.rglob("*.parquet"))}
    return read_parquet(NAME, root, files, _samples)


def _samples(file: str, row: dict[str, Any], place: Place) -> Iterator[Sample]:
    image, name = held_picture(row, "image", place), SHARD.sub("", file)
    told: dict[str, Any] = {"image_severity": label(row, "image_severity", *place)}
    if (response := optional_text(row, "response", *place)) is not None:
        told |= {"response": response, "is_response_safe": truth(row, "is_response_safe", *place)}
    yield Sample(
        benchmark=NAME,
        id=f"{name.removeprefix('data/')}-{place[1]}",
        query=text(row, "question", *place),
        images=(image,),
        expected="refuse",
        category=text(row, "category", *place),
        cluster=image,
        split=next((split for split in SPLITS if split in name.split("/")), "train"),
        meta=told,
    )
