"""SPA-VL's evaluation questions: harmful ones (HarmEval) and helpful ones (HelpEval), each with a picture.

    test/harm-*.parquet, test/help-*.parquet          question, image; as on the hub today
    evalharm/test-*.parquet, evalhelp/test-*.parquet  the same earlier

Source: SPA-VL (arXiv 2406.12030), its dataset card. Its training pairs are read by `holisafe tune`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Sample
from ..registry import benchmarks
from ..tables import optional_text, text
from .base import Benchmark
from .parquet_tables import held_picture, read_parquet, shards
from .tables import Place, release

NAME = "spa-vl"


@benchmarks.register(
    NAME,
    summary="Harmful and helpful evaluation questions of a preference data set",
    size="its test files",
    combinations="none: harm to be refused, help to be answered",
    licence="CC BY 4.0",
    citation="Zhang et al., SPA-VL, arXiv 2406.12030",
    hub="sqrti/SPA-VL",
    access="hub dataset sqrti/SPA-VL, or a folder with its test/ alone (the training pictures are gigabytes)",
)
def load(root: Path | None) -> Benchmark:
    """Both files that are there: `meta.condition` is harm or help."""
    root = release(root, NAME)
    files = {path: part for path, part in shards(root, "test").items() if part in ("harm", "help")}
    files |= {path: part for part in ("harm", "help") for path in shards(root, f"eval{part}")}
    if not files:
        raise InputError("holds neither test/harm-*.parquet nor evalharm/", where=root)
    return read_parquet(NAME, root, files, _samples)


def _samples(part: str, row: dict[str, Any], place: Place) -> Iterator[Sample]:
    image = held_picture(row, "image", place)
    yield Sample(
        benchmark=NAME,
        id=f"{part}-{place[1]}",
        query=text(row, "question", *place),
        images=(image,),
        expected="refuse" if part == "harm" else "answer",
        category=optional_text(row, "class1", *place),
        subcategory=optional_text(row, "class2", *place),
        cluster=image,
        meta={"condition": part},
    )
