"""`shieldgemma2/SPEC`: ShieldGemma 2 (arXiv 2504.01081), which answers Yes or No to each policy about an image.

An image is unsafe when it violates any policy: its score is the largest P(Yes), the threshold one half. On this machine
P(Yes) comes from the model's own class; over a server from the probabilities of the answer's first word, the policy's
text standing alone in the user's turn, as the model's chat template wants it. A policy of the user's own is asked
instead of the three it was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from ..errors import InputError
from ..records import Message, Response, digest
from ..registry import guards
from ..registry import targets as known
from .asking import AskingGuard, Question, Said, asking, cannot_be_read
from .base import Item, Kind, Reading, reading, unreadable
from .policy import Policy
from .yes_no import chance_of_yes

NOTE = (
    "ShieldGemma 2 knows three policies (dangerous, sexual, violence): other labels are outside what it was made for."
)
DECIDES = "P(Yes) above one half for any policy"


def verdict(violated: Mapping[str, float]) -> Said:
    """From P(Yes) of each policy."""
    found = sorted((name for name, yes in violated.items() if yes > 0.5), key=lambda name: -violated[name])
    return Said(bool(found), tuple(found), max(violated.values()), violated)


@dataclass
class LocalShieldGemma2:
    """The model's own class. `batch_size` images are read at once, with every policy."""

    name: str
    version: str
    model: Any
    batch_size: int
    taxonomy: str | None
    takes: frozenset[Kind] = frozenset(("image",))
    decides: str = DECIDES
    note: str = NOTE

    def read(self, items: Iterable[Item]) -> Iterator[Reading]:
        from ..guard.predict import each_or_fault

        remaining = iter(items)
        while batch := list(islice(remaining, self.batch_size)):
            openers = [partial(_picture, item) for item in batch]
            for item, found in zip(batch, each_or_fault(self.model.violations, openers, self.batch_size), strict=True):
                if isinstance(found, InputError):
                    yield unreadable(item, found.problem if found.where is None else f"image: {found.problem}")
                else:
                    said = verdict(found)
                    yield reading(self, item, said.unsafe, said.categories, score=said.score, scores=dict(found))


def _picture(item: Item) -> Any:
    if len(item.pictures) != 1:
        raise InputError(f"the guard reads one picture at a time, not {len(item.pictures)}")
    return item.pictures[0].open()


def questions(item: Item, policies: Mapping[str, str]) -> list[Question]:
    return [Question((Message("user", text, item.pictures),), first_words=("Yes", "No")) for text in policies.values()]


def conclude(item: Item, answers: Sequence[Response], policies: Mapping[str, str]) -> Said:
    chances = [chance_of_yes(answer.first_words) for answer in answers]
    known = [chance for chance in chances if chance is not None]
    if len(known) < len(chances):
        return cannot_be_read("the server tells no probability of Yes or No")
    return verdict(dict(zip(policies, known, strict=True)))


@guards.register("shieldgemma2", summary="ShieldGemma 2: pictures, by its policies or one of your own")
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> LocalShieldGemma2 | AskingGuard:
    """Raises InputError when the folder or hub id holds no ShieldGemma 2, or a server's policies have no words."""
    own = None if policy is None else {one.name: one.definition for one in policy.defined().categories}
    taxonomy = "shieldgemma2" if policy is None else None
    place, _, name = model.partition("/")
    if place in known.entries() and place != "hf":
        told = own or _published()
        return asking(
            "shieldgemma2", model, options, takes=("image",), note=NOTE, questions=partial(questions, policies=told),
            conclude=partial(conclude, policies=told), rules=[told, 1], policy=policy, taxonomy=taxonomy,
            decides=DECIDES,
        )  # fmt: skip
    for option in options:
        if option not in ("batch_size", "device"):
            raise InputError(f"shieldgemma2 has no option {option!r}; known: batch_size, device")
    size = options.get("batch_size", "8")
    if not size.isdecimal() or int(size) < 1:
        raise InputError(f"batch_size={size} is not a whole number above 0")

    from ..guard.folders import locate
    from ..guard.shieldgemma2 import load_shieldgemma2

    name = name if place == "hf" else model
    opened = load_shieldgemma2(name, options.get("device"), own)
    version = digest([locate(name), dict(opened.policies), 1])[:8]
    of = f",policy={policy.name}" if policy is not None else ""
    return LocalShieldGemma2(f"shieldgemma2/hf/{name}{of}", version, opened, int(size), taxonomy)


def _published() -> dict[str, str]:
    """The policies that it was trained on, in the words that transformers holds."""
    try:
        from ..guard.published_policies import SHIELDGEMMA2
    except ImportError:
        raise InputError("the words of its policies come with transformers (extra local): or give --policy") from None
    return dict(SHIELDGEMMA2)
