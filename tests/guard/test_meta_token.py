"""The Safety Meta Token: where it stands, that it alone trains, and that its row is never lost."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from PIL import Image
from safetensors.torch import load_file, save_file

import holisafe
from holisafe.errors import InputError
from holisafe.guard import is_guarded, load_model, load_processor, save_guarded
from holisafe.guard.conversation import answer_text, encode, prompt_text
from holisafe.guard.families import image_token_ids
from holisafe.guard.meta_token import META_TOKEN, add_meta_token, trained_tokens
from holisafe.records import Message, Picture
from tiny_models import FAMILIES

from .checks import close, without_dropout

COLOURS = ("red", "green", "blue")
PICTURE = Picture("p", open=lambda: Image.new("RGB", (32, 32)))
ADAPTER = "adapter_model.safetensors"


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("meta")
    return {name: make(root / name) for name, make in FAMILIES.items()}


@pytest.fixture(params=list(FAMILIES))
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def with_token(folder: Path) -> tuple[Any, Any]:
    """A guarded model that reads the token, and its processor."""
    model, processor = load_model(folder), load_processor(folder)
    token = add_meta_token(model, processor)
    torch.manual_seed(4)
    holisafe.attach_guard(model, pool="token", token_id=token)
    for parameter in model.img_safety_head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval(), processor


def batch_of(
    processor: Any, side: str = "left", words: tuple[str, ...] = ("what colour", "is it a red square ?")
) -> Any:
    texts = [prompt_text(processor, [Message("user", query, (PICTURE,))]) for query in words]
    images = [[Image.new("RGB", (32, 32), colour)] for colour in COLOURS[: len(words)]]
    return encode(processor, texts, images, side=side)


def wrap(model: Any, **changes: Any) -> Any:
    settings = {
        "r": 2,
        "target_modules": ["q_proj"],
        "modules_to_save": ["img_safety_head"],
        "trainable_token_indices": trained_tokens(model),
    }
    return get_peft_model(model, LoraConfig(**settings | changes))


def train(wrapped: Any, batch: dict[str, torch.Tensor], steps: int = 3) -> None:
    without_dropout(wrapped)
    moving = [parameter for parameter in wrapped.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(moving, lr=0.05)
    for _ in range(steps):
        wrapped(**batch, labels=batch["input_ids"], safety_labels=torch.tensor([3, 7])).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    wrapped.eval()


def test_the_token_follows_the_pictures_of_each_message(folder: Path) -> None:
    model, processor = load_model(folder), load_processor(folder)
    turns = [
        Message("system", "you are careful"),
        Message("user", f"what does {META_TOKEN} show", (PICTURE, PICTURE)),
        Message("assistant", "a red square ."),
        Message("user", "which colour is it ?"),
    ]
    before = prompt_text(processor, turns)
    token = add_meta_token(model, processor)
    text = prompt_text(processor, turns)
    assert before.count(META_TOKEN) == 1, "nothing special about it before"
    assert text.count(META_TOKEN) == 1, "once, and the data's own is broken up"
    assert text.replace(META_TOKEN, "") == before.replace(META_TOKEN, META_TOKEN[0] + " " + META_TOKEN[1:])
    assert answer_text(processor, turns, "it is green", prompt_text(processor, turns)).startswith("it is green")
    ids = encode(processor, [text], [[Image.new("RGB", (32, 32))] * 2], side="left")["input_ids"][0]
    images = torch.isin(ids, torch.tensor(image_token_ids(model.config))).nonzero().flatten()
    (place,) = (ids == token).nonzero().flatten().tolist()
    assert len(images) >= 2
    assert int(images[-1]) < place <= int(images[-1]) + 4, "only what closes an image stands between"


def test_without_a_chat_template(folders: dict[str, Path]) -> None:
    model, processor = load_model(folders["llava"]), load_processor(folders["llava"])
    add_meta_token(model, processor)
    processor.chat_template = None
    turns = [Message("system", "careful"), Message("user", "what", (PICTURE, PICTURE))]
    assert prompt_text(processor, turns) == f"careful\n<image><image>{META_TOKEN}what\n"


def test_adding_it_changes_nothing_else(folder: Path) -> None:
    stock, model, processor = load_model(folder), load_model(folder), load_processor(folder)
    plain = batch_of(processor)
    token = add_meta_token(model, processor)
    assert add_meta_token(model, processor) == token
    with torch.inference_mode():
        old, new = stock(**plain).logits, model(**plain).logits
        assert torch.equal(old, new[..., : old.shape[-1]])
        assert (new.argmax(-1) != token).all()
        same = [m.generate(**plain, max_new_tokens=5, do_sample=False) for m in (stock, model)]
    assert torch.equal(*same)
    rows = model.get_input_embeddings().weight
    assert len(rows) == token + 1
    torch.testing.assert_close(rows[token], rows[:token].mean(0), rtol=0, atol=1e-8)
    assert model.generation_config.suppress_tokens == [token]


@torch.no_grad()
def test_the_guard_reads_the_last_hidden_state_at_the_token(folder: Path) -> None:
    model, processor = with_token(folder)
    for side in ("left", "right"):
        batch = batch_of(processor, side)
        output = model(**batch, output_hidden_states=True)
        generated = model.generate(**batch, max_new_tokens=2, do_sample=False)
        weights = dict(model.img_safety_head.named_parameters())
        for row, ids in enumerate(batch["input_ids"].tolist()):
            state = output.hidden_states[-1][row, ids.index(model.config.safety_token_id)]
            inner = F.gelu(weights["mlp.0.weight"] @ state + weights["mlp.0.bias"])
            close(output.img_safety_logits[row], weights["mlp.3.weight"] @ inner + weights["mlp.3.bias"])
        close(model.last_safety.img_safety_logits, output.img_safety_logits)
        assert not (generated[:, batch["input_ids"].shape[1] :] == model.config.safety_token_id).any()


def test_on_a_frozen_base_the_row_and_the_head_alone_train(folder: Path) -> None:
    model, processor = with_token(folder)
    before = copy.deepcopy(model.state_dict())
    batch, token = batch_of(processor), model.config.safety_token_id
    wrapped = wrap(model, target_modules=DUMMY_TARGET_MODULES)
    trained = {name.split(".default")[0] for name, p in wrapped.named_parameters() if p.requires_grad}
    assert all("img_safety_head" in name or name.endswith("trainable_tokens_delta") for name in trained)
    train(wrapped, batch)
    after = wrapped.merge_and_unload().state_dict()
    changed = {name for name in after if "img_safety_head" not in name and not torch.equal(after[name], before[name])}
    assert changed
    for name in changed:
        rows = (after[name] != before[name]).any(-1).nonzero().flatten().tolist()
        assert rows == [token], name


@pytest.mark.parametrize("layers", [["q_proj"], DUMMY_TARGET_MODULES])
def test_an_adapter_carries_its_row(folder: Path, tmp_path: Path, layers: Any) -> None:
    model, processor = with_token(folder)
    wrapped = wrap(model, target_modules=layers)
    batch = batch_of(processor)
    untrained = wrapped.eval()(**batch)
    train(wrapped, batch)
    save_guarded(wrapped, tmp_path / "a")
    assert any("trainable_tokens_delta" in name for name in load_file(tmp_path / "a" / ADAPTER))
    again, words = holisafe.load_guarded(tmp_path / "a"), load_processor(tmp_path / "a")
    repeated = batch_of(words)
    assert torch.equal(repeated["input_ids"], batch["input_ids"])
    with torch.inference_mode():
        trained, loaded = wrapped(**batch), again(**repeated)
        close(loaded.img_safety_logits, trained.img_safety_logits, 1e-5)
        close(loaded.logits, trained.logits, 1e-5)
        assert (loaded.img_safety_logits - untrained.img_safety_logits).abs().max() > 0.1
        merged = again.merge_and_unload()
        close(merged(**batch).img_safety_logits, trained.img_safety_logits, 1e-4)
        merged.save_pretrained(tmp_path / "merged")
        whole = holisafe.load_guarded(tmp_path / "merged")
        close(whole(**batch).img_safety_logits, trained.img_safety_logits, 1e-4)
    assert is_guarded(whole)
    assert whole.generation_config.suppress_tokens == [model.config.safety_token_id]


def test_tied_embeddings(folders: dict[str, Path], tmp_path: Path) -> None:
    model, processor = load_model(folders["llava"]), load_processor(folders["llava"])
    for config in (model.config, model.config.text_config):
        config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "tied")
    processor.save_pretrained(tmp_path / "tied")
    model, processor = with_token(tmp_path / "tied")
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    wrapped, batch = wrap(model), batch_of(processor)
    train(wrapped, batch)
    save_guarded(wrapped, tmp_path / "a")
    again = holisafe.load_guarded(tmp_path / "a")
    close(again(**batch).img_safety_logits, wrapped(**batch).img_safety_logits, 1e-5)
    close(again(**batch).logits, wrapped(**batch).logits, 1e-5)


def test_saving_without_the_row_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    model, _ = with_token(folders["llava"])
    wrapped = wrap(model, trainable_token_indices=None)
    for save in (lambda: save_guarded(wrapped, tmp_path / "a"), lambda: wrapped.save_pretrained(tmp_path / "a")):
        with pytest.raises(ValueError, match="would lose the safety meta token"):
            save()


def test_loading_without_the_row_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import json

    model, _ = with_token(folders["llava"])
    save_guarded(wrap(model), tmp_path / "a")
    tensors = {name: t for name, t in load_file(tmp_path / "a" / ADAPTER).items() if "tokens_delta" not in name}
    save_file(tensors, tmp_path / "a" / ADAPTER, metadata={"format": "pt"})
    for indices in ("kept", None):
        if indices is None:
            config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
            config["trainable_token_indices"] = None
            (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match="trained row was dropped"):
            holisafe.load_guarded(tmp_path / "a")


def test_another_id_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    import json

    model, _ = with_token(folders["llava"])
    save_guarded(wrap(model), tmp_path / "a")
    fields = json.loads((tmp_path / "a" / "guard.json").read_text())
    fields["safety_token_id"] += 1
    (tmp_path / "a" / "guard.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"gives <\|safety\|> the id"):
        load_processor(tmp_path / "a")


def test_it_comes_before_guard_and_adapters(folders: dict[str, Path]) -> None:
    model, processor = load_model(folders["llava"]), load_processor(folders["llava"])
    guarded = holisafe.attach_guard(copy.deepcopy(model))
    wrapped = get_peft_model(model, LoraConfig(target_modules=["q_proj"]))
    for late in (guarded, wrapped):
        with pytest.raises(ValueError, match="before the guard"):
            add_meta_token(late, processor)
