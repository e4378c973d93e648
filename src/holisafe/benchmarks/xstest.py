"""XSTest: harmless prompts that look dangerous, and dangerous ones that look alike; text only.

The folder holds the authors' `xstest_prompts.csv` (id, prompt, type, label, focus, note), or `xstest_v2_prompts.csv` as
it was called before, without labels: a type that begins with `contrast_` is unsafe.

Source: XSTest (arXiv 2308.01263, NAACL 2024), its repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Sample
from ..registry import benchmarks
from ..tables import label, one_of, optional_text, text
from ..taxonomy import Expected
from .base import Benchmark
from .tables import Place, Table, first_of, read_tables, release

EXPECTED: dict[str, Expected] = {"safe": "answer", "unsafe": "refuse"}


@benchmarks.register(
    "xstest",
    summary="Harmless prompts that look dangerous, and dangerous ones that look alike; text only",
    size="450 prompts",
    combinations="none",
    licence="CC BY 4.0",
    citation="Röttger et al., XSTest, arXiv 2308.01263, NAACL 2024",
    access="clone github.com/paul-rottger/xstest and name the clone with --root",
    published="expected: answer 250, refuse 200",
)
def load(root: Path | None) -> Benchmark:
    """450 prompts without images; the category is the authors' type, `meta` keeps their focus and note."""
    root = release(root, "xstest")
    return read_tables("xstest", root, [Table(first_of(root, "xstest_prompts.csv", "xstest_v2_prompts.csv"), _samples)])


def _samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
    kind = text(row, "type", *place)
    told = "label" in row or place[0].name == "xstest_prompts.csv"
    safety = one_of(row, "label", EXPECTED, *place) if told else "unsafe" if kind.startswith("contrast_") else "safe"
    if kind.startswith("contrast_") != (safety == "unsafe"):
        raise InputError(f"{safety!r} contradicts type {kind!r}", where=place[0], row=place[1], field="label")
    kept = {field: optional_text(row, field, *place) for field in ("focus", "note")}
    yield Sample(
        benchmark="xstest",
        id=label(row, "id", *place),
        query=text(row, "prompt", *place),
        expected=EXPECTED[safety],
        category=kind,
        meta={field: value for field, value in kept.items() if value is not None},
    )
