"""What every attack is: a calibration turned round, a target around a target that is asked what an attacker makes of
each request.

    @attacks.register("blur", summary="...", needs="pictures")
    class Blur(PictureAttack):
        attack, reads = "blur", BlurOptions

        def changed(self, image: Image, seed: int) -> Image: ...

Options that change nothing leave every request as it is, to the byte. What is drawn at random is drawn by the option
`seed` and the sample's id, so that a run that goes on asks the same. Judges see the sample itself, never the attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any, ClassVar

from PIL.Image import Image

from ..errors import InputError
from ..records import Message, Picture, Request, digest
from ..specs import typed_path
from ..tables import read_text
from ..targets.base import Target
from ..typed_yaml import parse_yaml, validated
from .base import Calibrated, Options


class SeededOptions(Options):
    """Of an attack that draws something."""

    seed: int = 0


class Attack(Calibrated):
    """A target under an attack. Responses carry its name, TARGET!NAME,OPTION=VALUE, of several in the order in which
    they edit; `describe` tells all options.

    `reads` are its options. `turned` makes the last turn of the user another one; an attack on more than that overrides
    `edit`. `adds_pictures` says how many pictures it may add to a request.
    """

    attack: ClassVar[str]
    reads: ClassVar[type[Options]] = Options
    adds_pictures: int = 0

    def __init__(self, target: Target, told: Mapping[str, str], **facts: Any) -> None:
        self.options: Any = validated(self.reads, told, f"attack {self.attack}")
        super().__init__(target, self.attack, told)
        written = ",".join([self.attack, *(f"{key}={value}" for key, value in told.items())])
        model, *inner = target.name.split("!")
        self.name = "!".join([model, written, *inner])
        self.facts = {"attack": self.attack, **self.options.model_dump(mode="json"), **facts}
        most = self.capabilities.images_per_request
        if most is not None and self.adds_pictures:
            self.capabilities = replace(self.capabilities, images_per_request=max(0, most - self.adds_pictures))

    def describe(self) -> dict[str, Any]:
        """JSON: the target's own description, and every attack on it, in the order in which they edit a request."""
        inner = self.target.describe()
        return {**inner, "attacks": [self.facts, *inner.get("attacks", ())]}

    def edit(self, request: Request) -> Request:
        last = max(place for place, message in enumerate(request.messages) if message.role == "user")
        before, turn, after = request.messages[:last], request.messages[last], request.messages[last + 1 :]
        changed = self.turned(turn, request)
        return request if changed is turn else replace(request, messages=(*before, changed, *after))

    def turned(self, turn: Message, request: Request) -> Message:
        """What becomes of the user's last turn."""
        return turn


class PictureAttack(Attack):
    """An attack on the pixels of every picture of the conversation; `changed` makes one picture another.

    `idle` tells that the options change nothing.
    """

    def idle(self) -> bool:
        return False

    def changed(self, image: Image, seed: int) -> Image:
        """Another picture. `seed`, below 2**32, belongs to the sample and to which of its pictures it is."""
        raise NotImplementedError

    def edit(self, request: Request) -> Request:
        if self.idle() or not any(turn.pictures for turn in request.messages):
            return request
        number = 0
        turns = []
        for turn in request.messages:
            edited = []
            for picture in turn.pictures:
                edited.append(self._edited(picture, self.seed(request, number)))
                number += 1
            turns.append(replace(turn, pictures=tuple(edited)))
        return replace(request, messages=tuple(turns))

    def seed(self, request: Request, number: int) -> int:
        return int(digest([self.attack, self.facts.get("seed", 0), request.sample_id, number]), 16) % 2**32

    def _edited(self, picture: Picture, seed: int) -> Picture:
        return Picture(picture.name, lambda: self.changed(picture.open(), seed))


class WordingOptions(Options):
    """`wording`: a shipped name, or a .txt file with {query} in it."""

    wording: str


class WordingAttack(Attack):
    """An attack that puts the user's words into others, `wording`, whose text stands in the description."""

    reads = WordingOptions

    def __init__(self, target: Target, told: Mapping[str, str]) -> None:
        super().__init__(target, told)
        self.facts["text"] = wording(self.attack, self.options.wording)

    def turned(self, turn: Message, request: Request) -> Message:
        return replace(turn, text=self.facts["text"].replace("{query}", turn.text))


def wordings(attack: str) -> dict[str, Any]:
    """{NAME: what is said} of an attack that comes with words of its own: `attacks/wordings.yaml`."""
    place = files("holisafe.calibration").joinpath("attacks", "wordings.yaml")
    found: dict[str, Any] = parse_yaml(place.read_text(encoding="utf-8"), "wordings.yaml")[attack]
    return found


def wording(attack: str, name: str) -> str:
    """A shipped wording, or what a .txt file says, with `{query}` in it once for the user's own words.

    Raises InputError where there is neither, or it does not have the query in it.
    """
    known, path = wordings(attack), typed_path(name)
    if name not in known and path.suffix != ".txt":
        raise InputError(f"{attack} has no wording {name!r}; known: {', '.join(known)}, or a .txt file")
    text = str(known[name]) if name in known else read_text(path).strip()
    if text.count("{query}") != 1:
        raise InputError("does not have {query} in it, once", where=path)
    return text
