"""Endless augmented scenes for training the tiny VLM's eye: sprites of many styles, distorted on the fly.

Training draws on the seen styles of PictoSafe, on older and three-dimensional relatives of the same vendors, on other
freely licensed sets, and on about 1,400 more emoji as auxiliary classes. The development and unseen styles never
enter here.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from holisafe.benchmarks.pictosafe.catalog import concepts
from holisafe.benchmarks.pictosafe.scenes import CELL_PIXELS, GRID, SCENE_PIXELS, SPRITE_PIXELS

from ..make_sprites import icon_set, rasterise

TRAINING_SETS = {
    "noto": 1.0,
    "fluent-emoji-flat": 1.0,
    "fluent-emoji": 1.0,
    "noto-v1": 1.0,
    "fxemoji": 1.0,
    "streamline-emojis": 0.7,
    "fluent-emoji-high-contrast": 0.3,
    "mdi": 0.15,
    "ph": 0.15,
}
"""Iconify package -> how often it is drawn."""
ONE_COLOUR = ("fluent-emoji-high-contrast", "mdi", "ph")
"""Sets that draw in one colour; each glyph is inked at random."""
OTHER_NAMES = {
    "fxemoji": {
        "cigarette": "smokingsymbol",
        "unlocked": "openlock",
        "detective": "sleuthspy",
        "scissors": "blackscissors",
        "middle-finger": "reversehandmiddlefinger",
        "pile-of-poo": "poo",
        "oncoming-fist": "fistedhand",
        "kitchen-knife": "hocho",
        "no-one-under-eighteen": "nooneunder18symbol",
        "chart-increasing": "chartupwardstrend",
        "chart-decreasing": "chartdownwardstrend",
        "face-with-medical-mask": "medicalmask",
        "mens-room": "menssymbol",
        "womens-room": "womenssymbol",
        "globe-showing-europe-africa": "europeafricaglobe",
        "loudly-crying-face": "loudlycrying",
        "face-screaming-in-fear": "screamfear",
        "dog-face": "dog",
        "cat-face": "cat",
        "rabbit-face": "bunny",
        "panda": "pandaface",
        "prohibited": "noentrysign",
        "video-camera": "handheldvideocamera",
        "magnifying-glass-tilted-left": "leftmagnifyingglass",
        "pizza": "sliceofpizza",
        "snowman": "snowmanwithoutsnow",
        "basketball": "basketballandhoop",
        "laptop": "personalcomputer",
        "dollar-banknote": "banknotedollar",
        "framed-picture": "framewithpicture",
        "wrapped-gift": "present",
        "backpack": "schoolsatchel",
        "eggplant": "aubergine",
        "hot-pepper": "chilipepper",
        "necktie": "tie",
        "mountain-cableway": "mountaincableway",
    },
}
"""Where a set calls a concept by another name; elsewhere names are compared without their hyphens."""
DIRECTIONAL = (
    "chart",
    "sign",
    "right",
    "left",
    "arrow",
    "button",
    "clock",
    "keycap",
    "musical",
    "text",
    "symbol",
    "room",
)


def _rasterise_one(icons: dict[str, Any], name: str) -> np.ndarray | None:
    try:
        image = rasterise(icons, name)
    except (ValueError, OSError):
        return None
    return None if image is None else np.asarray(image)


def _squashed(name: str) -> str:
    return name.replace("-", "")


def collect_sprites(packages: Path, cache: Path) -> dict[str, np.ndarray]:
    """Rasterise every training set once: `names` (N,), `sprites` (sets, N, 48, 48, 4) uint8, `known` (sets, N) bool.

    The benchmark's own concepts come first, in sheet order; the auxiliary emoji follow.
    """
    if cache.exists():
        with np.load(cache) as stored:
            return dict(stored)
    sets = {name: icon_set(packages / name) for name in TRAINING_SETS}
    own = concepts()
    common = set(sets["noto"]["icons"]) & set(sets["fluent-emoji-flat"]["icons"])
    extra = sorted(name for name in common - set(own) if not re.search(r"skin-tone|-light$|-dark$|-medium|^flag", name))
    names = own + extra
    sprites = np.zeros((len(sets), len(names), SPRITE_PIXELS, SPRITE_PIXELS, 4), np.uint8)
    known = np.zeros((len(sets), len(names)), bool)
    for row, (name, icons) in enumerate(sets.items()):
        spelling = {_squashed(n): n for n in [*icons["icons"], *icons.get("aliases", {})]}
        other = OTHER_NAMES.get(name, {})
        for column, concept in enumerate(names):
            if name in ONE_COLOUR and "skin-tone" in concept:
                continue
            pixels = _rasterise_one(icons, spelling.get(_squashed(other.get(concept, concept)), concept))
            if pixels is not None and (pixels[..., 3] > 0).sum() > 20:
                sprites[row, column], known[row, column] = pixels, True
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(cache, names=np.array(names), sprites=sprites, known=known)
    return {"names": np.array(names), "sprites": sprites, "known": known}


class SpriteBank:
    """Draws batches of augmented scenes. All randomness comes from torch's global generator: seed that."""

    def __init__(self, stored: dict[str, np.ndarray], auxiliary: bool = True) -> None:
        self.own = len(concepts())
        self.classes = len(stored["names"]) if auxiliary else self.own
        names = [str(n) for n in stored["names"][: self.classes]]
        raw = torch.from_numpy(stored["sprites"][:, : self.classes]).permute(0, 1, 4, 2, 3)
        self.sharp = torch.empty(raw.shape, dtype=torch.uint8)
        self.soft = torch.empty(raw.shape, dtype=torch.uint8)
        blur = torch.tensor([1.0, 2.0, 1.0])
        kernel = (blur[:, None] * blur / 16).view(1, 1, 3, 3)
        for row in range(len(raw)):  # both stores hold colours multiplied by alpha, so that resampling is clean
            image = raw[row].float()
            image[:, :3] *= image[:, 3:] / 255
            smooth = F.conv2d(image.reshape(-1, 1, SPRITE_PIXELS, SPRITE_PIXELS), kernel, padding=1)
            self.sharp[row] = image.byte()
            self.soft[row] = smooth.view_as(image).clamp(0, 255).byte()
        weights = torch.tensor(list(TRAINING_SETS.values()))
        self.weights = torch.from_numpy(stored["known"][:, : self.classes]).float() * weights[:, None]
        self.one_colour = torch.tensor([name in ONE_COLOUR for name in TRAINING_SETS])
        self.keep_direction = torch.tensor([any(word in n for word in DIRECTIONAL) for n in names])
        self.skin = torch.tensor(["skin" in n for n in names])

    def batch(
        self,
        size: int,
        own_share: float = 0.6,
        empty_share: float = 0.15,
        strength: float = 1.0,
        cells: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """`size` scenes in [0, 1], (size, 3, 96, 96), and their labels (size, 9), `classes` meaning an empty cell.

        `cells` (size, 9), same coding, fixes the contents instead of drawing them.
        """
        total = size * GRID * GRID
        if cells is None:
            labels = torch.randint(0, self.own, (total,))
            if self.classes > self.own:
                other = torch.rand(total) >= own_share
                labels[other] = torch.randint(self.own, self.classes, (int(other.sum()),))
            empty = torch.rand(total) < empty_share
        else:
            labels = cells.reshape(-1).clone()
            empty = labels == self.classes
            labels[empty] = 0
        colour, alpha = self._glyphs(labels, strength)
        alpha = alpha * (~empty).view(-1, 1, 1, 1)

        def assemble(x: Tensor) -> Tensor:
            grid = x.view(size, GRID, GRID, -1, CELL_PIXELS, CELL_PIXELS)
            return grid.permute(0, 3, 1, 4, 2, 5).reshape(size, -1, SCENE_PIXELS, SCENE_PIXELS)

        mask = assemble(alpha)
        image = assemble(colour) * mask + self._backgrounds(size, strength) * (1 - mask)
        shift = tuple(torch.randint(-3, 4, (2,)).tolist())
        return torch.roll(image, shift, (2, 3)).clamp(0, 1), labels.masked_fill(empty, self.classes).view(size, -1)

    def _glyphs(self, labels: Tensor, strength: float) -> tuple[Tensor, Tensor]:
        """Colour (N, 3, 32, 32) and alpha (N, 1, 32, 32) of one distorted pictogram a label."""
        total = len(labels)
        style = torch.multinomial(self.weights[:, labels].t(), 1).squeeze(1)
        second = torch.multinomial(self.weights[:, labels].t(), 1).squeeze(1)
        store = self.soft if torch.rand(()) < 0.75 else self.sharp
        glyph = store[style, labels].float().div_(255)
        if (inked := self.one_colour[style].nonzero().squeeze(1)).numel():
            glyph[inked, :3] = torch.rand(len(inked), 3, 1, 1) * 0.6 * glyph[inked, 3:]
        mixed = _chosen((torch.rand(total) < 0.15) & (style != second) & ~self.one_colour[second])
        if mixed.numel():  # one glyph fading into another style's drawing of the same thing
            other = self.sharp[second[mixed], labels[mixed]].float().div_(255)
            half = torch.sigmoid(4 * _plane(len(mixed), SPRITE_PIXELS) + torch.rand(len(mixed), 1, 1) * 4 - 2)[:, None]
            blend = torch.where(torch.rand(len(mixed), 1, 1, 1) < 0.5, torch.rand(len(mixed), 1, 1, 1), half)
            glyph[mixed] = glyph[mixed] * blend + other * (1 - blend)
        glyph = F.grid_sample(glyph, self._warp(labels), padding_mode="zeros", align_corners=False)
        alpha = glyph[:, 3:].clamp(0, 1)
        colour = (glyph[:, :3] / alpha.clamp(min=1e-2)).clamp(0, 1)
        if strength > 0:
            colour = _recolour(colour, alpha, self.skin[labels], strength)
            alpha = _cutout(alpha, 0.25 * strength)
        return colour, alpha

    def _warp(self, labels: Tensor) -> Tensor:
        """Affine and elastic sampling grid (N, 32, 32, 2): scale, stretch, turn, shear and mirror."""
        total = len(labels)
        scale, stretch = _uniform(0.72, 1.12, total), torch.exp(_uniform(-0.18, 0.18, total))
        angle = _uniform(-20, 20, total) * math.pi / 180 * (1 + (torch.rand(total) < 0.1).float())
        shear = _uniform(-0.15, 0.15, total)
        mirror = torch.where((torch.rand(total) < 0.3) & ~self.keep_direction[labels], -1.0, 1.0)
        cos, sin, sx, sy = angle.cos(), angle.sin(), mirror / (scale * stretch), stretch / scale
        rows = [
            torch.stack([cos * sx, (shear - sin) * sx, _uniform(-0.12, 0.12, total)], 1),
            torch.stack([sin * sy, cos * sy, _uniform(-0.12, 0.12, total)], 1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), [total, 1, CELL_PIXELS, CELL_PIXELS], align_corners=False)
        amplitude = (_uniform(0, 0.1, total) * (torch.rand(total) < 0.6)).view(-1, 1, 1, 1)
        bend = F.interpolate(
            torch.randn(total, 2, 4, 4) * amplitude, size=CELL_PIXELS, mode="bicubic", align_corners=True
        )
        return grid + bend.permute(0, 2, 3, 1)

    def _backgrounds(self, size: int, strength: float) -> Tensor:
        start = torch.rand(size, 3, 1, 1) * 0.8 + 0.2
        end = (start + (torch.rand(size, 3, 1, 1) - 0.5) * 0.5).clamp(0.1, 1)
        ramp = torch.linspace(0, 1, SCENE_PIXELS)
        turned = (torch.rand(size, 1, 1, 1) < 0.5).float()
        ramp2d = turned * ramp.view(1, 1, 1, -1) + (1 - turned) * ramp.view(1, 1, -1, 1)
        image = start * (1 - ramp2d) + end * ramp2d
        image = image + torch.randn(size, 1, SCENE_PIXELS, SCENE_PIXELS) * torch.rand(size, 1, 1, 1) * 0.035
        if strength > 0:
            cloud = F.interpolate(torch.randn(size, 3, 12, 12), size=SCENE_PIXELS, mode="bilinear")
            image = image + cloud * 0.12 * (torch.rand(size, 1, 1, 1) < 0.3) * torch.rand(size, 1, 1, 1)
        return image.clamp(0, 1)


def _uniform(low: float, high: float, *shape: int) -> Tensor:
    return torch.rand(*shape) * (high - low) + low


def _chosen(mask: Tensor) -> Tensor:
    return mask.nonzero().squeeze(1)


def _plane(count: int, size: int) -> Tensor:
    """`count` ramps from -1 to 1 in random directions, (count, size, size)."""
    angle = torch.rand(count, 1, 1) * 2 * math.pi
    line = torch.linspace(-1, 1, size)
    return line[None, None] * angle.cos() + line[None, :, None] * angle.sin()


RGB_TO_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


def _recolour(colour: Tensor, alpha: Tensor, skin: Tensor, strength: float) -> Tensor:
    """Change hue, saturation, gain, gamma, tones, shading, outline, sharpness; skin mostly keeps its own."""
    total = len(colour)

    def some(share: float) -> Tensor:
        return torch.rand(total) < share * strength

    free = some(0.8) & ~(skin & (torch.rand(total) < 0.7))
    hue = torch.where(free & (torch.rand(total) < 0.7), _uniform(-0.45, 0.45, total) * strength, 0.0)
    hue = hue * (1 + 2 * (torch.rand(total) < 0.08).float())
    saturation = torch.where(free, torch.exp(_uniform(-0.9, 0.6, total) * strength), 1.0)
    saturation = saturation * torch.where(free & (torch.rand(total) < 0.08), 0.0, 1.0)
    turn = torch.zeros(total, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1], turn[:, 1, 2] = hue.cos() * saturation, -hue.sin() * saturation
    turn[:, 2, 1], turn[:, 2, 2] = hue.sin() * saturation, hue.cos() * saturation
    matrix = torch.linalg.inv(RGB_TO_YIQ) @ turn @ RGB_TO_YIQ
    colour = torch.bmm(matrix, colour.reshape(total, 3, -1)).view_as(colour)
    lit = (some(0.5) & free)[:, None]
    gain = torch.where(lit, _uniform(0.75, 1.25, total, 3) * _uniform(0.7, 1.3, total, 1), 1.0)
    bias = torch.where(lit, _uniform(-0.12, 0.12, total, 3) + _uniform(-0.12, 0.12, total, 1), 0.0)
    colour = (colour * gain[..., None, None] + bias[..., None, None]).clamp(0, 1)
    if (k := _chosen(some(0.35) & free)).numel():  # gamma
        colour[k] = colour[k].clamp(min=1e-3) ** torch.exp((torch.rand(len(k), 1, 1, 1) - 0.5) * strength)
    if (k := _chosen(some(0.12) & ~skin)).numel():  # few tones
        levels = torch.randint(2, 6, (len(k), 1, 1, 1)).float()
        colour[k] = (colour[k] * levels).round() / levels
    if (k := _chosen(some(0.06) & ~skin)).numel():  # two tones
        gray = colour[k].mean(1, keepdim=True)
        centre = (gray * alpha[k]).sum((2, 3), keepdim=True) / alpha[k].sum((2, 3), keepdim=True).clamp(min=1)
        light = ((gray - centre) * 12).sigmoid()
        colour[k] = light * torch.rand(len(k), 3, 1, 1) + (1 - light) * torch.rand(len(k), 3, 1, 1)
    if (k := _chosen(some(0.2))).numel():  # shading
        shade = 1 + 0.35 * _plane(len(k), CELL_PIXELS)[:, None] * torch.rand(len(k), 1, 1, 1)
        colour[k] = (colour[k] * shade).clamp(0, 1)
    if (k := _chosen(some(0.15))).numel():  # outline
        edge = (alpha[k] + F.max_pool2d(-alpha[k], 3, 1, 1)).clamp(0, 1) * torch.rand(len(k), 1, 1, 1)
        colour[k] = colour[k] * (1 - edge) + torch.rand(len(k), 3, 1, 1) * 0.4 * edge
    if (k := _chosen(some(0.2))).numel():  # blur or sharpen
        blurred = F.avg_pool2d(F.pad(colour[k], (1, 1, 1, 1), mode="replicate"), 3, 1)
        colour[k] = (colour[k] + (blurred - colour[k]) * _uniform(-1, 1, len(k), 1, 1, 1)).clamp(0, 1)
    return colour


def _cutout(alpha: Tensor, share: float) -> Tensor:
    """Punch a rectangle out of some glyphs."""
    k = _chosen(torch.rand(len(alpha)) < share)
    if not k.numel():
        return alpha
    top, left = torch.randint(0, 26, (2, len(k), 1, 1))
    height, width = torch.randint(4, 14, (2, len(k), 1, 1))
    line = torch.arange(CELL_PIXELS)
    inside = (line[:, None] >= top) & (line[:, None] < top + height) & (line >= left) & (line < left + width)
    alpha[k] = alpha[k] * ~inside[:, None]
    return alpha
