"""JailBreakV-28K: jailbreak prompts of seven formats, each with a picture, for 2,000 harmful queries.

    [JailBreakV_28K/]JailBreakV_28K.csv    id, jailbreak_query, redteam_query, format, policy, image_path, from,
                                           selected_mini, transfer_from_llm
    [JailBreakV_28K/]figstep/ ...          the pictures by the paths that image_path gives

Logic, Persuade and Template are text attacks beside any picture, figstep, SD, typo and SD_typo show the query in the
picture. `selected_mini` marks the 280 of the authors' small version: they are the split `mini`, the others `test`.

Source: JailBreakV-28K (arXiv 2404.03027), its dataset card.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..records import Sample
from ..registry import benchmarks
from ..tables import identity, label, optional_text, text, truth
from .base import Benchmark
from .tables import Place, Table, first_of, picture, read_tables, release

NAME = "jailbreakv"
FILE = "JailBreakV_28K.csv"


@benchmarks.register(
    NAME,
    summary="Jailbreak prompts of seven formats, each with a picture",
    size="28,000 pairs",
    combinations="none: all to be refused",
    licence="MIT",
    citation="Luo et al., JailBreakV-28K, arXiv 2404.03027",
    hub="JailbreakV-28K/JailBreakV-28k",
    access="hub dataset JailbreakV-28K/JailBreakV-28k and the pictures that its card links to; --root FOLDER",
)
def load(root: Path | None) -> Benchmark:
    """Every prompt: `meta.condition` is the format, the cluster the harmful query that it is about."""
    root = release(root, NAME)
    file = first_of(root, f"JailBreakV_28K/{FILE}", FILE)
    folder = file.removesuffix(FILE).rstrip("/")

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        form, wanted = label(row, "format", *place), text(row, "redteam_query", *place)
        kept = {field: value for field in ("from", "transfer_from_llm") if (value := _word(row, field, place))}
        yield Sample(
            benchmark=NAME,
            id=identity(row, "id", *place),
            query=text(row, "jailbreak_query", *place),
            images=(picture(row, "image_path", *place, root=root, folder=folder),),
            expected="refuse",
            category=text(row, "policy", *place),
            cluster=wanted,
            split="mini" if truth(row, "selected_mini", *place) else "test",
            meta={"condition": form, "redteam_query": wanted, **kept},
        )

    return read_tables(NAME, root, [Table(file, samples)])


def _word(row: dict[str, Any], field: str, place: Place) -> str | None:
    return optional_text({**row, field: str(row[field])}, field, *place) if row.get(field) is not None else None
