"""A model folder's fingerprint: moves with every byte that matters, stays with what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from holisafe.targets import fingerprint as module
from holisafe.targets.fingerprint import fingerprint


def folder(path: Path, weights: bytes) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(weights)
    return path


def test_every_byte_counts_in_a_small_folder(tmp_path: Path) -> None:
    weights = bytes(range(256)) * 4096
    first = fingerprint(folder(tmp_path / "a", weights))
    assert fingerprint(folder(tmp_path / "b", weights)) == first
    changed = bytearray(weights)
    changed[777_777] ^= 1
    assert fingerprint(folder(tmp_path / "c", bytes(changed))) != first
    (tmp_path / "b" / "README.md").write_text("a note")
    (tmp_path / "b" / "training_log.jsonl").write_text("{}")
    assert fingerprint(tmp_path / "b") == first
    (tmp_path / "b" / "config.json").write_text('{"a": 1}')
    assert fingerprint(tmp_path / "b") != first
    (tmp_path / "a" / "config.json").rename(tmp_path / "a" / "other.json")
    assert fingerprint(tmp_path / "a") != first


@pytest.mark.parametrize("where", [0, 100, -1])
def test_a_large_folder_is_sampled_with_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: int) -> None:
    monkeypatch.setattr(module, "WHOLE", 2**20)
    weights = bytes(3 * 2**20)
    first = fingerprint(folder(tmp_path / "a", weights))
    changed = bytearray(weights)
    changed[where] = 1
    assert fingerprint(folder(tmp_path / "b", bytes(changed))) != first
    assert fingerprint(folder(tmp_path / "c", weights + b"\0")) != first, "the size counts"
    moved = bytearray(weights)
    moved[2**20 : 2**20 + 2**16] = b"\1" * 2**16
    assert fingerprint(folder(tmp_path / "d", bytes(moved))) != first, "a changed stretch of 64 KB is seen"
