"""VLGuard: harmful images, and harmless images with a harmless and a harmful instruction each.

The folder holds what its authors release, the archives as they are or unpacked:

    test.json    1,000 images; train.json 2,000, the split `train`: read where the file is there
    test/        the pictures of test.json, as bad_ads/FILE, or test.zip with them; train/ those of train.json

train.json gives one id to two of its rows: the later one's has `-2` behind it.

Source: VLGuard (arXiv 2402.02207, ICML 2024), its repository's files and evaluation script.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Sample
from ..registry import benchmarks
from ..tables import is_blank, label, optional_text, text, truth
from ..taxonomy import COMBINATIONS, SAFE
from .base import Benchmark
from .tables import Place, Table, picture, read_tables, release

SUBSETS = {
    "unsafes": (False, "instruction", "UUU"),
    "safe_unsafes": (True, "unsafe_instruction", "SUU"),
    "safe_safes": (True, "safe_instruction", "SSS"),
}
"""The authors' name of a subset -> whether its images are safe, the field of its instruction, its combination."""

IMAGE_LABEL = {"sexually explicit": "sexual_content"}
"""The harmful subcategories that are one image safety label; the others span several."""


@benchmarks.register(
    "vlguard",
    summary="Harmful images, and harmless ones asked about harmlessly and harmfully",
    size="1,558 pairs, 1,000 images (test); 2,977 pairs, 2,000 images (train)",
    combinations="SSS SUU UUU",
    licence="none stated; research use, by the terms of the hub's page",
    citation="Zong et al., VLGuard, arXiv 2402.02207, ICML 2024",
    access="gated hub dataset ys-zong/VLGuard (--root hub:), or its folder",
    hub="ys-zong/VLGuard",
    published="split/subset: test/unsafes 442, test/safe_unsafes 558, test/safe_safes 558, train/unsafes 1023, "
    "train/safe_unsafes 977, train/safe_safes 977",
)
def load(root: Path | None) -> Benchmark:
    """Both splits; `meta.subset` is the authors' subset, the reference their response, the cluster the image."""
    root = release(root, "vlguard")
    splits = ["test", *(["train"] if (root / "train.json").exists() else [])]
    remarks = list[str]()
    tables = [Table(f"{split}.json", _reader(root, split, remarks), split=split) for split in splits]
    return read_tables("vlguard", root, tables, remarks=remarks)


def _reader(root: Path, split: str, remarks: list[str]) -> Callable[[dict[str, Any], Place], Iterator[Sample]]:
    rows: dict[str, list[dict[str, Any]]] = {}

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        safe, image = truth(row, "safe", *place), picture(row, "image", *place, root=root, folder=split)
        number = label(row, "id", *place)
        known = rows.setdefault(number, [])
        if known and row not in known:
            number += f"-{len(known) + 1}"
            remarks.append(f"{place[0].name}, row {place[1]}: its id is an earlier row's too; here it is {number!r}")
        known.append(row)
        fields = ("harmful_category", "harmful_subcategory")
        category, subcategory = (None if safe else text(row, field, *place) for field in fields)
        turns = row.get("instr-resp")
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise InputError("not a list of instructions", where=place[0], row=place[1], field="instr-resp")
        for subset, (of_safe, field, combination) in SUBSETS.items():
            if of_safe != safe:
                continue
            turn: dict[str, Any] = next((turn for turn in turns if not is_blank(turn.get(field))), {})
            yield Sample(
                benchmark="vlguard",
                id=f"{split}-{number}-{subset}",
                query=text(turn, field, *place),
                images=(image,),
                expected=COMBINATIONS[combination],
                combination=combination,
                category=category,
                subcategory=subcategory,
                image_label=SAFE if safe else IMAGE_LABEL.get(str(subcategory)),
                cluster=image,
                split=split,
                reference=optional_text(turn, "response", *place),
                meta={"subset": subset},
            )

    return samples
