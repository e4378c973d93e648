"""Chat templates are programs that come with a checkpoint: rendered in a process of its own, within limits.

jinja's sandbox keeps a template out of Python, but not from looping without end, nor from filling the memory.
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
"""Of the processor for one conversation; bytes of the process; characters of what it writes."""

_CODE = """
import json, os, resource, signal, sys
from transformers.utils.chat_template_utils import render_jinja_template
seconds, memory, longest = json.loads(sys.stdin.readline())
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
held = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
resource.setrlimit(resource.RLIMIT_AS, (min([memory, *held]), hard))
for line in sys.stdin:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        text = render_jinja_template(**json.loads(line))[0][0]
        answer = json.dumps([text, None] if len(text) <= longest else os._exit(3))
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
"""Templates that went beyond the limits, so that each does it once."""


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
    beyond = InputError(
        f"its chat template takes more than {SECONDS} s or {MEMORY >> 30} GiB for one conversation", where=name
    )
    if template in _beyond:
        raise beyond
    asked = {**processor.tokenizer.special_tokens_map, **options, "chat_template": template, "conversations": [turns]}
    with _LOCK:
        process = _process(os.getpid())
        try:
            process.ask(asked)
            text, failed = process.answer()
        except BaseException as error:
            process.kill()
            _process.cache_clear()
            if not isinstance(error, RuntimeError | BrokenPipeError) or process.wait() == 1:  # 1: it did not start
                raise
            _beyond.add(template)
            raise beyond from None
    if failed is not None:
        raise TemplateError(failed)
    return str(text)
