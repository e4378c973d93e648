"""One small guarded model on disk, and its ingredients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import holisafe
from holisafe.guard import save_guarded

from .tiny_families import FAMILIES, build, collate, samples

FAMILY = FAMILIES["llava-swin"]


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    """Three samples: one image, two images, none."""
    return collate(FAMILY, samples(FAMILY))


@pytest.fixture
def stock() -> Any:
    return build(FAMILY)


@pytest.fixture
def guarded() -> Any:
    torch.manual_seed(3)
    return holisafe.attach_guard(build(FAMILY)).eval()


@pytest.fixture(scope="session")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    build(FAMILY).save_pretrained(root / "stock")
    torch.manual_seed(3)
    save_guarded(holisafe.attach_guard(build(FAMILY)), root / "guarded")
    return root


@pytest.fixture
def stock_folder(_folders: Path, tmp_path: Path) -> Path:
    """A stock model's folder, to be spoilt at will."""
    return _copy(_folders / "stock", tmp_path / "stock")


@pytest.fixture
def guarded_folder(_folders: Path, tmp_path: Path) -> Path:
    """A guarded model's folder, to be spoilt at will."""
    return _copy(_folders / "guarded", tmp_path / "guarded")


def _copy(source: Path, target: Path) -> Path:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target
