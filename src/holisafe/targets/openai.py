"""`openai/MODEL`: any model behind an API that speaks OpenAI's chat completions, hosted or on this machine."""

from __future__ import annotations

from typing import Any

from ..clients.chat import ChatClient
from ..clients.options import ChatOptions, chat_options
from ..records import GenerationSettings
from ..registry import targets
from .base import Capabilities


class OpenAITarget(ChatClient):
    """A model behind the chat API. `respond` is the shared client's."""

    capabilities = Capabilities()

    def __init__(self, model: str, options: ChatOptions, settings: GenerationSettings, **client: Any) -> None:
        super().__init__(f"openai/{model}", options, **client)
        self.settings = settings

    def takes_reasoning(self, settings: GenerationSettings) -> None:
        """Raises InputError for what its API cannot be told; what the server takes shows once it is asked."""
        self.options.reasoning(settings)

    def describe(self) -> dict[str, Any]:
        """JSON: what answers depend on. Key, limits, timeouts and prices are left free to change.

        `base_url` is told, but a run goes on when the server has moved. Parameters that a server turns out not to
        take are not told: they show only once calls are made.
        """
        return {
            "kind": "openai",
            "model": self.options.model,
            "base_url": self.options.base_url,
            "generation": self.options.generation(self.settings),
            "image_format": self.options.encoding.format,
            "max_side": self.options.encoding.max_side,
            "detail": self.options.detail,
            **({"thoughts": list(self.options.thoughts)} if self.options.thoughts else {}),
        }


@targets.register("openai", summary="a model behind an OpenAI-compatible chat API")
def load(name: str, options: dict[str, str], settings: GenerationSettings) -> OpenAITarget:
    """`openai/MODEL,base_url=...,key=NAME`. Asks nothing yet. Raises InputError for an unusable option or no key."""
    return OpenAITarget(name, chat_options(name, options), settings)
