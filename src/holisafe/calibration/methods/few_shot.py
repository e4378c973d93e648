"""`few-shot`: show the model safe and unsafe pairs answered well, as earlier turns, before it is asked.

    system?  user: pair 1  assistant: its answer  ...  user: pair k  assistant: its answer  user: the request

Half of the k demonstrations are safe pairs that are answered, half are unsafe ones that are refused. They come from a
pool in a learned file: drawn at random, spread over categories, or nearest to the request in the model's own features.

Source: the prompt-based approach of VSCBench (arXiv 2505.20362, section on calibration), whose demonstrations are not
published; how they are chosen here is this project's own.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from ...errors import InputError
from ...records import GenerationSettings, Request, Response
from ...registry import calibrations
from ...targets.base import Target
from ..base import Calibrated, FitData, Options, local_model, read_options, stream, windows
from ..demonstrations import Demonstration, collect, last_user_turn, pack, shuffled, spread, unpack
from ..learned import Learned, load_learned

if TYPE_CHECKING:
    from ..activation.features import Features

METHOD = "few-shot"
Even = Annotated[int, Field(ge=2, multiple_of=2)]


class FewShotOptions(Options):
    """`file` holds the pool, `k` of which are shown: drawn by `seed` at `random` or spread over each `category`, or the
    `nearest` to the request. `images`: with their pictures, or described in words; auto: as the target can."""

    file: str
    k: Even = 4
    choose: Literal["random", "category", "nearest"] = "random"
    seed: Annotated[int, Field(ge=0)] = 0
    images: Literal["auto", "yes", "no"] = "auto"


class FitOptions(Options):
    """`pool`: how many pairs to keep. `features`: of each pair, for choose=nearest; auto: where the model is local."""

    pool: Even = 64
    features: Literal["auto", "yes", "no"] = "auto"


@calibrations.register(
    METHOD, summary="answered safe and unsafe pairs as earlier turns", needs="a fitted pool of pairs"
)
class FewShot(Calibrated):
    """A target whose every request comes after k demonstrations."""

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        options = read_options(FewShotOptions, told, METHOD)
        learned = load_learned(options.file, METHOD)
        pool = unpack(learned)
        fewest = min(sum(one.expected == kind for one in pool) for kind in ("answer", "refuse"))
        if options.k > 2 * fewest:
            raise InputError(f"k={options.k} is more than the pool of {fewest} pairs of each kind", where=options.file)
        room, most = target.capabilities.images_per_request, options.k * max(len(one.pictures) for one in pool)
        self.with_pictures = options.images == "yes" or (options.images == "auto" and (room is None or room > most))
        if self.with_pictures and room is not None and room <= most:
            raise InputError(f"{target.name} takes {room} images a request: use images=no, or a smaller k")
        self.nearest = _Nearest(target, learned, pool) if options.choose == "nearest" else None
        self.options, self.pool = options, shuffled(pool, options.seed)
        if options.choose == "category":
            self.pool = spread(self.pool)
        super().__init__(
            target,
            METHOD,
            told,
            file=learned.content,
            k=options.k,
            choose=options.choose,
            seed=options.seed,
            images=self.with_pictures,
        )
        if room is not None and self.with_pictures:
            self.capabilities = replace(target.capabilities, images_per_request=room - most)

    def edit(self, request: Request) -> Request:
        return self.edited([request])[0]

    def edited(self, requests: Sequence[Request]) -> list[Request]:
        """Every request with its demonstrations in front, in an order that depends on the request."""
        ranked = self.nearest.ranked(requests) if self.nearest else [self.pool] * len(requests)
        return [
            self._after(request, self._shown(request, pool)) for request, pool in zip(requests, ranked, strict=True)
        ]

    def _shown(self, request: Request, ranked: Iterable[Demonstration]) -> list[Demonstration]:
        """The first k/2 of each kind that are not the request itself."""
        shown: dict[str, list[Demonstration]] = {"answer": [], "refuse": []}
        for one in ranked:
            if len(shown[one.expected]) < self.options.k // 2 and not one.is_of(request):
                shown[one.expected].append(one)
        return shuffled([*shown["answer"], *shown["refuse"]], self.options.seed, request.sample_id)

    def _after(self, request: Request, shown: Iterable[Demonstration]) -> Request:
        system = [message for message in request.messages if message.role == "system"]
        rest = [message for message in request.messages if message.role != "system"]
        turns = [turn for one in shown for turn in one.turns(with_pictures=self.with_pictures)]
        return replace(request, messages=(*system, *turns, *rest))

    async def respond(self, requests: AsyncIterable[Request]) -> AsyncIterator[Response]:
        """Nearest pairs are looked up for a window of requests at a time, before the first of them is answered."""
        if self.nearest is None:
            async for response in super().respond(requests):
                yield response
            return
        async for window in windows(requests, self.nearest.window):
            async for response in self.target.respond(stream(self.edited(window))):
                yield replace(response, target=self.name)

    @classmethod
    def fit(cls, target: Target, data: FitData, options: dict[str, str]) -> Learned:
        """Keep a pool of training pairs, and their features where the model is on this machine."""
        chosen = read_options(FitOptions, options, METHOD)
        pool, facts = collect(data, chosen.pool)
        tensors = pack(pool)
        if chosen.features == "yes" or (chosen.features == "auto" and hasattr(target, "model")):
            from ..activation.features import pooled_features

            model = local_model(target, f"{METHOD},features=yes")
            samples = {sample.id: sample for sample in data.train}
            requests = [data.benchmark.request(samples[one.id], GenerationSettings()) for one in pool]
            found = [vector for vector in pooled_features(model, requests) if vector is not None]
            if len(found) < len(pool):
                raise InputError(f"{model.name} cannot read {len(pool) - len(found)} of {len(pool)} pairs")
            tensors["features"] = np.stack(found)
            facts["features_of"] = model.describe()["fingerprint"]
        return Learned(METHOD, tensors, facts)


class _Nearest:
    """Ranks the pool by the cosine between features of the last user turn alone and those of every pair."""

    def __init__(self, target: Target, learned: Learned, pool: Sequence[Demonstration]) -> None:
        self.model, self.pool = local_model(target, f"{METHOD},choose=nearest"), pool
        if "features" not in learned.tensors:
            raise InputError("holds no features: fit it again on this model", where=learned.path)
        if learned.facts.get("features_of") != self.model.describe()["fingerprint"]:
            raise InputError(
                f"its features are not those of {self.model.name}: fit it again on this model", where=learned.path
            )
        self.features = _unit(learned.numbers("features", axes=2))
        self.window = 4 * self.model.batch_size

    def ranked(self, requests: Sequence[Request]) -> list[list[Demonstration]]:
        """The pool, nearest first, for every request; in the file's order for one that cannot be read."""
        from ..activation.features import pooled_features

        alone = [replace(request, messages=(last_user_turn(request),)) for request in requests]
        return [
            list(self.pool)
            if vector is None
            else [self.pool[place] for place in np.argsort(-(self.features @ _unit(vector)), kind="stable")]
            for vector in pooled_features(self.model, alone)
        ]


def _unit(vectors: Features) -> Features:
    """Vectors [..., H] of length 1."""
    scaled: Features = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(min=1e-12)
    return scaled
