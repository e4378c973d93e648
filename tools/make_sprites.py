"""Rasterise the sprite sheets of PictoSafe from the emoji sets' own vector files.

    npm install @iconify-json/noto @iconify-json/fluent-emoji-flat @iconify-json/emojione @iconify-json/twemoji
    pip install resvg-py
    python -m tools.make_sprites node_modules/@iconify-json

One PNG for each drawing style is written into the package: 48 x 48 RGBA sprites, 12 a row, in the order of
`catalog.concepts()`. The versions they were made from stand in `LICENSES.md`.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from holisafe.benchmarks.pictosafe import scenes
from holisafe.benchmarks.pictosafe.catalog import concepts
from holisafe.benchmarks.pictosafe.scenes import SPRITE_PIXELS, SPRITES_PER_ROW

SHEETS = {"noto": "noto", "fluent": "fluent-emoji-flat", "emojione": "emojione", "twemoji": "twemoji"}


def icon_set(folder: Path) -> dict[str, Any]:
    """The parsed `icons.json` of one Iconify package folder."""
    data: dict[str, Any] = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    return data


def rasterise(icons: dict[str, Any], name: str, pixels: int = SPRITE_PIXELS) -> Image.Image | None:
    """One icon as an RGBA image of `pixels` squared, or None where the set lacks it.

    Iconify spells skin tones with or without the word `-skin-tone`; both are tried, and aliases are followed.
    """
    import resvg_py

    spellings = (name, name.replace("-skin-tone", ""))
    aliases = icons.get("aliases", {})
    known = [aliases[n]["parent"] if n in aliases else n for n in spellings if n in aliases or n in icons["icons"]]
    if not known:
        return None
    icon = icons["icons"][known[0]]
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}" '
        f'width="{pixels}" height="{pixels}">{icon["body"]}</svg>'
    )
    return Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg)))).convert("RGBA")


def main(packages: Path) -> None:
    """Write one sheet a style; a concept that a style lacks is an error, since every style must draw every scene."""
    names = concepts()
    rows = -(-len(names) // SPRITES_PER_ROW)
    for sheet, package in SHEETS.items():
        icons = icon_set(packages / package)
        image = Image.new("RGBA", (SPRITES_PER_ROW * SPRITE_PIXELS, rows * SPRITE_PIXELS))
        for index, name in enumerate(names):
            sprite = rasterise(icons, name)
            if sprite is None:
                raise SystemExit(f"{package} has no icon {name!r}")
            image.paste(sprite, (index % SPRITES_PER_ROW * SPRITE_PIXELS, index // SPRITES_PER_ROW * SPRITE_PIXELS))
        image.save(Path(scenes.__file__).parent / "sprites" / f"{sheet}.png", optimize=True)
        print(f"{sheet}.png: {len(names)} sprites")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
