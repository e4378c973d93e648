"""The one file that methods learn into, against plain readers of its format, and spoilt in every way."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from holisafe.calibration.learned import Learned, load_learned
from holisafe.errors import InputError

TENSORS = {
    "direction": np.arange(12, dtype=np.float32).reshape(3, 4),
    "ends": np.array([3, 9], dtype=np.int64),
    "nothing": np.zeros(0, dtype=np.uint8),
}
FACTS = {"options": {"k": "4"}, "model": {"fingerprint": "ab"}, "ümlaut": [1, None, 2.5]}


def test_what_is_saved_is_what_any_reader_of_safetensors_finds(tmp_path: Path) -> None:
    path = Learned("toy", {**TENSORS, "turned": TENSORS["direction"].T}, FACTS).save(tmp_path / "new/a.safetensors")
    with safe_open(path, "np") as file:
        assert set(file.keys()) == {*TENSORS, "turned"}
        for name, array in {**TENSORS, "turned": TENSORS["direction"].T}.items():
            assert np.array_equal(file.get_tensor(name), array)
        assert json.loads(file.metadata()["holisafe"]) == {"schema": 1, "method": "toy", **FACTS}
    found = load_learned(path, "toy")
    assert (found.method, dict(found.facts), found.path) == ("toy", FACTS, str(path))
    assert found.tensors["direction"].tolist() == TENSORS["direction"].tolist()
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_content_tells_files_apart_and_not_where_they_lie(tmp_path: Path) -> None:
    one, same = (Learned("toy", TENSORS, FACTS).save(tmp_path / f"{name}.safetensors") for name in "ab")
    other = Learned("toy", {**TENSORS, "ends": np.array([3, 8])}, FACTS).save(tmp_path / "c.safetensors")
    assert load_learned(one).content == load_learned(same).content != load_learned(other).content


def written(path: Path, header: object) -> None:
    save_file({"a": np.zeros(2)}, path, metadata={"holisafe": json.dumps(header)})


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "no such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "is no file that"),
    "empty": (lambda path: path.write_bytes(b""), "is no file that"),
    "half of it": (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), "is no file that"),
    "a huge header": (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"), "is no file that"),
    "another tool's": (lambda path: save_file({"a": np.zeros(2)}, path), "is no file that"),
    "not JSON inside": (
        lambda path: save_file({"a": np.zeros(2)}, path, metadata={"holisafe": "{"}),
        "is no file that",
    ),
    "a list inside": (lambda path: written(path, [1]), "is no file that"),
    "a word for a schema": (lambda path: written(path, {"schema": "one", "method": "toy"}), "is no file that"),
    "no method": (lambda path: written(path, {"schema": 1}), "is no file that"),
    "a later schema": (lambda path: written(path, {"schema": 2, "method": "toy"}), "'schema'.*newer holisafe"),
    "another method's": (lambda path: written(path, {"schema": 1, "method": "other"}), "what other learnt, not toy"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_file_is_named(name: str, tmp_path: Path) -> None:
    path = Learned("toy", TENSORS, FACTS).save(tmp_path / "a.safetensors")
    spoil, says = SPOILT[name]
    spoil(path)
    with pytest.raises(InputError, match=says) as caught:
        load_learned(path, "toy")
    assert caught.value.where == path


def test_its_name_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"NAME\.safetensors"):
        Learned("toy", TENSORS).save(tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []
