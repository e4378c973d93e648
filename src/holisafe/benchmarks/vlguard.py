"""VLGuard: harmful images, and harmless images with a harmless and a harmful instruction each.

The folder holds what its authors release, the archives unpacked:

    test.json    1,000 images; train.json 2,000, the split `train`: read where the file is there
    test/        the pictures of test.json, as bad_ads/FILE; train/ those of train.json

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
    size="1,558 pairs, 1,000 images (test); 3,023 pairs, 2,000 images (train)",
    combinations="SSS SUU UUU",
    licence="none stated; research use, by the terms of the hub's page",
    citation="Zong et al., VLGuard, arXiv 2402.02207, ICML 2024",
    access="gated hub dataset ys-zong/VLGuard (--root hub:), or its folder; unpack test.zip and train.zip there",
    hub="ys-zong/VLGuard",
    published="split/subset: test/unsafes 442, test/safe_unsafes 558, test/safe_safes 558, train/unsafes 977, "
    "train/safe_unsafes 1023, train/safe_safes 1023",
)
def load(root: Path | None) -> Benchmark:
    """Both splits; `meta.subset` is the authors' subset, the reference their response, the cluster the image."""
    root = release(root, "vlguard")
    splits = ["test", *(["train"] if (root / "train.json").exists() else [])]
    for split in splits:
        if not (root / split).is_dir() and (root / f"{split}.zip").exists():
            raise InputError(f"unpack it, so that its pictures lie in {split}/ beside it", where=root / f"{split}.zip")
    return read_tables("vlguard", root, [Table(f"{split}.json", _reader(root, split)) for split in splits])


def _reader(root: Path, split: str) -> Callable[[dict[str, Any], Place], Iterator[Sample]]:
    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        safe, image = truth(row, "safe", *place), picture(row, "image", *place, root=root, folder=split)
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
                id=f"{split}-{label(row, 'id', *place)}-{subset}",
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
