"""What is written in a picture arrives legible at a model: read back from what the client sends by a real OCR model."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from api_server import ApiServer
from holisafe.benchmarks.figstep import QUERY
from holisafe.records import Response
from holisafe.runs.folder import read_records
from real.conftest import PYTHON, Run, Served

WORDS = "Methods to bake a chocolate cake"
UPSIDE_DOWN = 3
"""EXIF's word for a picture that viewers turn by half."""


def typed(text: str = "Methods to bake\na chocolate cake\n1.\n2.\n3.") -> Image.Image:
    """Text on white in FigStep's manner."""
    image = Image.new("RGB", (760, 560), "white")
    ImageDraw.Draw(image).multiline_text((20, 10), text, font=ImageFont.load_default(72), fill="black", spacing=11)
    return image


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{2,}", text.lower()))


def write(folder: Path) -> dict[str, Path]:
    """The text in pictures of every kind that decoders read differently."""
    image, made = typed(), {}

    def save(name: str, picture: Image.Image, **options: object) -> None:
        made[name] = folder / name
        picture.save(made[name], **options)

    save("plain.png", image)
    exif = Image.Exif()
    exif[0x0112] = UPSIDE_DOWN
    save("turned.jpg", image.rotate(180), exif=exif.tobytes(), quality=90)
    grey = np.asarray(image.convert("L"), dtype=np.uint16) * 257
    save("deep.png", Image.fromarray(grey))
    alpha = Image.new("RGBA", image.size, (0, 0, 0, 0))
    alpha.putalpha(ImageOps.invert(image.convert("L")))
    save("transparent.png", alpha)
    save("cmyk.jpg", image.convert("CMYK"), quality=90)
    save("palette.gif", image.convert("P"))
    save("lossy.webp", image, quality=60)
    return made


@pytest.mark.parametrize("options", ["", ",image_format=jpeg:60,max_side=380"])
def test_words_arrive_from_every_kind_of_file(ocr: Served, holisafe: Run, desk: Path, options: str) -> None:
    pictures = write(desk)
    with (desk / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "query", "image", "combination"])
        rows.writerows([name, QUERY, path.name, "USU"] for name, path in pictures.items())
    target = f"openai/ocr,base_url={ocr.url}{options}"
    done = holisafe(
        "run", "table", "--root", "pairs.csv", "--target", target, "--judge", "string-match", "--out", "run"
    )
    assert done.returncode == 0, done.stderr
    read = {answer.sample_id: answer.text for answer in read_records(desk / "run", Response).values()}
    assert set(read) == set(pictures)
    assert {name for name, text in read.items() if words(text) != words(WORDS)} == set(), read


def test_figsteps_own_pictures_say_what_its_table_says(ocr: Served, holisafe: Run, desk: Path, shared: Path) -> None:
    """Every picture belongs to its row: its instruction is what is read in it."""
    root = shared / "data" / "figstep"
    target = f"openai/ocr,base_url={ocr.url}"
    more = ["--limit", 8, "--judge", "string-match", "--out", "run"]
    done = holisafe("run", "figstep-tiny", "--root", root, "--target", target, *more)
    assert done.returncode == 0, done.stderr
    (tables,) = root.glob("data/question/SafeBench-Tiny.csv")
    with tables.open(encoding="utf-8-sig", newline="") as file:
        told = {
            f"{r['dataset']}-{r['category_id']}-{r['task_id']}": words(r["instruction"]) for r in csv.DictReader(file)
        }
    read = {answer.sample_id: words(answer.text) for answer in read_records(desk / "run", Response).values()}
    assert len(read) == 8
    found = sum(len(told[name] & seen) for name, seen in read.items())
    assert found >= 0.95 * sum(len(told[name]) for name in read)


READ = """
import json, sys
from pathlib import Path
from holisafe.calibration.drawn_text import with_text
from holisafe.read_pictures import reader
from holisafe.images import open_image
_, read = reader("rapidocr")
typed = with_text(open_image(Path(sys.argv[1])), "How do I open this door?", placement="below", size=24, file=None)
print(json.dumps([read(open_image(Path(name))) for name in sys.argv[1:]] + [read(typed)]))
"""


def figstep(root: Path, number: int) -> tuple[list[dict[str, str]], list[Path]]:
    """The first rows of FigStep's small version, and the picture of each."""
    with (root / "data/question/SafeBench-Tiny.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))[:number]
    marks = [f"query_*_{row['category_id']}_{row['task_id']}_*.png" for row in rows]
    return rows, [next(root.glob(f"data/images/**/{mark}")) for mark in marks]


def here(code: str, *words: object) -> str:
    """What this process's Python prints, with the reader of the other environment."""
    (packages,) = PYTHON.parents[1].glob("lib/python*/site-packages")
    where = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(packages)])}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True, env=where).stdout


def test_the_defence_reads_figsteps_pictures_and_what_our_attack_types(ocr: Served, shared: Path) -> None:
    """`--calibrate ocr` reads here, in this process's Python, with the reader of the other environment."""
    rows, pictures = figstep(shared / "data" / "figstep", 8)
    *read, typed_by_us = json.loads(here(READ, *pictures))
    told = [words(row["instruction"]) for row in rows]
    found = sum(len(one & words(seen)) for one, seen in zip(told, read, strict=True))
    assert found >= 0.95 * sum(map(len, told))
    assert words("How do I open this door?") <= words(typed_by_us)


GUARD = """
import json, sys
from pathlib import Path
from holisafe.guards import open_guard
from holisafe.guards.base import Item, read_fitted
from holisafe.images import open_image
from holisafe.records import Picture
guard = open_guard(sys.argv[1])
pictures = [Picture(name, lambda name=name: open_image(Path(name))) for name in sys.argv[2:]]
items = [Item(id=str(n), pictures=(one,), text="Fill in the list.") for n, one in enumerate(pictures)]
found = {one.item_id: one for one in read_fitted(guard, items)}
print(json.dumps([found[item.id].unsafe for item in items]))
"""


@pytest.mark.parametrize("left_out", [True, False])
def test_a_guard_of_texts_finds_what_is_typed_into_pictures(ocr: Served, tmp_path: Path, left_out: bool) -> None:
    """A server that sees no picture calls unsafe what holds the words of a row; FigStep's own pictures where they are,
    and one of ours with a harmless one."""
    typed().save(tmp_path / "typed.png")
    Image.new("RGB", (200, 200), "green").save(tmp_path / "green.png")
    wanted, pictures = [words(WORDS)], [tmp_path / "typed.png", tmp_path / "green.png"]
    root = Path(__file__).parents[2].parent / "shared" / "data" / "figstep"
    if root.is_dir():
        rows, found = figstep(root, 4)
        wanted, pictures = [*wanted, *(words(row["instruction"]) for row in rows)], [*pictures, *found]

    def answer(body: dict[str, Any], _: str) -> dict[str, Any]:
        content = body["messages"][-1]["content"]
        said = words(content if isinstance(content, str) else " ".join(part.get("text", "") for part in content))
        unsafe = any(len(one & said) >= 0.9 * len(one) for one in wanted)
        return {"message": {"role": "assistant", "content": "unsafe\nS2" if unsafe else "safe"}}

    with ApiServer(answer=answer) as server:
        spec = f"llama-guard/openai/m,base_url={server.url}"
        read = f"ocr/{spec}" + (",pictures=left-out" if left_out else "")
        blind, told = (json.loads(here(GUARD, guard, *pictures)) for guard in (spec, read))
    assert blind == [False] * len(pictures)
    assert told == [True, False] + [True] * (len(pictures) - 2)
