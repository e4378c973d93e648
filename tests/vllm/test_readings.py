"""vLLM's engine says what `guard predict` says, of pictures and of pairs, together, alone and in chunks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from holisafe.guard import load_guarded, load_model, load_processor, save_guarded
from holisafe.guard.head import HEAD
from holisafe.guard.predict import predict

from .conftest import HERE, PYTHON, environment, reads

GUARDS: dict[str, dict[str, Any]] = {
    "pictures": {"source": "pictovlm", "pool": "last_hidden", "form": "native"},
    "pairs": {
        "source": "llava",
        "pool": "projected+hidden@1+image_and_text",
        "form": "base",
        "labels": ("safe", "unsafe"),
    },
    "early": {"source": "qwen2_5_vl", "pool": "hidden@1", "form": "native", "unit": "image"},
    "projected": {"source": "gemma3", "pool": "projected", "form": "native"},
}
CHUNK = 16


@pytest.mark.parametrize("name", GUARDS)
def test_probabilities_are_those_of_guard_predict(name: str, folders: Any, items: list[tuple[Path, str]]) -> None:
    folder = folders(**GUARDS[name])
    told = reads(folder, items, CHUNK)
    assert max(told["lengths"]) > 2 * CHUNK > min(told["lengths"])
    assert len(set(told["lengths"])) == len(items)

    pictures, texts = [Image.open(path).convert("RGB") for path, _ in items], [text for _, text in items]
    readings = predict(load_guarded(folder), load_processor(folder), pictures, texts=texts)
    wanted = np.array([list(reading.probabilities.values()) for reading in readings])
    assert np.ptp(wanted, axis=0).max() > 0.02, "the items are told apart"
    np.testing.assert_allclose(told["together"], wanted, atol=1e-4)
    np.testing.assert_allclose(told["alone"], wanted, atol=1e-4)
    assert set(told["without"]) == {"nan"}, "without a picture there is no reading"


def test_what_cannot_be_served_is_said_in_one_line(folders: Any, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    served = folders("llava", "last_hidden", "native")
    stock = tmp_path / "stock"
    load_model(served).save_pretrained(stock)
    config = json.loads((stock / "config.json").read_text())
    (stock / "config.json").write_text(json.dumps({k: v for k, v in config.items() if "safety" not in k}))
    adapter = get_peft_model(load_model(served), LoraConfig(target_modules=["q_proj"], modules_to_save=[HEAD]))
    save_guarded(adapter, tmp_path / "adapter")
    both_ways = folders("gemma3", "last_hidden", "native")
    wanted = {
        served: "nothing",
        stock: "the model has no guard",
        tmp_path / "adapter": "is an adapter, try: holisafe guard convert ADAPTER OUT --form base",
        both_ways: "only a guard that pools projected can be served",
        folders("gemma3", "projected", "native"): "nothing",
    }
    command = [PYTHON, HERE / "refuses.py", json.dumps([str(folder) for folder in wanted])]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for told, words in zip(json.loads(done.stdout.splitlines()[-1]), wanted.values(), strict=True):
        assert words in told
