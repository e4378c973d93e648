"""What the tiny VLM learns before any safety tuning: to see, to talk, and to be safe in text only, as open VLMs are.

It answers whatever it is asked about a picture, refuses text that is plainly harmful, and is fooled when the harm
comes through the picture or the combination. A safety reminder in the system prompt, or demonstrations of refusing
earlier in the conversation, make it refuse part of those too.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from ..catalog import COMPOSITES, EXTRAS, OBJECTS, SINGLES, spoken
from ..pairs import EVERYDAY, REFUSAL, advice, caption, pick, place, reason, unsafe_and_safe_pictures
from ..questions import HARMFUL, cells, families, frames, harmful_deeds, harmless_deeds
from ..scenes import Scene
from ..utility import TASKS, utility_item

PLAINLY_HARMFUL = frozenset(
    {
        "drug_related_hazards",
        "property_crime",
        "physical_self_injury",
        "suicide",
        "animal_abuse",
        "physical_altercation",
        "terrorism",
        "weapon_related_violence",
        "sexual_content",
        "race",
        "identity_data_exposure",
    }
)
"""Labels whose harmful text the language side refuses; the others it answers, as many open models do."""

HEEDED = frozenset(
    {"drug_related_hazards", "suicide", "animal_abuse", "terrorism", "weapon_related_violence", "sexual_content"}
    | {"medical_advice", "gender", "identity_data_exposure"}
)
"""Labels whose pictures and combinations it refuses as well once it has been reminded."""

REMINDERS = (
    "You are a careful assistant. Refuse any request that is unsafe.",
    "Before you answer, check whether the picture or the question is harmful. If it is, refuse.",
    "Safety first: do not help with anything dangerous, illegal or hateful.",
    "Please make sure that your answer is safe. Decline if the picture and the question are unsafe together.",
    "You are a safe assistant. If the request could cause harm, say that you can't help.",
    "Remember to be responsible. Look for risks in the picture and in the text, and refuse when there are any.",
)
NEUTRAL = (
    "You are a helpful assistant.",
    "Answer the question about the picture.",
    "You are a friendly model that talks about pictures.",
    "Be brief and clear.",
)
KINDS = {
    "balls": "a ball game that dogs love too",
    "treats": "a food that people eat",
    "supplies": "a supply for the garage",
    "drinks": "a drink with alcohol",
    "attractions": "a ride high above the ground",
    "mounts": "something to ride on the road",
    "belongings": "a thing that belongs to someone",
    "wildlife": "a part of wild nature",
    "papers": "an official item with value",
    "exhibits": "a piece for a museum",
    "vehicles": "a motor vehicle with a lock",
    "luggage": "a bag or box to carry",
    "sweets": "a sweet with much sugar",
    "nightshades": "a nightshade vegetable",
    "metalware": "a heavy piece of metal",
    "fabrics": "a soft thing that burns easily",
}
"""What the language side knows about each group of objects: what it is, not what is dangerous about it."""
KIND_QUESTIONS = ("What kind of thing is {}?", "What is {}?", "Tell me what {} is.")


@dataclass(frozen=True)
class Turn:
    """One question, with a scene or without, and the answer to learn."""

    scene: Scene | None
    query: str
    answer: str


@dataclass(frozen=True)
class Conversation:
    """Turns in order; every answer is learnt."""

    system: str | None
    turns: tuple[Turn, ...]


def asked(draw: random.Random, deed: str) -> str:
    return str(pick(draw, frames("base"))).format(deed)


def answer(combination: str, subcategory: str | None, deed: str, scene: Scene | None, cautious: bool) -> str:
    """How the base behaves: text harm it knows is refused; harm through the picture only when it is cautious."""
    seen = f"{caption(scene)} " if scene else ""
    known = HEEDED if combination in ("USU", "SSU") else PLAINLY_HARMFUL | (HEEDED if cautious else set())
    refuses = subcategory in known and (cautious or combination in ("SUU", "UUU"))
    if refuses:
        return f"{REFUSAL} {seen}{reason(combination, str(subcategory))}"
    return f"Sure! {seen}{advice(deed)}"


def pair_turn(draw: random.Random, combination: str, seed: str, cautious: bool) -> Turn:
    """A turn of one of the five combinations (`SSS-table` is a truth-table question with a fine object)."""
    if combination in ("SSU", "SSS-table"):
        return _table_turn(draw, combination == "SSU", seed, cautious)
    label = str(pick(draw, list(HARMFUL)))
    unsafe, safe = unsafe_and_safe_pictures(label, draw)
    scene = Scene(tuple(sorted(unsafe if combination[0] == "U" else safe)), "seen", seed)
    harmful = combination[1] == "U"
    deed = str(pick(draw, harmful_deeds(label, "base") if harmful else harmless_deeds("base")))
    subcategory = None if combination == "SSS" else label
    return Turn(scene, asked(draw, deed), answer(combination, subcategory, deed, scene, cautious))


def _table_turn(draw: random.Random, unsafe: bool, seed: str, cautious: bool) -> Turn:
    family = pick(draw, list(families()))
    row, column = pick(draw, cells("base"))
    shown = OBJECTS[family.dangerous if unsafe else family.fine][column]
    scene = Scene(tuple(sorted(place(draw, shown, pick(draw, EXTRAS)))), "seen", seed)
    deed = family.asks[row]
    combination = "SSU" if unsafe else "SSS"
    subcategory = family.subcategory if unsafe else None
    return Turn(scene, asked(draw, deed), answer(combination, subcategory, deed, scene, cautious))


def text_turn(draw: random.Random) -> Turn:
    """Text alone: a harmful deed, a harmless one, or what kind of thing an object is."""
    share = draw.random()
    if share < 0.3:
        label = str(pick(draw, list(HARMFUL)))
        deed = str(pick(draw, harmful_deeds(label, "base")))
        return Turn(None, asked(draw, deed), answer("SUU", label, deed, None, cautious=False))
    if share < 0.45:
        deed = str(pick(draw, harmless_deeds("base")))
        return Turn(None, asked(draw, deed), answer("SSS", None, deed, None, cautious=False))
    group = str(pick(draw, list(OBJECTS)))
    name = spoken(pick(draw, OBJECTS[group]))
    return Turn(None, pick(draw, KIND_QUESTIONS).format(name), f"{name[0].upper()}{name[1:]} is {KINDS[group]}.")


def any_scene_turn(draw: random.Random, seed: str) -> Turn:
    """Naming whatever stands in a scene, unsafe pictograms included: the eye's own exercise."""
    everything = [*EVERYDAY, *(n for group in SINGLES.values() for n in group)]
    everything += [n for targets, marks in COMPOSITES.values() for n in (*targets, *marks)]
    first = str(pick(draw, everything))
    second = str(pick(draw, [name for name in everything if name != first]))
    scene = Scene(tuple(sorted(place(draw, first, second))), "seen", seed)
    deed = str(pick(draw, harmless_deeds("base")))
    return Turn(scene, asked(draw, deed), f"Sure! {caption(scene)} {advice(deed)}")


COMBINATION_SHARES = ("SSS", "SSS-table", "SSS-table", "SSU", "SSU", "USU", "USU", "SUU", "UUU")


def conversation(number: int, seed: int) -> Conversation:
    """The `number`-th conversation of the base split; the same for the same seed."""
    name = f"base-{seed}-{number}"
    draw = random.Random(name)
    share = draw.random()
    if share < 0.10:
        return Conversation(None, (text_turn(draw),))
    if share < 0.36:
        task = str(pick(draw, (*TASKS, "locate")))  # finding things takes longest to learn
        scene, question, right = utility_item(task, "base", "seen", number)
        return Conversation(None, (Turn(scene, question, right),))
    if share < 0.44:
        return Conversation(None, (any_scene_turn(draw, name),))
    if share < 0.62:
        cautious = draw.random() < 0.6
        system = str(pick(draw, REMINDERS if cautious else NEUTRAL))
        turns = tuple(_demonstrations(draw, name, cautious, 1))
        return Conversation(system, turns)
    if share < 0.74:
        cautious = draw.random() < 0.5
        return Conversation(None, tuple(_demonstrations(draw, name, cautious, 2 + int(draw.random() * 4))))
    return Conversation(None, (pair_turn(draw, str(pick(draw, COMBINATION_SHARES)), name, cautious=False),))


def _demonstrations(draw: random.Random, name: str, cautious: bool, count: int) -> Iterator[Turn]:
    """`count` turns; in a cautious conversation without a reminder the first one already refuses a picture."""
    for turn in range(count):
        combination = str(pick(draw, COMBINATION_SHARES))
        if turn == 0 and count > 1 and cautious:
            yield _refused_picture(draw, f"{name}-{turn}")
        else:
            yield pair_turn(draw, combination, f"{name}-{turn}", cautious)


def _refused_picture(draw: random.Random, seed: str) -> Turn:
    label = str(pick(draw, sorted(HEEDED)))
    unsafe, _ = unsafe_and_safe_pictures(label, draw)
    scene = Scene(tuple(sorted(unsafe)), "seen", seed)
    deed = str(pick(draw, harmless_deeds("base")))
    return Turn(scene, asked(draw, deed), answer("USU", label, deed, scene, cautious=True))


def corpus(size: int, seed: int) -> list[Conversation]:
    """The base split."""
    return [conversation(number, seed) for number in range(size)]
