"""`visual-guard/MODEL`, or MODEL alone: our Visual Guard Module, on images or on pairs.

An image head reads pictures, a pair head pictures with their question and the conversation before it, as the model that
is asked sees them. The model's folder brings its thresholds along
(`holisafe guard thresholds`); a policy of the user's own groups the labels, each group with a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from PIL.Image import Image

from ..errors import InputError
from ..records import GuardReading, digest
from ..registry import guards
from ..taxonomy import SAFE
from .base import Item, Kind, Reading, reading, unreadable
from .policy import Policy
from .taxonomies import OURS

if TYPE_CHECKING:
    from ..guard.conversation import Asked
    from ..guard.thresholds import GuardThresholds

SEES_TEXT = "image_and_text"
"""The pooling source that a pair head needs."""

IMAGE_ONLY = (
    "A guard that sees images alone cannot see what is harmful only in the text or in the combination (SUU and SSU "
    "pairs): those images are safe, and right is to call them so. See holisafe guard pairs."
)
SEES_PAIRS = (
    "This guard pools image and text positions: it can see what is harmful only in the text or the combination."
)

OPTIONS = ("batch_size", "device", "pool", "processor", "threshold", "vision_tower")


@dataclass(frozen=True)
class Opening:
    """What the user said beside the model's name. None: the GPU if there is one; what the folder holds or records; for
    a published checkpoint's hub id, its base model's processor and the tower that its config names."""

    device: str | None = None
    processor: str | None = None
    vision_tower: str | None = None
    pool: str | None = None

    @property
    def of_the_folder(self) -> tuple[str | None, ...]:
        """What stands in for something in the folder: readings depend on it."""
        return self.processor, self.vision_tower, self.pool


def open_model(model: str, how: Opening) -> tuple[Any, Any]:
    """The guarded model and its processor. Raises InputError when one of them cannot be loaded."""
    from ..guard import load_guarded, load_processor
    from ..guard.quiet import quiet

    with quiet():
        processor = load_processor(how.processor or model)  # first: it takes seconds where weights take minutes
        return load_guarded(model, device=how.device, vision_tower=how.vision_tower, pool=how.pool), processor


@dataclass(frozen=True)
class VisualGuard:
    """A guarded model. `limit`, if given, replaces the stored threshold; without either the likeliest label decides.
    `policy` replaces both."""

    name: str
    model: Any
    processor: Any
    labels: tuple[str, ...]
    stored: GuardThresholds | None = None
    limit: float | None = None
    batch_size: int = 8
    policy: Policy | None = None
    made_by: str = ""
    taxonomy: str | None = OURS
    one_picture: ClassVar = True
    """It reads no more of an item at a time."""

    @property
    def version(self) -> str:
        return digest([2, self.made_by, self.limit, self.policy and self.policy.digest])[:8]

    @property
    def sees_pairs(self) -> bool:
        from ..guard.attach import unwrap

        return SEES_TEXT in str(getattr(unwrap(self.model).config, "safety_pool", ""))

    @property
    def takes(self) -> frozenset[Kind]:
        return frozenset(("image", "pair") if self.sees_pairs else ("image",))

    @property
    def note(self) -> str:
        return SEES_PAIRS if self.sees_pairs else IMAGE_ONLY

    @property
    def decides(self) -> str:
        """What makes an item unsafe, in words."""
        if self.policy is not None:
            return f"a category of the policy {self.policy.name} above its threshold"
        if self.limit is not None:
            return f"1 - P(safe) above {self.limit:g}, as given"
        if self.stored is None:
            return "the likeliest label is not safe"
        if self.stored.unsafe is None:
            return "never: too few safe images for the wanted false-alarm rate"
        wanted = f"chosen for {self.stored.false_alarm_rate:.1%} false alarms"
        return f"1 - P(safe) above {self.stored.unsafe:.4g}, {wanted}"

    def alarm(self, said: GuardReading) -> bool:
        if self.limit is not None:
            return said.unsafe > self.limit
        return said.label != SAFE if self.stored is None else self.stored.alarm(said)

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        """A batch at a time, one prefill each; nothing is generated."""
        from ..guard.predict import QUESTION, each_or_fault

        def opened(item: Item) -> tuple[Image, Asked]:
            if len(item.shown) != 1:
                raise InputError(f"the guard reads one picture at a time, not {len(item.shown)}")
            text = (item.text.strip() and item.text) or QUESTION
            return item.shown[0].open(), replace(item, text=text).messages if item.earlier else text

        remaining = iter(items)
        while batch := list(islice(remaining, self.batch_size)):
            openers = [partial(opened, item) for item in batch]
            for item, said in zip(batch, each_or_fault(self.probabilities, openers, self.batch_size), strict=True):
                if isinstance(said, InputError):
                    yield unreadable(item, said.problem if said.where is None else f"image: {said.problem}")
                elif not said.finite:
                    yield unreadable(item, "no number")
                else:
                    yield self._reading(item, said)

    def probabilities(self, pairs: Sequence[tuple[Image, Asked]]) -> list[GuardReading]:
        """The probabilities of the labels, for pictures (RGB) with what is asked about each."""
        from ..guard.predict import predict

        images, texts = [image for image, _ in pairs], [text for _, text in pairs]
        temperature = self.stored.temperature if self.stored else 1.0
        options: dict[str, Any] = {"batch_size": self.batch_size, "temperature": temperature}
        return list(predict(self.model, self.processor, images, texts=texts, **options))

    def of_images(self, images: Sequence[Image]) -> list[GuardReading]:
        """As `probabilities`, of pictures about which nothing in particular is asked."""
        from ..guard.predict import QUESTION

        return self.probabilities([(image, QUESTION) for image in images])

    def _reading(self, item: Item, said: GuardReading) -> Reading:
        """With a policy its groups and their sums of probabilities; else the labels."""
        if self.policy is None:
            found = [label for label, _ in sorted(said.probabilities.items(), key=lambda one: -one[1]) if label != SAFE]
            unsafe = self.alarm(said)
            categories = found[:1] if unsafe else []
            return reading(self, item, unsafe, categories, score=said.unsafe, scores=dict(said.probabilities))
        sums = {
            category.name: sum(said.probabilities[label] for label in dict.fromkeys(category.labels))
            for category in self.policy.categories
        }
        above = [category.name for category in self.policy.categories if sums[category.name] > category.threshold]
        above.sort(key=lambda name: -sums[name])
        meant = {label for category in self.policy.categories for label in category.labels}
        return reading(
            self, item, bool(above), above, score=sum(said.probabilities[label] for label in meant), scores=sums
        )


@guards.register("visual-guard", summary="the Visual Guard Module: pictures, or pairs with a pair head")
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> VisualGuard:
    """`visual-guard/MODEL,threshold=0.3,device=cuda`. Raises InputError when it cannot be loaded, or has no `safe`."""
    for option in options:
        if option not in OPTIONS:
            raise InputError(f"visual-guard has no option {option!r}; known: {', '.join(OPTIONS)}")
    size = options.get("batch_size", "8")
    if not size.isdecimal() or int(size) < 1:
        raise InputError(f"batch_size={size} is not a whole number above 0")
    how = Opening(*(options.get(name) for name in ("device", "processor", "vision_tower", "pool")))
    return open_visual_guard(model, _share(options.get("threshold")), int(size), how, policy=policy)


def open_visual_guard(
    model: str,
    limit: float | None = None,
    batch_size: int = 8,
    how: Opening = Opening(),
    *,
    bare: bool = False,
    policy: Policy | None = None,
) -> VisualGuard:
    """A guarded model with the thresholds in its folder, unless `bare`. Raises InputError as `load`."""
    from ..guard import labels_of
    from ..guard.folders import locate
    from ..guard.thresholds import head_digest, load_thresholds

    if policy is not None and limit is not None:
        raise InputError("a policy has its own thresholds: give one of the two", where=policy.where)
    guarded, processor = open_model(model, how)
    labels = labels_of(guarded)
    if SAFE not in labels:
        raise InputError(f"the guard has no label {SAFE!r}, so nothing is a false alarm", where=model)
    stored = None if bare else load_thresholds(model, labels)
    source = locate(model)
    made_by = digest([source, head_digest(source), stored and vars(stored), list(how.of_the_folder)])
    guard = VisualGuard(model, guarded, processor, labels, stored, limit, batch_size, policy, made_by)
    if policy is None:
        return guard
    return replace(guard, name=f"{model},policy={policy.name}", policy=policy.labelled(labels), taxonomy=None)


def _share(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"threshold={text} does not lie between 0 and 1")
    return value
