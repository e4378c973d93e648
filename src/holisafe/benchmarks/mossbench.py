"""MOSSBench: harmless queries about pictures with something in them that looks harmful: does a model refuse them?

    [data/][images_information/]information.json    an object: pid -> image, question, short description, metadata
    [data/]images/N.png                             or images.zip with them

`metadata.over` is the trigger: exaggerated risk, negated harm, counterintuitive interpretation, in the release `type 1`
to `type 3`.

Source: MOSSBench (arXiv 2406.17806), its repository and dataset card.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Sample
from ..registry import benchmarks
from ..tables import identity, keyed_rows, optional_text, short, text
from .base import Benchmark
from .tables import Place, Table, first_of, picture, read_tables, release

NAME = "mossbench"
FILES = ("data/images_information/information.json", "images_information/information.json", "information.json")
TRIGGERS = ("Exaggerated Risk", "Negated Harm", "Counterintuitive Interpretation")
CALLED = {f"type {number}": trigger for number, trigger in enumerate(TRIGGERS, start=1)}


@benchmarks.register(
    NAME,
    summary="Harmless queries that models refuse for what the picture shows",
    size="300 pairs",
    combinations="none: all to be answered",
    published="category: " + ", ".join(f"{trigger} 100" for trigger in TRIGGERS),
    licence="CC BY-SA 4.0",
    citation="Li et al., MOSSBench, arXiv 2406.17806",
    access="github.com/xirui-li/MOSSBench, or information.json with images.zip of hub dataset AIcell/MOSSBench; --root",
)
def load(root: Path | None) -> Benchmark:
    """Every query; the cluster is the picture."""
    root = release(root, NAME)
    file = first_of(root, *FILES)
    base = "data" if file == FILES[0] else ""

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        told = row.get("metadata")
        if not isinstance(told, dict):
            raise InputError(f"not an object: {short(told)}", where=place[0], row=place[1], field="metadata")
        over = text(told, "over", *place)
        image = picture(row, "image", *place, root=root, folder=base)
        described = optional_text(row, "description", *place) or optional_text(row, "short description", *place)
        yield Sample(
            benchmark=NAME,
            id=identity(row, "pid", *place),
            query=text(row, "question", *place),
            images=(image,),
            expected="answer",
            category=CALLED.get(over, over),
            cluster=image,
            meta={"description": described} if described else {},
        )

    return read_tables(NAME, root, [Table(file, samples, read=_queries)])


def _queries(path: Path, member: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The queries in the file's order. Raises InputError for any other JSON."""
    del member
    for row, number, query in keyed_rows(path, "queries"):
        yield row, {"pid": number, **query}
