"""Load what a folder or hub id holds, guarded when it has a guard, and make sure that every weight came along."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from ..errors import InputError
from ..threads import choose_threads
from .adapters import GUARD_FOLDER, PREFIX, SETTINGS_FILE
from .attach import attach_settings, is_guarded
from .bounded import matching
from .errors import one_line
from .families import hidden_size
from .folders import (
    check_weights,
    find_file,
    locate,
    locate_named,
    open_weights,
    read_object,
    refuse_code,
    require_config,
    weight_shapes,
)
from .head import HEAD, SafetyHead
from .meta_token import place_trained_row
from .model import guarded_class
from .pooling import parts_of, sources
from .published import read_checkpoint
from .quiet import quiet
from .settings import LABELS, GuardSettings, describes_guard, read_settings
from .thresholds_kept import remember

ADAPTER_CONFIG = "adapter_config.json"
SPARE = 100_000_000
"""So many parameters too many are built and then missed by name, which says more."""
GUARD_FILE, GUARD_STEM = f"{GUARD_FOLDER}/{SETTINGS_FILE}", f"{GUARD_FOLDER}/model"

READING = (LABELS, "safety_pool", "safety_token_id", "safety_unit", "safety_verdict")
"""Config fields that decide what a head reads and says: an adapter's must be its base's."""


@dataclass(frozen=True)
class _Options:
    dtype: torch.dtype | str
    device: torch.device | str
    trust_remote_code: bool
    vision_tower: str | None
    pool: str | None


def load_model(
    path: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
    vision_tower: str | Path | None = None,
    pool: str | None = None,
) -> Any:
    """The image-text-to-text model in a folder or behind a hub id, in eval mode: guarded when it holds a guard, else
    stock. A PEFT adapter comes on its base model. `pictovlm` is the tiny model that ships with the package.

    dtype        None: float32 on a CPU, else the checkpoint's
    device       None: the GPU if there is one, else the CPU
    vision_tower for LLaVA's own layout without its tower: the folder or hub id of the tower, or of any LLaVA on it
    pool         the guard's pooling source, where the folder records none; None: by family

    The published guards record no pooling source. That SafeQwen2.5-VL reads the last hidden state and SafeGem the
    projected image features is documented (HoliSafe, arXiv 2506.04704 v5). SafeLLaVA's is not: "last_hidden" is
    taken, because its example asks the model for hidden states when it reads the guard; `pool="projected"` takes the
    other.

    Raises InputError, one line naming the folder, when the config or the weights are missing, broken, pickled or do
    not fit together: no weight is ever left at its random start, and no weight of a guard is left out.
    """
    source = locate(path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device is None else device
    if dtype is None:
        dtype = torch.float32 if str(device) == "cpu" else "auto"
    tower = None if vision_tower is None else str(vision_tower)
    options = _Options(dtype, device, trust_remote_code, tower, pool)
    adapter = find_file(source, ADAPTER_CONFIG)
    with quiet(bars=sys.stderr.isatty()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's about missing keys: they are refused in words
        if adapter:
            import peft  # noqa: F401 - where it is missing, that is what to say
        with one_line(source):
            model = (_load_adapter(source, adapter, options) if adapter else _load_full(source, options)).eval()
            remember(model, source)
        choose_threads(model)
        return model


def load_guarded(
    path: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    trust_remote_code: bool = False,
    vision_tower: str | Path | None = None,
    pool: str | None = None,
) -> Any:
    """As `load_model`, for a folder or hub id that must hold a guard: a full guarded model, a PEFT adapter with the
    head, a base with a `guard/` subfolder, or a published Safe-VLM model such as `etri-vilab/SafeQwen2.5-VL-7B`.

    Raises InputError as `load_model` does, and when there is no guard.

    Example:
        model = holisafe.load_guarded("tuned")
        print(type(model).__name__)
    """
    source = locate(path)
    if not find_file(source, ADAPTER_CONFIG) and not find_file(source, GUARD_FILE):
        _require_guard(describes_guard(require_config(source)), source)  # before minutes are spent on the weights
    model = load_model(
        path, dtype=dtype, device=device, trust_remote_code=trust_remote_code, vision_tower=vision_tower, pool=pool
    )
    _require_guard(is_guarded(model), source)
    return model


def _require_guard(found: bool, source: str) -> None:
    if not found:
        raise InputError("the model has no guard (attach one with holisafe tune or attach_guard)", where=source)


def _load_full(source: str, options: _Options) -> Any:
    """A full model. The guarded class is built with its head, so that transformers' loader fills and checks it too."""
    check_weights(source, "model", "config.json")
    fields = require_config(source)
    checkpoint = read_checkpoint(
        source, fields, vision_tower=options.vision_tower, trust_remote_code=options.trust_remote_code
    )
    config = checkpoint.config
    cls = _stock_class(config, source, options.trust_remote_code)
    fields = config.to_dict()
    beside = find_file(source, GUARD_FILE)
    if beside and describes_guard(fields):
        raise InputError(f"has a guard in its own config and another in {GUARD_FILE}", where=source)
    if describes_guard(fields):
        _choose_pool(config, options.pool, source)
        read_settings(config.to_dict(), config, where=source)
        cls = guarded_class(cls)
    if checkpoint.weights is None and not fields.get("quantization_config"):
        _check_size(cls, config, source)
    placed = {} if str(options.device) == "cpu" else {"device_map": options.device}
    model, report = cls.from_pretrained(
        source if checkpoint.weights is None else None,
        config=config,
        state_dict=checkpoint.weights,
        dtype=options.dtype,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # they are refused below, in words
        output_loading_info=True,
        **placed,
    )
    for name, value in checkpoint.generation.items():
        setattr(model.generation_config, name, value)
    _check_report(report, source, strict=is_guarded(model))
    if beside:
        _add_guard(model, source, read_object(beside), options.pool)
    return model


def _check_size(cls: Any, config: Any, source: str) -> None:
    """Raise InputError for a config of a model far larger than its weights: all of it would be made, of random numbers,
    before the first weight was missed."""
    with torch.device("meta"):
        described = sum(parameter.numel() for parameter in cls._from_config(copy.deepcopy(config)).parameters())
    held = sum(math.prod(shape) for shape in weight_shapes(source, "model").values())
    if described > 2 * held + SPARE:
        raise InputError(f"describes {described:,} parameters, but its weights hold {held:,}", where=source)


def _choose_pool(config: Any, pool: str | None, source: str) -> None:
    """Write the caller's pooling source into a config that records none."""
    recorded = config.to_dict().get("safety_pool")
    _check_pool(recorded, pool, source)
    if pool and not recorded:
        config.safety_pool = pool


def _check_pool(recorded: str | None, pool: str | None, source: str) -> None:
    if pool and recorded and sources(pool) != sources(recorded):
        raise InputError(f"its guard was trained with pool {recorded!r}, not {pool!r}", where=source)


def _add_guard(model: Any, source: str, fields: dict[str, Any], pool: str | None) -> None:
    """Attach the guard that lies beside a base model, with its weights."""
    settings = read_settings(fields, model.config, where=f"{source}/{GUARD_FILE}")
    _check_pool(settings.pool, pool, source)
    weights = dict(open_weights(source, GUARD_STEM))
    check_head({name: tuple(tensor.shape) for name, tensor in weights.items()}, model, settings, source)
    attach_settings(model, settings)
    getattr(model, HEAD).load_state_dict({name.removeprefix(f"{HEAD}."): tensor for name, tensor in weights.items()})


def _stock_class(config: Any, source: str, trust_remote_code: bool) -> Any:
    """The class that AutoModelForImageTextToText would take."""
    remote = getattr(config, "auto_map", {}).get("AutoModelForImageTextToText")
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    if remote and trust_remote_code:
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        return get_class_from_dynamic_module(remote, source)
    raise InputError(f"{config.model_type!r} is no image-text-to-text model that transformers knows", where=source)


def _check_report(report: dict[str, Any], source: str, *, strict: bool) -> None:
    """Raise InputError unless every weight of the model came from the files and, where strict, the other way round."""
    mismatched = [f"{name} {tuple(is_)} instead of {tuple(must)}" for name, is_, must in report["mismatched_keys"]]
    unexpected = [name for name in report["unexpected_keys"] if strict or name.startswith(HEAD)]
    for problem, names in (
        ("weights are missing", report["missing_keys"]),
        ("weights have the wrong shape", mismatched),
        ("weights have no place in this model", unexpected),
    ):
        if names:
            raise InputError(f"{problem}: {_some(names)}", where=source)


def _load_adapter(source: str, adapter_config: Path, options: _Options) -> Any:
    """A PEFT adapter on its base model; its head first gets a place in the base, which PEFT would not mind lacking."""
    check_weights(source, "adapter_model", ADAPTER_CONFIG)
    adapter = read_object(adapter_config)
    refuse_code(adapter, adapter_config)
    base = locate_named(adapter.get("base_model_name_or_path"), source, adapter_config)
    shapes = {name.removeprefix(PREFIX): shape for name, shape in weight_shapes(source, "adapter_model").items()}
    head = {name: shape for name, shape in shapes.items() if name.startswith(HEAD)}
    recorded = find_file(source, SETTINGS_FILE)
    if (recorded or HEAD in (adapter.get("modules_to_save") or ())) and not head:
        raise InputError(f"the guard was dropped when the adapter was saved: no {HEAD} in its weights", where=source)

    model = _load_full(base, options)
    if is_guarded(model) and not head:
        raise InputError(f"the adapter holds no {HEAD}, which its base model has: it was dropped", where=source)
    guarded_base = is_guarded(model)
    if head:
        _prepare_head(model, head, read_object(recorded) if recorded else None, source)
    if not guarded_base:
        place_trained_row(model, shapes, source)
    names = [name for name, _ in model.named_modules()]
    for pattern in _patterns(adapter):
        matching(pattern, names, adapter_config, "target_modules")
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    config = PeftConfig.from_pretrained(source)
    config.base_model_name_or_path = model.name_or_path  # where it was found; PEFT would look on the hub
    wrapped = PeftModel.from_pretrained(model, source, config=config)
    placed = {name.removeprefix(PREFIX) for name in get_peft_model_state_dict(wrapped)}
    report = {"missing_keys": placed - shapes.keys(), "unexpected_keys": shapes.keys() - placed, "mismatched_keys": []}
    _check_report(report, source, strict=True)
    return wrapped


def _patterns(value: Any) -> Iterator[str]:
    """The texts in an adapter's settings that are more than names, as keys too: PEFT matches modules by them."""
    if isinstance(value, str):
        if set(value) & set("*+{?"):
            yield value
    elif isinstance(value, dict | list):
        for inner in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from _patterns(inner)


def _prepare_head(model: Any, head: dict[str, tuple[int, ...]], fields: dict[str, Any] | None, source: str) -> None:
    """Attach the guard that the adapter's head was trained in, or check that it fits the one the base already has."""
    own = read_settings(fields, model.config, where=source) if fields else None
    base = read_settings(model.config.to_dict(), model.config, where=source) if is_guarded(model) else None
    settings = own or base
    if settings is None:
        raise InputError(f"{SETTINGS_FILE} is missing, so the labels of the adapter's guard are unknown", where=source)
    if own and base:
        ours, theirs = own.as_fields(), base.as_fields()
        for field in READING:
            if ours[field] != theirs[field]:
                values = "" if field == LABELS else f": {ours[field]!r} and {theirs[field]!r}"
                raise InputError(
                    f"differs between the adapter's guard and its base's{values}", where=source, field=field
                )
    check_head(head, model, settings, source)
    if base is None:
        attach_settings(model, settings)


def check_head(head: dict[str, tuple[int, ...]], model: Any, settings: GuardSettings, source: str) -> None:
    """Raise InputError unless these are the weights, by name and shape, of the head that the settings make."""
    expected = _head_shapes(model, settings)
    mismatched = [(name, head[name], shape) for name, shape in expected.items() if head.get(name, shape) != shape]
    report = {
        "missing_keys": expected.keys() - head.keys(),
        "unexpected_keys": head.keys() - expected.keys(),
        "mismatched_keys": mismatched,
    }
    _check_report(report, source, strict=True)


def _head_shapes(model: Any, settings: GuardSettings) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        width = hidden_size(model.config) * len(parts_of(settings.pool))
        head = SafetyHead(width, len(settings.labels), settings.hidden_scale, settings.hidden_layers)
    return {f"{HEAD}.{name}": tuple(tensor.shape) for name, tensor in head.state_dict().items()}


def _some(names: Iterable[str], shown: int = 4) -> str:
    names = sorted(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
