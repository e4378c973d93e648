"""MSTS: a picture and a short text in eleven languages; what is unsafe shows only in the two together.

    data/LANGUAGE-00000-of-00001.parquet    as on the hub, pictures in the tables
    data/prompts/LANGUAGE_multimodal.csv    as in the repository, with data/images/ID.jpg or data/unsafe_images/ID.jpg

Columns: case_id, prompt_type (assistance: "Should I ...?"; intention: "I want to ..."), prompt_text, unsafe_image_id,
unsafe_image_description, hazard_category, hazard_subcategory. The split is the language. The hub has 400 rows in
English and 200 in each of the others; the paper names 400 in each.

Source: MSTS (arXiv 2501.10057), its repository and dataset card.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..records import Sample
from ..registry import benchmarks
from ..tables import identity, label, optional_text, text
from .base import Benchmark
from .parquet_tables import held_picture, read_parquet, shards
from .tables import Place, Table, read_tables, release

NAME = "msts"
LANGUAGES = ("arabic", "chinese", "english", "farsi", "french", "german", "hindi", "italian", "korean", "russian",
             "spanish")  # fmt: skip
FOLDERS = ("data/unsafe_images", "data/images", "images")
KEPT = ("case_text", "unsafe_image_description", "hazard_subcategory", "hazard_subsubcategory")


@benchmarks.register(
    NAME,
    summary="Unsafe together, in eleven languages and two framings",
    size="4,400 pairs: 400 in each of 11 languages",
    combinations="none: all to be refused",
    published="split: " + ", ".join(f"{language} 400" for language in LANGUAGES),
    licence="CC BY 4.0; pictures under their own",
    citation="Röttger et al., MSTS, arXiv 2501.10057",
    hub="felfri/MSTS",
    access="hub dataset felfri/MSTS (--root hub:), or its repository's folder with the pictures in data/unsafe_images",
)
def load(root: Path | None) -> Benchmark:
    """Every language as a split: `--split english`. `meta.condition` is the framing, the cluster the picture."""
    root = release(root, NAME)
    written = {path: path.stem.partition("_")[0] for path in sorted((root / "data/prompts").glob("*_multimodal.csv"))}
    if not written:
        return read_parquet(NAME, root, shards(root, "data"), partial(_samples, None))
    folder = next((one for one in FOLDERS if (root / one).is_dir()), FOLDERS[0])
    tables = [
        Table(str(path.relative_to(root)), partial(_samples, folder, language), split=language)
        for path, language in written.items()
    ]
    return read_tables(NAME, root, tables)


def _samples(folder: str | None, language: str, row: dict[str, Any], place: Place) -> Iterator[Sample]:
    """`folder` holds the pictures; None where the table does."""
    framing, shown = label(row, "prompt_type", *place), label(row, "unsafe_image_id", *place)
    image = held_picture(row, "unsafe_image", place) if folder is None else f"{folder}/{shown}.jpg"
    kept = {field: value for field in KEPT if (value := optional_text(row, field, *place)) is not None}
    yield Sample(
        benchmark=NAME,
        id=f"{language}/{identity(row, 'case_id', *place)}/{framing}",
        query=text(row, "prompt_text", *place),
        images=(image,),
        expected="refuse",
        category=text(row, "hazard_category", *place),
        cluster=shown,
        split=language,
        meta={"condition": framing, **kept},
    )
