"""Guards: what says whether pictures, questions and answers are unsafe. One file each; `open_guard` finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..registry import guards
from ..specs import Spec, parse_spec, typed_path
from .base import Guard
from .policy import Policy

OURS = "visual-guard"
"""The guard that a bare model's name means."""


def is_ours(spec: str) -> bool:
    """Whether a guard's spec means a guarded model of ours."""
    head, slash, _ = spec.partition("/")
    return head == OURS or not (slash and head in guards.entries())


def open_guard(spec: str, policy: Policy | None = None, options: Mapping[str, str] | None = None) -> Guard:
    """`llama-guard/hf/ID`, `moderation/MODEL,key=NAME`; without a guard's name a guarded model's folder or hub id.

    `policy` is the user's own, for guards that take one; `policy=FILE` in the spec names it too. `options` hold where
    the spec says nothing. Raises InputError for an unknown option, a guard that cannot be loaded, and a policy that it
    does not take.
    """
    if is_ours(spec) and not spec.startswith(f"{OURS}/"):
        spec = f"{OURS}/{spec}"
    if spec.startswith(f"{OURS}/") and typed_path(model := spec.removeprefix(f"{OURS}/")).exists():
        parsed = Spec(OURS, model, {})  # its folder's name may hold a comma
    else:
        parsed = parse_spec(spec, "guard")
    told = {**(options or {}), **parsed.options}
    policy = open_policy(told.pop("policy", None)) or policy
    guard: Guard = guards.get(parsed.kind).load(parsed.name, told, policy)
    return guard


def open_policy(path: str | Path | None) -> Policy | None:
    """The policy in a YAML file, None without one. Raises InputError naming the field that is wrong."""
    return None if path is None else Policy.read(typed_path(path))
