"""`nemotron/SPEC`: Nemotron 3 and 3.5 Content Safety (Gemma 3), on pictures, questions and answers in any combination.

    User Safety: unsafe
    Response Safety: safe                                 (where there is an answer)
    Safety Categories: Violence, Criminal Planning/Confessions       (where something is unsafe)

Its chat template holds its policy of 23 categories, and is told `request_categories` and `enable_thinking`; a policy of
the user's own goes in as `custom_policy` and replaces the categories. `thinking=true` has it reason first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from ..errors import InputError
from ..records import Response
from ..registry import guards
from .asking import AskingGuard, Question, Said, asking, cannot_be_read, one_question
from .base import Item
from .policy import Policy
from .taxonomies import taxonomy

USER, RESPONSE, CATEGORIES = "User Safety", "Response Safety", "Safety Categories"
VERDICTS = {"safe": False, "unsafe": True}
NOTE = "Nemotron's verdict on an answer is its line Response Safety; on anything else its line User Safety."


def questions(item: Item, template: Mapping[str, object]) -> list[Question]:
    return [question._replace(template=template) for question in one_question(item)]


def parse(answer: str, answered: bool, known: Callable[[str], bool] = lambda name: True) -> Said:
    """The verdict on an item, or on its answer where it is `answered`. Anything but the lines above is invalid, and so
    is a category that is not `known`."""
    lines = [line.strip() for line in answer.strip().splitlines() if line.strip()]
    said = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    verdicts = [USER, RESPONSE] if answered else [USER]
    if len(said) < len(lines) or list(said) not in (verdicts, [*verdicts, CATEGORIES]):
        return cannot_be_read(f"not the lines {', '.join(verdicts)} and, where unsafe, {CATEGORIES}, once each")
    if any(said[name] not in VERDICTS for name in verdicts):
        return cannot_be_read("a verdict is neither safe nor unsafe")
    found = tuple(dict.fromkeys(name.strip() for name in said.get(CATEGORIES, "").split(",")))
    if CATEGORIES in said and not any(VERDICTS[said[name]] for name in verdicts):
        return cannot_be_read("safe, with categories")
    if CATEGORIES in said and not all(name and known(name) for name in found):
        return cannot_be_read("a category is none of the policy's")
    unsafe = VERDICTS[said[verdicts[-1]]]
    return Said(unsafe, found if unsafe and CATEGORIES in said else ())


def conclude(item: Item, answers: Sequence[Response], known: Callable[[str], bool]) -> Said:
    return parse(answers[0].text, item.response is not None, known)


@guards.register("nemotron", summary="Nemotron Content Safety: pictures, texts, pairs, answers; a policy")
def load(model: str, options: Mapping[str, str], policy: Policy | None) -> AskingGuard:
    """`nemotron/hf/ID,thinking=true`. Raises InputError for another word, a policy whose names cannot be
    told apart, and when the target cannot be opened."""
    thinking = options.get("thinking", "false")
    if thinking not in ("true", "false"):
        raise InputError(f"thinking={thinking} is neither true nor false")
    template: dict[str, object] = {"request_categories": "/categories", "enable_thinking": thinking == "true"}
    names: Collection[str] = taxonomy("nemotron")
    if policy is not None:
        template["custom_policy"] = policy.defined().in_words("- ")
        names = [category.name for category in policy.categories]
        if parted := next((name for name in names if "," in name), None):
            problem = f"{parted!r}: Nemotron separates categories by commas, so none may have one in its name"
            raise InputError(problem, where=policy.where)
    return asking(
        "nemotron",
        model,
        {name: value for name, value in options.items() if name != "thinking"},
        own={"thinking": thinking} if "thinking" in options else None,
        policy=policy,
        takes=("image", "text", "pair", "response"),
        note=NOTE,
        questions=partial(questions, template=template),
        conclude=partial(conclude, known=names.__contains__),
        rules=[template, 1],
        taxonomy="nemotron" if policy is None else None,
        max_new_tokens=2048 if thinking == "true" else 128,
        decides="its own verdict" if policy is None else f"its own verdict by the policy {policy.name}",
    )
