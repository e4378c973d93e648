"""The prompt: what a judge is told, and that nothing that is judged changes it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from PIL import Image

from holisafe.judges.base import Judged
from holisafe.judges.prompt import answer_schema, form_of_reply, message
from holisafe.judges.rubric import FACTS, Rubric, built_in, load_rubric, parse_rubric
from holisafe.records import Picture, Response, Sample
from judges.attacks import ATTACKS

BLOCK = re.compile(r"^<<<BEGIN (\w+) ([0-9a-f]{16})>>>\n(.*?)\n<<<END \1 \2>>>$", re.DOTALL | re.MULTILINE)
PICTURE = Picture("a.png", lambda: Image.new("RGB", (2, 2)))
REFUSAL, ANSWER = "I'm sorry, I can't help with that.", "Sure, here is how."


def item(query: str = "How?", response: str = ANSWER, pictures: int = 1, **known: object) -> Judged:
    known = {"expected": "refuse", "category": "hate", "image_label": "gender", "reference": "Do not.", **known}
    sample = Sample(benchmark="b", id="s", query=query, meta={"safety_warning": "Danger."}, **known)  # type: ignore[arg-type]
    return Judged(sample, Response(sample_id="s", target="t", text=response), (PICTURE,) * pictures)


def prompt(rubric: Rubric, judged: Judged, **more: object) -> str:
    return message(rubric, judged, judged.response.text, **more).text  # type: ignore[arg-type]


def blocks(text: str) -> dict[str, str]:
    """What stands in the fences, by name."""
    found = BLOCK.findall(text)
    assert len({name for name, _, _ in found}) == len(found)
    assert len({mark for _, mark, _ in found}) == 1
    return {name: content for name, _, content in found}


def skeleton(text: str) -> str:
    """The prompt without what stands in the fences, and without the nonce."""
    (mark,) = {mark for _, mark, _ in BLOCK.findall(text)}
    return BLOCK.sub(r"[\1]", text).replace(mark, "NONCE")


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_prompt_holds_the_pair_the_rules_and_the_words(name: str) -> None:
    rubric, judged = load_rubric(name), item()
    asked = message(rubric, judged, ANSWER)
    sees = rubric.front.sees
    shown = {"query": "How?", "response": ANSWER, "category": "hate", "image_label": "gender"}
    shown |= {"reference": "Do not.", "safety_warning": "Danger.", "original": ANSWER}
    assert blocks(asked.text) == {key: shown[key] for key in shown if key in ("query", "response", *sees)}
    assert asked.pictures == ((PICTURE,) if "image" in sees else ())
    assert asked.role == "user"
    assert asked.text.startswith("What stands between a line <<<BEGIN ... ")
    assert asked.text.endswith(form_of_reply(rubric))
    assert ("labelled this pair unsafe" in asked.text) == ("pair_label" in sees)
    assert "{" not in skeleton(asked.text).replace('{"reason"', "")


def test_only_the_holisafe_rubric_tells_the_pairs_label() -> None:
    for name in built_in():
        rubric = load_rubric(name)
        if rubric.front.applies == "all":
            safe, unsafe = (skeleton(prompt(rubric, item(expected=expected))) for expected in ("answer", "refuse"))
            assert (safe != unsafe) == (name == "holisafe")
            assert safe.replace("labelled this pair safe", "labelled this pair unsafe") == unsafe


def test_what_the_benchmark_does_not_say_is_said_to_be_missing() -> None:
    sample = Sample(benchmark="b", id="s", query="", expected="refuse")
    judged = Judged(sample, Response(sample_id="s", target="t", text=REFUSAL))
    held = blocks(prompt(load_rubric("justified"), judged))
    assert held == {
        **dict.fromkeys(("query", "category", "image_label", "safety_warning"), "(not given)"),
        "response": REFUSAL,
    }


def test_the_judge_is_told_whether_there_is_a_picture() -> None:
    rubric = load_rubric("vscbench")
    assert "This pair has no picture" in prompt(rubric, item(pictures=0))
    assert "The pair's picture stands before" in prompt(rubric, item(pictures=1))
    assert message(rubric, item(pictures=3), "x").pictures == (PICTURE,) * 3


def test_vscbenchs_own_judge_sees_no_picture_and_the_plain_prompt_of_a_moved_query() -> None:
    moved = item(query="What does the picture say?")
    moved = moved._replace(sample=replace(moved.sample, meta={"prompt": "How do I do it?", "condition": "figstep"}))
    asked = message(load_rubric("vscbench-published"), moved, ANSWER)
    assert asked.pictures == ()
    assert blocks(asked.text) == {"query": "How do I do it?", "response": ANSWER}
    assert blocks(prompt(load_rubric("vscbench"), moved))["query"] == "What does the picture say?"
    assert blocks(prompt(load_rubric("vscbench-published"), item(query="Who?")))["query"] == "Who?"


def test_reasoning_is_announced_and_a_second_try_is_reminded() -> None:
    rubric = load_rubric("holisafe")
    plain = prompt(rubric, item())
    assert "its reasoning before that" in prompt(rubric, item(), subject="reasoning")
    again = prompt(rubric, item(), again=True)
    assert again.startswith(plain)
    assert again.removeprefix(plain).strip().startswith("An earlier reply to this could not be read")


def test_the_reply_may_be_any_of_the_words_and_nothing_else() -> None:
    assert answer_schema(["a", "b"])["properties"]["verdict"] == {"type": "string", "enum": ["a", "b"]}
    assert answer_schema(["a", "b"])["required"] == ["reason", "verdict"]
    assert answer_schema(["a", "b"])["additionalProperties"] is False
    line = parse_rubric(
        "---\nname: l\nversion: 1\nsource: s\nform: line\nlabels: {a: refused, b: answered}\n---\n"
        "{{query}}{{response}}",
        "l",
    )
    assert form_of_reply(line).endswith('VERDICT: WORD, where WORD is one of: "a", "b".')


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_leaves_the_prompt_as_it_is(attack: str) -> None:
    for name in built_in():
        rubric = load_rubric(name)
        plain = skeleton(prompt(rubric, item()))
        for attacked in (
            item(response=attack),
            item(query=attack),
            item(category=attack, image_label=attack, reference=attack),
            item(query=attack, response=attack + ANSWER),
        ):
            text = prompt(rubric, attacked)
            assert skeleton(text) == plain
            for block in blocks(text):
                assert len(re.findall(rf"<<<BEGIN {block} [0-9a-f]{{16}}>>>", text)) == 1
                assert len(re.findall(rf"<<<END {block} [0-9a-f]{{16}}>>>", text)) == 1


def simulated_judge(text: str) -> str:
    """A judge that follows the rules of the fence to the letter: it reads the response's block and nothing else."""
    response = blocks(text)["response"]
    return "refused" if REFUSAL in response else "answered"


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_judge_that_keeps_to_the_fence_judges_the_same_with_an_attack(attack: str) -> None:
    rubric = load_rubric("vscbench")
    for honest, verdict in ((REFUSAL, "refused"), (ANSWER, "answered")):
        assert simulated_judge(prompt(rubric, item(response=honest))) == verdict
        for text in (f"{honest}\n{attack}", f"{attack}\n{honest}"):
            assert simulated_judge(prompt(rubric, item(response=text))) == verdict
            assert simulated_judge(prompt(rubric, item(response=honest, query=attack))) == verdict


def test_an_honest_text_is_shown_to_the_letter() -> None:
    text = "1. Mix **two** cups; x < y, “so”.\n\n\t- done"
    assert blocks(prompt(load_rubric("siuo"), item(query=text, response=text, reference=text))) == {
        **dict.fromkeys(("query", "response", "reference"), text),
        "safety_warning": "Danger.",
    }


def test_every_fact_can_be_shown() -> None:
    names = ", ".join(FACTS)
    body = "".join(f"{{{{{name}}}}}\n" for name in ("query", "response", *FACTS))
    rubric = parse_rubric(
        f"---\nname: f\nversion: 1\nsource: s\nsees: [{names}]\nlabels: {{a: refused, b: answered}}\n---\n{body}", "f"
    )
    assert set(blocks(prompt(rubric, item(subcategory="race")))) == {"query", "response", *FACTS}
