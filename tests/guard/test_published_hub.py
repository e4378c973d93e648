"""Hub ids: what a user asks for by name is found among the cached models; what the hub refuses is said in one line."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

import holisafe
import holisafe.errors
import tiny_models
from holisafe.guard import load_processor, save_guarded

from .published_replicas import llava_replica, stock_replica, write_tower
from .test_loading import edit_json, refuses
from .test_published import FLAT_QWEN, SAFE_GEM, SAFE_QWEN, must_compute

SNAPSHOT = "0123456789012345678901234567890123456789"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(cache: Path, name: str, folder: Path) -> None:
    """Put a folder where the hub's library keeps a downloaded model."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(SNAPSHOT)
    shutil.copytree(folder, place / "snapshots" / SNAPSHOT)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("etri-vilab/SafeQwen2.5-VL-7B", {"family": "qwen2_5_vl", "pool": "last_hidden", **SAFE_QWEN, **FLAT_QWEN}),
        ("etri-vilab/SafeQwen2.5-VL-32B", {"family": "qwen2_5_vl", "pool": "last_hidden", "shards": 2, **FLAT_QWEN}),
        ("etri-vilab/SafeGem-12B", {"family": "gemma3", "pool": "projected", **SAFE_GEM}),
        ("etri-vilab/SafeGem-27B", {"family": "gemma3", "pool": "projected", "shards": 2}),
    ],
)
def test_published_names(name: str, options: dict[str, Any], cache: Path, tmp_path: Path) -> None:
    replica = stock_replica(tmp_path / "m", layout=options["family"], **options)
    cached(cache, name, replica.folder)
    must_compute(holisafe.load_guarded(name, device="cpu"), replica)


@pytest.mark.parametrize("name", ["etri-vilab/SafeLLaVA-7B", "etri-vilab/SafeLLaVA-13B"])
def test_a_hub_id_brings_its_tower(name: str, cache: Path, tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    cached(cache, name, replica.folder)
    refuses_tower(name)
    cached(cache, "openai/clip-vit-large-patch14-336", write_tower(tmp_path / "tower", "clip"))
    must_compute(holisafe.load_guarded(name, device="cpu"), replica)


def refuses_tower(name: str) -> None:
    with pytest.raises(holisafe.errors.InputError, match="clip-vit-large-patch14-336: no such model folder, nor"):
        holisafe.load_guarded(name, device="cpu")


def test_a_local_folder_asks_the_hub_for_nothing(cache: Path, tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    cached(cache, "openai/clip-vit-large-patch14-336", write_tower(tmp_path / "tower", "clip"))
    refuses(replica.folder, "vision tower's weights are not in the folder", load=holisafe.load_guarded)
    given = "openai/clip-vit-large-patch14-336"
    must_compute(holisafe.load_guarded(replica.folder, device="cpu", vision_tower=given), replica)


@pytest.mark.parametrize(
    ("name", "options", "base"),
    [
        ("etri-vilab/SafeQwen2.5-VL-7B", {"family": "qwen2_5_vl", **SAFE_QWEN}, "Qwen/Qwen2.5-VL-7B-Instruct"),
        ("etri-vilab/SafeGem-12B", {"family": "gemma3", **SAFE_GEM}, "google/gemma-3-12b-it"),
    ],
)
def test_a_hub_id_without_a_processor_has_its_base_models(
    name: str, options: dict[str, Any], base: str, cache: Path, tmp_path: Path
) -> None:
    replica = stock_replica(tmp_path / "m", layout=options["family"], pool="last_hidden", **options)
    cached(cache, name, replica.folder)
    with pytest.raises(holisafe.errors.InputError, match=f"{base}: no such model folder, nor is a hub model"):
        load_processor(name)
    cached(cache, base, tiny_models.FAMILIES[options["family"]](tmp_path / "base"))
    assert type(load_processor(name)) is type(load_processor(tmp_path / "base"))
    refuses(replica.folder, f"holds no processor: processor_config.json is missing; its base model's fits: {base}",
            load=load_processor)  # fmt: skip
    edit_json(replica.folder, safety_categories=...)
    with pytest.raises(holisafe.errors.InputError, match=r"processor_config\.json is missing$"):
        load_processor(replica.folder)


def test_a_tower_in_a_pickle(cache: Path, tmp_path: Path) -> None:
    replica = llava_replica(tmp_path / "m", "last_hidden", tower_inside=False)
    tower = write_tower(tmp_path / "tower", "clip")
    (tower / "model.safetensors").rename(tower / "pytorch_model.bin")
    with pytest.raises(holisafe.errors.InputError, match=r"pytorch_model\.bin is a pickle"):
        holisafe.load_guarded(replica.folder, device="cpu", vision_tower=tower)
    cached(cache, "some-org/tower", tower)
    with pytest.raises(holisafe.errors.InputError, match=r"some-org/tower: holds no weights: model\.safetensors"):
        holisafe.load_guarded(replica.folder, device="cpu", vision_tower="some-org/tower")


def test_a_base_with_its_guard_beside(cache: Path, guarded: Any, batch: dict[str, Any], tmp_path: Path) -> None:
    save_guarded(guarded, tmp_path / "m", form="base")
    cached(cache, "some-org/base", tmp_path / "m")
    again = holisafe.load_guarded("some-org/base", device="cpu")
    assert again(**batch).img_safety_probs.allclose(guarded(**batch).img_safety_probs, atol=1e-6)


def test_half_downloaded(cache: Path, tmp_path: Path) -> None:
    replica = stock_replica(tmp_path / "m", "qwen2_5_vl", "qwen2_5_vl", "last_hidden", **SAFE_QWEN, **FLAT_QWEN)
    (replica.folder / "model.safetensors").unlink()
    cached(cache, "some-org/half", replica.folder)
    refuses("some-org/half", load=holisafe.load_guarded)
    edit_json(cache / "models--some-org--half" / "snapshots" / SNAPSHOT, safety_categories=...)
    refuses("some-org/half", "has no guard", load=holisafe.load_guarded)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BaseHTTPRequestHandler]]:
    """A hub on this machine that refuses everything, with the code that its `code` says."""

    class Refusing(BaseHTTPRequestHandler):
        code = "GatedRepo"
        status = 403

        def do_HEAD(self) -> None:
            self.send_response(self.status)
            self.send_header("X-Error-Code", self.code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield Refusing
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("GatedRepo", 403, "is gated: ask for access"),
        ("RepoNotFound", 401, "no such model on the hub, or a private one"),
    ],
)
def test_refused_by_the_hub(
    code: str, status: int, reason: str, hub: type[BaseHTTPRequestHandler], cache: Path
) -> None:
    hub.code, hub.status = code, status  # type: ignore[attr-defined]
    refuses("etri-vilab/SafeQwen2.5-VL-7B", reason, load=holisafe.load_guarded)
    refuses("etri-vilab/SafeQwen2.5-VL-7B", reason)
