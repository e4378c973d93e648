"""Write any benchmark as a folder in HoliSafe-Bench's form, which `holisafe_bench` reads back unchanged.

Samples and pixels are the same after reading; the same benchmark always gives the same bytes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..images import as_png
from ..journal import whole_folder, write_json
from ..records import Sample, to_line
from ..taxonomy import CATEGORIES, CATEGORY_OF, COMBINATIONS, IMAGE_LABELS, SAFE
from .base import Benchmark
from .holisafe_bench import RECORDS, SIDECAR
from .holisafe_fields import FIELDS, IMAGES, SAMPLE_FIELD


def export(benchmark: Benchmark, out: Path) -> tuple[int, int, int]:
    """Write `benchmark` to the folder `out`; gives the number of records, of samples in the sidecar only, of pictures.

    The folder appears whole or not at all: it is built beside `out` and then renamed. Raises InputError when `out` is
    in use, or for a picture that cannot be opened.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError("exists already and is not an empty folder", where=out)
    with whole_folder(out) as building:
        return _write(benchmark, building)


def _write(benchmark: Benchmark, folder: Path) -> tuple[int, int, int]:
    files: dict[str, str] = {}
    taken: dict[str, int] = {}
    records: list[dict[str, Any]] = []
    lines: list[str] = []
    (folder / IMAGES).mkdir()
    for sample in benchmark.samples:
        for name in sample.images:
            if name not in files:
                files[name] = _file_name(sample, taken)
                path = folder / IMAGES / files[name]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(as_png(benchmark.open_image(name)))
        body = json.loads(to_line(sample))
        if fits(sample):
            records.append(_record(sample, files[sample.images[0]]))
            body = {name: value for name, value in body.items() if name not in SAMPLE_FIELD.values()}
        elif sample.images:
            body["files"] = [files[name] for name in sample.images]
        lines.append(json.dumps(body, ensure_ascii=False))
    if not records:
        raise InputError(f"no sample of {benchmark.name} has one image, a combination and an image label")
    write_json(folder / RECORDS, records)
    (folder / SIDECAR).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(records), len(lines) - len(records), len(files)


def fits(sample: Sample) -> bool:
    """Whether the eight fields can hold the sample: one image, and every label from the release's vocabulary."""
    harmless = sample.expected == "answer"
    return (
        len(sample.images) == 1
        and sample.combination in COMBINATIONS
        and sample.expected == COMBINATIONS[sample.combination]
        and (sample.category in CATEGORIES or (sample.category is None and harmless))
        and (sample.subcategory in CATEGORY_OF or (sample.subcategory is None and harmless))
        and sample.image_label in IMAGE_LABELS
        and bool(sample.query.strip())
    )


def _record(sample: Sample, file: str) -> dict[str, Any]:
    label = IMAGE_LABELS.index(sample.image_label or SAFE)
    whole_number = sample.id.isascii() and sample.id.isdecimal() and str(int(sample.id)) == sample.id
    values = (
        int(sample.id) if whole_number else sample.id,
        file,
        sample.query,
        sample.category,
        sample.subcategory,
        sample.combination,
        label == IMAGE_LABELS.index(SAFE),
        label,
    )
    return dict(zip(FIELDS, values, strict=True))


def _file_name(sample: Sample, taken: dict[str, int]) -> str:
    """The release's way to name a picture: category/subcategory/subcategory_NUMBER."""
    category, subcategory = (
        re.sub(r"[^a-z0-9]+", "_", (label or "other").lower()) for label in (sample.category, sample.subcategory)
    )
    stem = f"{category}/{subcategory}/{subcategory}"
    taken[stem] = taken.get(stem, 0) + 1
    return f"{stem}_{taken[stem]}.png"
