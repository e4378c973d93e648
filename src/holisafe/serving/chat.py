"""A chat completion's body -> what is asked, and an answer -> a completion or the chunks of one.

Only what is understood is taken: a parameter that would change the answer and that nothing here carries out is an
error, never left aside. Roles are the client's word alone, so everything that it wrote, in whatever role, is read.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..records import Finish, GenerationSettings, Message, Picture, Response, Role
from .errors import GatewayError, refused
from .policy import Limits

ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}

LEFT_ASIDE = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"}
)
"""What changes nothing about an answer."""

AS_USUAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "top_p": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "stop": ([],),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "modalities": (["text"],),
    "logit_bias": ({},),
}
"""Parameters that are not carried out, and the values at which they ask for nothing."""

FINISH: dict[Finish, str] = {"stop": "stop", "truncated": "length", "filtered": "content_filter"}


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Address(Body):
    url: str
    detail: Literal["low", "high", "auto", "original"] | None = None


class TextPart(Body):
    type: Literal["text"]
    text: str


class ImagePart(Body):
    type: Literal["image_url"]
    image_url: Address


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Turn(Body):
    """`name` and `refusal` are what clients send back of earlier answers; a refusal is part of what was said."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    refusal: str | None = None
    name: str | None = None

    @property
    def parts(self) -> list[TextPart | ImagePart]:
        if isinstance(self.content, str):
            return [TextPart(type="text", text=self.content)]
        return list(self.content or ())

    @property
    def text(self) -> str:
        said = [part.text for part in self.parts if isinstance(part, TextPart)]
        if self.refusal and self.refusal not in said:
            said.append(self.refusal)
        return "\n".join(said)

    @property
    def addresses(self) -> list[str]:
        return [part.image_url.url for part in self.parts if isinstance(part, ImagePart)]


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


class Mode(Body):
    mode: Literal["score", "block"]


class ModerationModes(Body):
    input: Mode | None = None
    output: Mode | None = None


class Moderated(Body):
    """The slot of the chat API: readings are wanted in the answer, and may be asked to block besides the policy."""

    model: str
    policy: ModerationModes | None = None

    def blocks(self, stage: Literal["input", "output"]) -> bool:
        mode = getattr(self.policy, stage, None) if self.policy else None
        return mode is not None and mode.mode == "block"


class Schema(Body):
    name: str
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None
    description: str | None = None


class Format(Body):
    type: Literal["text", "json_schema"]
    json_schema: Schema | None = None


class ChatBody(BaseModel):
    """What is taken of a body. Anything else is in `model_extra`."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str
    messages: Annotated[list[Turn], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: Format | None = None
    moderation: Moderated | None = None

    @property
    def answer_schema(self) -> Mapping[str, Any] | None:
        return (
            self.response_format.json_schema.schema_
            if self.response_format and self.response_format.json_schema
            else None
        )

    def settings(self, base: GenerationSettings, limits: Limits) -> GenerationSettings:
        """How to decode: what the client says, within the limits, else what the gateway was started with."""
        wanted = self.max_completion_tokens or self.max_tokens or base.max_new_tokens
        return GenerationSettings(
            max_new_tokens=min(wanted, limits.tokens),
            temperature=base.temperature if self.temperature is None else self.temperature,
            seed=base.seed if self.seed is None else self.seed,
            system=base.system,
            reasoning_tokens=base.reasoning_tokens,
        )


def read_body(kind: type[Any], content: bytes) -> Any:
    """A body as one of the models here. Raises GatewayError naming the first field that is wrong, without its value."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))[:120] or None
        code = "invalid_json" if first["type"] == "json_invalid" else "invalid_value"
        raise refused(first["msg"][:200], where, code) from None


def read_chat(content: bytes, limits: Limits) -> ChatBody:
    """A body within the limits. Raises GatewayError for what cannot be carried out."""
    chat: ChatBody = read_body(ChatBody, content)
    for name, value in (chat.model_extra or {}).items():
        usual = AS_USUAL.get(name)
        if name not in LEFT_ASIDE and value is not None and (usual is None or value not in usual):
            raise refused("this server does not carry out this parameter", name[:60], "unsupported_parameter")
    if len(chat.messages) > limits.turns:
        raise refused(f"more than {limits.turns} messages", "messages")
    if sum(len(turn.text) for turn in chat.messages) > limits.characters:
        raise refused(f"more than {limits.characters:,} characters", "messages")
    if sum(len(turn.addresses) for turn in chat.messages) > limits.pictures:
        raise refused(f"more than {limits.pictures} pictures", "messages")
    if not any(turn.role == "user" for turn in chat.messages):
        raise refused("no message is the user's", "messages")
    if any(turn.role != "user" and turn.addresses for turn in chat.messages):
        raise refused("only a user's message holds pictures", "messages")
    return chat


def conversation(chat: ChatBody, pictures: Sequence[Sequence[Picture]], system: str | None) -> tuple[Message, ...]:
    """The turns as a target takes them, with each turn's pictures. The operator's system prompt comes first, and what
    the client sends as one follows it in the same turn."""
    told = [turn.text for turn in chat.messages if ROLES[turn.role] == "system"]
    first = "\n\n".join(filter(None, [system, *told]))
    turns = [
        Message(ROLES[turn.role], turn.text, tuple(shown))
        for turn, shown in zip(chat.messages, pictures, strict=True)
        if ROLES[turn.role] != "system"
    ]
    return (Message("system", first), *turns) if first else tuple(turns)


def identity(prefix: str = "chatcmpl") -> str:
    return f"{prefix}-{secrets.token_hex(12)}"


def usage(response: Response | None) -> dict[str, int]:
    counted = response.usage if response else {}
    asked, said = counted.get("input_tokens", 0), counted.get("output_tokens", 0)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def completion(
    name: str,
    model: str,
    text: str,
    finish: Finish,
    response: Response | None,
    moderation: Any = None,
    refusal: bool = False,
) -> dict[str, Any]:
    """A chat completion. A `refusal` of ours stands in both places where clients look."""
    message = {"role": "assistant", "content": text, "refusal": text if refusal else None}
    return {
        "id": name,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": FINISH.get(finish, "stop"), "logprobs": None}],
        "usage": usage(response),
        **({"moderation": moderation} if moderation is not None else {}),
    }


def event(value: Mapping[str, Any] | None) -> bytes:
    """A server-sent event; None is the last one."""
    return (
        b"data: [DONE]\n\n"
        if value is None
        else b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
    )


def chunk(name: str, model: str, delta: Mapping[str, Any] | None, finish: Finish | None = None, **more: Any) -> bytes:
    """One piece of a streamed completion; without a delta a piece that holds no choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish and FINISH.get(finish, "stop"), "logprobs": None}
    return event(
        {
            "id": name,
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
            "choices": [] if delta is None else [choice],
            **more,
        }
    )


def check_model(asked: str, served: str) -> None:
    """Raise GatewayError for another model than the one that is served here."""
    if asked != served:
        raise GatewayError(404, "model_not_found", "there is no such model here; /v1/models names it", param="model")
