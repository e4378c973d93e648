"""What every target is: something that answers requests and says what it can do."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..errors import InputError
from ..records import Request, Response


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a target can do. `images_per_request` None means any number; `free` answers cost neither money nor time."""

    images_per_request: int | None = None
    system_prompt: bool = True
    likelihoods: bool = False
    guard: bool = False
    free: bool = False


@runtime_checkable
class Target(Protocol):
    """A model to measure. A batched local model and a concurrent API look alike.

    `name` goes into every response; `describe()` is JSON that identifies the model and how it decodes: a run is only
    resumed by a target that describes itself the same way. One that can be told to think or not also has
    `takes_reasoning(settings)`, which raises InputError for settings that it cannot be told.
    """

    name: str
    capabilities: Capabilities

    def describe(self) -> dict[str, Any]: ...

    def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Answer every request once, in any order. A failed call is a Response with `finish="error"`, never raised."""
        ...


class LikelihoodTarget(Target, Protocol):
    """A target whose `capabilities.likelihoods` is True: it can tell how likely it finds a text after its images."""

    def log_likelihoods(self, requests: Sequence[Request], texts: Sequence[str]) -> list[float | InputError]:
        """For each request, the mean log-probability (nats, natural logarithm) of the tokens of `texts`' entry where
        that text stands in the last user turn, given all before it. Instead of a number stands what went wrong."""
        ...


@contextmanager
def keeping(target: Any, folder: Path) -> Iterator[None]:
    """While it is open, calls that a target makes on the way to an answer are kept in `folder`, and those kept there
    before are not made again. Most targets make none: one call is one answer."""
    with getattr(target, "keeping", lambda _: nullcontext())(folder):
        yield


def innermost(target: Any) -> Any:
    """The model itself, without the calibrations around it."""
    while hasattr(target, "target"):
        target = target.target
    return target


def error_response(request: Request, target: str, problem: str) -> Response:
    """What a failed call leaves: no text, and its reason in at most 300 characters."""
    return Response(
        sample_id=request.sample_id,
        repeat=request.repeat,
        target=target,
        text="",
        finish="error",
        error=problem[:300],
    )
