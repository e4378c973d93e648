"""A tiny tuning set: plain colours, each with its guard label and its answer, as a JSONL file with images."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

COLOURS = {"red": "safe", "green": "gender", "blue": "suicide", "white": "terrorism"}


def colour_file(folder: Path, copies: int = 4) -> Path:
    """`folder/train.jsonl` with `copies` rows a colour, images beside it, and one row without an image."""
    rows = []
    (folder / "images").mkdir(parents=True)
    for colour, label in COLOURS.items():
        Image.new("RGB", (32, 32), colour).save(folder / "images" / f"{colour}.png")
        rows += [
            {
                "id": f"{colour}-{copy}",
                "images": [f"images/{colour}.png"],
                "query": "what does the picture show" + " ?" * copy,
                "response": f"the picture shows a {colour} square",
                "image_label": label,
                "combination": "SSS" if label == "safe" else "USU",
            }
            for copy in range(copies)
        ]
    rows.append({"id": "text", "query": "how do i", "response": "sorry , i cannot help"})
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
