"""Save a guarded model in one of four forms, and look that nothing was lost.

    form      folder holds                                opened by
    native    config.json with the guard's fields,        load_guarded; stock AutoModelForImageTextToText, which
              weights with the head                       leaves the head out and says so
    adapter   PEFT's adapter with the head, guard.json    load_guarded, which finds the base by its name
    merged    as native, the adapter folded in            as native
    base      a stock model with no trace of a guard,     load_guarded; anything that serves the stock model (vLLM,
              guard/: guard.json, head                    SGLang), which never looks into guard/

Every form records the guard's schema version, pooling source, unit and labels, and keeps the thresholds of a model that
is saved as it was loaded (`thresholds_kept`).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final, Literal, cast

from ..journal import read_json, write_json
from .adapters import GUARD_FOLDER, PREFIX, SETTINGS_FILE, check_adapters_keep_head, guard_fields
from .attach import is_guarded, unwrap
from .errors import GuardError
from .folders import weight_shapes
from .head import HEAD
from .thresholds_kept import keep, remembered

Form = Literal["native", "adapter", "merged", "base"]

MARKS: Final = {"adapter_config.json": ("adapter",), "config.json": ("native", "merged", "base"), "guard": ("base",)}
"""What lies in a folder -> the forms it belongs to."""


def save_guarded(model: Any, path: str | Path, *, form: Form | None = None) -> None:
    """Write a guarded model to a folder; `load_guarded` opens every form with nothing lost.

    form  None: "adapter" for a model wrapped by PEFT, else "native". "merged", and "base" of a wrapped model, fold
          the adapter into a copy of the model: the model itself stays as it is, and memory must hold it twice.

    The processor's files are not the model's: `processor.save_pretrained(path)` adds them. Thresholds go along while
    the model is as it was loaded; one that was changed since is saved without, with a warning.
    Raises GuardError when the model has no guard, when the form does not fit the model, when the folder holds another
    form already, or when the head would not be in what is written.
    """
    core = unwrap(model)
    if not is_guarded(model):
        raise GuardError(f"{type(core).__name__} has no guard to save")
    adapters = list(getattr(core, "peft_config", ()))
    form = form or ("adapter" if adapters else "native")
    _check_form(form, bool(adapters), Path(path))
    if adapters:
        check_adapters_keep_head(core)
    original, thresholds = core, remembered(core)
    while not hasattr(model, "save_pretrained"):
        model = model.module  # DDP's wrapper
    if adapters and form != "adapter":
        model = core = copy.deepcopy(model).merge_and_unload()
    if form == "base":
        _save_apart(core, Path(path))
    else:
        model.save_pretrained(str(path))

    stem = "adapter_model" if form == "adapter" else "model"
    folders = [Path(path, name) if name != "default" else Path(path) for name in adapters] if form == "adapter" else []
    for folder in folders or [Path(path, GUARD_FOLDER) if form == "base" else Path(path)]:
        _check_written(core, folder, stem)
    keep(thresholds, original, Path(path))


def _check_form(form: str, wrapped: bool, path: Path) -> None:
    if form not in {name for forms in MARKS.values() for name in forms}:
        raise GuardError(f"{form!r} is no form to save in: native, adapter, merged or base")
    if form == "adapter" and not wrapped:
        raise GuardError("the model has no adapter to save: PEFT does not wrap it")
    if form == "merged" and not wrapped:
        raise GuardError("the model has no adapter to merge: PEFT does not wrap it")
    if form == "native" and wrapped:
        raise GuardError("PEFT wraps the model: save it as adapter, merged or base")
    for mark, forms in MARKS.items():
        if form not in forms and (path / mark).exists():
            raise GuardError(f"holds another form of model already: {mark}", where=path)


def _save_apart(core: Any, path: Path) -> None:
    """The base model's weights and config without the guard's, and the guard in its subfolder."""
    from safetensors.torch import save_file

    state = core.state_dict()
    core.save_pretrained(str(path), state_dict={name: t for name, t in state.items() if not name.startswith(HEAD)})
    fields = guard_fields(core)
    config = cast(dict[str, Any], read_json(path / "config.json"))
    write_json(path / "config.json", {name: value for name, value in config.items() if name not in fields})
    folder = path / GUARD_FOLDER
    folder.mkdir(exist_ok=True)
    head = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items() if name.startswith(HEAD)}
    save_file(head, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / SETTINGS_FILE, fields)


def _check_written(core: Any, folder: Path, stem: str) -> None:
    """Raise GuardError unless every weight of the head is in what was written."""
    parameters = getattr(core, HEAD).state_dict()
    wanted = {f"{HEAD}.{name.removeprefix('original_module.')}" for name in parameters if "modules_to_save" not in name}
    missing = wanted - {name.removeprefix(PREFIX) for name in weight_shapes(str(folder), stem)}
    if missing:
        raise GuardError(f"the guard was not written: {min(missing)} is missing", where=folder)
