"""What a model's files make this machine compute, templates and patterns: in a process of its own, within limits.

A template is a program: jinja's sandbox keeps it out of Python, but not from looping without end, nor from filling the
memory. A pattern may try more ways to match a name than there is time for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

from jinja2 import TemplateError

from ..beside import Process
from ..errors import InputError

SECONDS, MEMORY, LONGEST = 5, 2 << 30, 64 << 20
"""Of the processor for one conversation, or one pattern on all names; bytes of the process; characters of a text."""

_CODE = """
import json, os, re, resource, signal, sys
from transformers.utils.chat_template_utils import render_jinja_template

def render(asked):
    text = render_jinja_template(**asked)[0][0]
    return text if len(text) <= longest else os._exit(3)

def match(asked):
    pattern = re.compile(asked["pattern"])
    return [name for name in asked["names"] if pattern.fullmatch(name)]

seconds, memory, longest = json.loads(sys.stdin.readline())
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
held = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
resource.setrlimit(resource.RLIMIT_AS, (min([memory, *held]), hard))
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        job, asked = json.loads(line)
        answer = json.dumps([{"render": render, "match": match}[job](asked), None])
    except MemoryError:
        os._exit(3)
    except Exception as error:
        answer = json.dumps([None, f"{type(error).__name__}: {error}"[:500]])
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(answer, flush=True)
"""
"""What the process runs. It ends with 3, or by a signal, at a limit."""

_LOCK = Lock()
_beyond: set[str] = set()
"""What went beyond the limits, so that each does it once."""


class FailedError(Exception):
    """A template or a pattern failed, within the limits; in its words."""


def begin() -> None:
    """Start the process, so that it is ready when it is needed."""
    _process(os.getpid())


@lru_cache(maxsize=1)
def _process(_own: int) -> Process:
    """This process's; one that was forked starts another."""
    process = Process(_CODE)
    process.ask([SECONDS, MEMORY, LONGEST])
    return process


def render(processor: Any, turns: Sequence[Mapping[str, Any]], **options: Any) -> str:
    """The turns as the processor's chat template writes them, special tokens known to it; `options` as
    `apply_chat_template` has them.

    Raises TemplateError, with its words, when the template refuses them or fails; InputError, naming the checkpoint,
    when it goes beyond the limits.
    """
    name, template = processor.tokenizer.name_or_path or None, processor.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    if not isinstance(template, str):
        raise InputError("its chat template is no text", where=name)
    asked = {**processor.tokenizer.special_tokens_map, **options, "chat_template": template, "conversations": [turns]}
    try:
        return str(_asked("render", asked, template, InputError(f"its chat template takes {_TOO_MUCH}", where=name)))
    except FailedError as error:
        raise TemplateError(str(error)) from None


def matching(pattern: str, names: Sequence[str], where: Any, field: str | None = None) -> list[str]:
    """Those names that a pattern matches as a whole. Raises InputError when it is none, or goes beyond the limits."""
    asked = {"pattern": pattern, "names": names}
    try:
        found: list[str] = _asked("match", asked, pattern, InputError(f"takes {_TOO_MUCH}", where=where, field=field))
    except FailedError as error:
        raise InputError(f"not a pattern ({error})", where=where, field=field) from None
    return found


_TOO_MUCH = f"more than {SECONDS} s or {MEMORY >> 30} GiB"


def _asked(job: str, asked: Any, key: str, beyond: InputError) -> Any:
    """What the process makes of it. Raises `beyond` where it went beyond the limits, FailedError where it failed."""
    if key in _beyond:
        raise beyond
    with _LOCK:
        process = _process(os.getpid())
        try:
            process.ask([job, asked])
            value, failed = process.answer()
        except BaseException as error:
            process.kill()
            _process.cache_clear()
            if not isinstance(error, RuntimeError | BrokenPipeError) or process.wait() == 1:  # 1: it did not start
                raise
            _beyond.add(key)
            raise beyond from None
    if failed is not None:
        raise FailedError(failed)
    return value
