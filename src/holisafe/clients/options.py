"""What is written after a model's name: where it is served, with which key, and how it is asked."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import InputError
from ..records import GenerationSettings
from ..specs import is_local
from ..thoughts import Marks, own_marks
from .pictures import Encoding
from .reasoning import OTHERS, WAYS, reasoning_fields, way

OPENAI = "https://api.openai.com/v1"
KEY = "OPENAI_API_KEY"

OPTIONS = (
    "base_url",
    "key",
    "max_in_flight",
    "timeout",
    "attempts",
    "max_tokens",
    "temperature",
    "reasoning_tokens",
    "reasoning_effort",
    "reasoning_by",
    "max_side",
    "image_format",
    "detail",
    "input_price",
    "output_price",
    "max_bytes",
    "thoughts",
    "stream",
)
DETAILS = ("low", "high", "auto")
FORMATS = ("own", "png", "jpeg")


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """How a model behind the chat API is asked. Prices are US dollars per million tokens; times are seconds.

    `api_key` is the secret itself and never leaves this object but in the request's header. `max_tokens`,
    `temperature` and `reasoning_tokens` go before the settings of a request; `temperature` "none" sends none.
    `max_bytes` bounds a server's answer, on the wire and decompressed. `thoughts` are the model's own marks, `proxy` is
    the environment's. `stream` asks for answers in pieces.
    """

    model: str
    base_url: str = OPENAI
    api_key: str | None = field(default=None, repr=False)
    max_in_flight: int = 32
    timeout: float = 120.0
    attempts: int = 8
    max_tokens: int | None = None
    temperature: float | Literal["none"] | None = None
    reasoning_tokens: int | None = None
    reasoning_effort: str | None = None
    reasoning_by: str = OTHERS
    encoding: Encoding = field(default_factory=Encoding)
    detail: str | None = None
    input_price: float | None = None
    output_price: float | None = None
    max_bytes: int = 8_000_000
    thoughts: Marks | None = None
    stream: bool = False
    proxy: str | None = field(default=None, repr=False)

    def generation(self, settings: GenerationSettings) -> dict[str, Any]:
        """How a request with these settings is decoded, as JSON."""
        temperature = settings.temperature if self.temperature is None else self.temperature
        chosen = {} if settings.reasoning is None else {"reasoning": settings.reasoning}
        return {
            **chosen,
            "max_new_tokens": settings.max_new_tokens if self.max_tokens is None else self.max_tokens,
            "temperature": None if temperature == "none" else temperature,
            "seed": settings.seed,
            "system": settings.system,
            "reasoning_tokens": settings.reasoning_tokens if self.reasoning_tokens is None else self.reasoning_tokens,
            "reasoning_effort": self.reasoning_effort,
        }

    def reasoning(self, settings: GenerationSettings) -> dict[str, Any]:
        """What tells the server to think or not. Raises InputError for what its API cannot be told."""
        if settings.reasoning is not None and self.reasoning_effort is not None:
            raise InputError("--reasoning and the option reasoning_effort exclude each other")
        tokens = settings.reasoning_tokens if self.reasoning_tokens is None else self.reasoning_tokens
        return reasoning_fields(self.reasoning_by, settings.reasoning, tokens)

    def cost(self, usage: Mapping[str, int]) -> float | None:
        """US dollars for tokens counted by the server; None without prices or counts."""
        if self.input_price is None or self.output_price is None or not {"input_tokens", "output_tokens"} <= {*usage}:
            return None
        return (usage["input_tokens"] * self.input_price + usage["output_tokens"] * self.output_price) / 1e6


def chat_options(model: str, written: Mapping[str, str]) -> ChatOptions:
    """The options of a spec. Raises InputError for one that is unknown or unusable, and for a key that is not set."""
    for name in written:
        if name not in OPTIONS:
            raise InputError(f"openai has no option {name!r}; known: {', '.join(OPTIONS)}")
    base_url = _address(written.get("base_url") or os.environ.get("OPENAI_BASE_URL") or OPENAI)
    values: dict[str, Any] = {
        name: _number(name, written[name], whole, least)
        for name, whole, least in (
            ("max_in_flight", True, 1),
            ("timeout", False, 0.001),
            ("attempts", True, 1),
            ("max_tokens", True, 1),
            ("reasoning_tokens", True, 0),
            ("input_price", False, 0),
            ("output_price", False, 0),
            ("max_bytes", True, 1),
        )
        if name in written
    }
    if ("input_price" in values) != ("output_price" in values):
        raise InputError("input_price and output_price come together")
    if "temperature" in written:
        none = written["temperature"] == "none"
        values["temperature"] = "none" if none else _number("temperature", written["temperature"], False, 0)
    if (by := written.get("reasoning_by", way(base_url))) not in WAYS:
        raise InputError(f"option reasoning_by is one of {', '.join(WAYS)}, not {by!r}")
    if written.get("detail", "auto") not in DETAILS:
        raise InputError(f"option detail is one of {', '.join(DETAILS)}, not {written['detail']!r}")
    if written.get("stream", "false") not in ("true", "false"):
        raise InputError(f"option stream is true or false, not {written['stream']!r}")
    return ChatOptions(
        model=model,
        base_url=base_url,
        api_key=_secret(written.get("key", KEY), base_url),
        reasoning_effort=written.get("reasoning_effort"),
        reasoning_by=by,
        encoding=_encoding(written),
        detail=written.get("detail"),
        thoughts=own_marks(written.get("thoughts")),
        stream=written.get("stream") == "true",
        proxy=_proxy(base_url),
        **values,
    )


def _encoding(written: Mapping[str, str]) -> Encoding:
    kind, colon, quality = written.get("image_format", "own").partition(":")
    if kind not in FORMATS or (colon and (kind != "jpeg" or not quality.isdecimal() or int(quality) > 100)):
        raise InputError(f"option image_format is own, png, jpeg or jpeg:QUALITY, not {written['image_format']!r}")
    side = written.get("max_side")
    max_side = None if side is None else int(_number("max_side", side, True, 1))
    return Encoding(max_side, int(quality or 95) if kind == "jpeg" else None, kind == "own")


def _number(name: str, text: str, whole: bool, least: float) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= least):
        kind = "a whole number" if whole else "a number"
        raise InputError(f"option {name} is {kind} of at least {least:g}, not {text!r}")
    return value


def _address(text: str) -> str:
    """The address without what may hold a secret: such an address is refused, unrepeated."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and not re.search(r"[\s\\<>\"{}|^`]", text)
        usable = usable and all(0 < len(label) < 64 for label in (parts.hostname or "").rstrip(".").split("."))
    except ValueError:
        parts, usable = urlsplit(""), False
    if not usable:
        raise InputError("option base_url is an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError("option base_url holds no user, password or query; key=NAME names a key's variable")
    return text.rstrip("/").removesuffix("/chat/completions")


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for an address, none for this machine. It may hold a password."""
    parts = urlsplit(base_url)
    if is_local(base_url) or proxy_bypass(parts.hostname or ""):
        return None
    named = getproxies()
    proxy = named.get(parts.scheme) or named.get("all")
    if not proxy:
        return None
    try:
        there = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = there.scheme in ("http", "https") and bool(there.hostname) and there.port != 0
    except ValueError:
        usable = False
    if not usable or any(character.isspace() for character in proxy):
        variable = f"{parts.scheme.upper()}_PROXY"
        raise InputError(f"the environment variable {variable} (or ALL_PROXY) is no proxy such as http://HOST:PORT")
    return there.geturl()


_KEYLESS: ContextVar[bool] = ContextVar("keyless", default=False)


@contextmanager
def without_keys() -> Iterator[None]:
    """Within it models are opened without a key: nothing will be asked of them."""
    token = _KEYLESS.set(True)
    try:
        yield
    finally:
        _KEYLESS.reset(token)


def _secret(variable: str, base_url: str) -> str | None:
    """The key that an environment variable holds. What is given is repeated only when it looks like a name."""
    if secret := os.environ.get(variable, "").strip():
        if not secret.isascii() or not secret.isprintable():
            raise InputError("the key holds characters that no request can carry")
        return secret
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", variable):
        raise InputError("option key is the NAME of an environment variable; there is none of the name given")
    if is_local(base_url) or _KEYLESS.get():
        return None
    raise InputError(f"the environment variable {variable} holds no key for {base_url} (key=NAME names another)")
