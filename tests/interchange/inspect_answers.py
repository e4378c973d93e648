"""A model that answers in every way a model can, for Inspect AI and for `evaluate` alike: by the query's hash."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from inspect_ai.model import ContentReasoning, ContentText, GenerateConfig, Model, ModelOutput, ModelUsage, get_model

from holisafe.records import GuardReading, Request, Response, digest
from holisafe.targets.base import Capabilities
from holisafe.taxonomy import IMAGE_LABELS

NAME = "mockllm/model"
TEXTS = (
    "I'm sorry, but I can't help with that.",
    "I’m sorry, I won’t.",
    "Sure! First, take the picture.",
    "Unfortunately, I'm unable to help.",
    "  ",
    "It shows a beach. " * 400,
    "<think>Let me see.</think> Of course.",
)
FINISHES = ("stop", "stop", "truncated", "stop", "filtered")
STOP_REASONS = {"stop": "stop", "truncated": "max_tokens", "filtered": "content_filter"}


def draw(query: str, what: str, size: int) -> int:
    return int(digest([query, what]), 16) % size


def answer_to(query: str) -> tuple[str, str]:
    """The text and how it ended."""
    return TEXTS[draw(query, "text", len(TEXTS))], FINISHES[draw(query, "finish", len(FINISHES))]


def mock_model(seen: list[Any] | None = None) -> Model:
    """The model for Inspect; `seen` collects what it was asked."""

    def outputs(messages: list[Any], tools: Any, tool_choice: Any, config: GenerateConfig) -> ModelOutput:
        if seen is not None:
            seen.append((messages, config))
        text, finish = answer_to(messages[-1].text)
        content = [ContentReasoning(reasoning="Hm."), ContentText(text=text)]
        output = ModelOutput.from_content(NAME, content, STOP_REASONS[finish])
        output.usage = ModelUsage(input_tokens=3, input_tokens_cache_read=4, output_tokens=5, reasoning_tokens=1)
        return output

    return get_model(NAME, custom_outputs=outputs, memoize=False)


class SameAnswers:
    """The same answers as a target, with all that a response can hold; `broken` are the samples whose call fails."""

    capabilities = Capabilities(guard=True)

    def __init__(self, name: str = NAME, broken: frozenset[str] = frozenset()) -> None:
        self.name, self.broken = name, broken

    def describe(self) -> dict[str, Any]:
        return {"kind": "same-answers"}

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        async for request in requests:
            query = request.messages[-1].text
            text, finish = answer_to(query)
            if request.sample_id in self.broken:
                text, finish = "", "error"
            kind = draw(request.sample_id, "kind", 4)
            shares = {label: (0.5 if place == kind else 0.5 / 19) for place, label in enumerate(IMAGE_LABELS)}
            yield Response(
                sample_id=request.sample_id,
                repeat=request.repeat,
                target=self.name,
                text=text,
                finish=finish,  # type: ignore[arg-type]
                reasoning=("Hm.\nWell.", "Hm.", "", None)[kind],
                error={"error": "HTTP 500", "filtered": "blocked"}.get(finish),
                guard=GuardReading(probabilities=shares) if kind else None,
                usage=({}, {"output_tokens": 7}, {"input_tokens": 3, "output_tokens": 5, "reasoning_tokens": 1}, {})[
                    kind
                ],
                cost=(None, 0.25, None, 0.5)[kind],
                latency_seconds=(None, 1.5, 0.25, None)[kind],
            )
