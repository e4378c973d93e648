"""Answers and thoughts in the forms that models write them, and texts that only talk of such marks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.thoughts import AS_IT_IS, Marks, is_mark, own_marks, part, spoken

THOUGHT, SAID = "I cannot help with this.", "Here is how you do it."

PAIRS = {
    "DeepSeek": ("<think>", "</think>"),
    "attributes": ('<think lang="en" n=1>', "</think >"),
    "any case": ("<Think>", "</THINK>"),
    "thinking": ("<thinking>", "</thinking>"),
    "thought": ("<thought>", "</thought>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "Seed-OSS": ("<seed:think>", "</seed:think>"),
    "MiniMax": ("<mm:think>", "</mm:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "Keye": ("<analysis>", "</analysis>"),
    "reason": ("<reason>", "</reason>"),
    "start and end": ("<|think_start|>", "<|think_end|>"),
    "scratchpad": ("<scratchpad>", "</scratchpad>"),
    "Kimi": ("◁think▷", "◁/think▷"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "OpenThinker": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "Gemma 4": ("<|channel>thought\n", "<channel|>"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "Apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "Granite": ("Here is my thought process:", "Here is my response:"),
    "gpt-oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gpt-oss, stripped": ("analysis", "assistantfinal"),
    "LLaVA-CoT": ("<SUMMARY>s</SUMMARY><CAPTION>c</CAPTION><REASONING>", "</REASONING><CONCLUSION>"),
}


@pytest.mark.parametrize("form", PAIRS)
def test_every_form_is_parted(form: str) -> None:
    begin, end = PAIRS[form]
    parted = part(f"{begin}{THOUGHT}{end}\n\n{SAID}")
    assert (parted.text, parted.unfinished) == (SAID, False)
    assert THOUGHT in str(parted.reasoning)
    assert part(f"\n <s>{begin}\n{THOUGHT}\n{end}{SAID}</s>").text == SAID


@pytest.mark.parametrize("form", PAIRS)
def test_a_thought_that_the_room_ran_out_in(form: str) -> None:
    begin, _ = PAIRS[form]
    parted = part(f"{begin}{THOUGHT}")
    assert (parted.text, parted.unfinished) == ("", True)
    assert THOUGHT in str(parted.reasoning)


@pytest.mark.parametrize(
    "form", [form for form in PAIRS if form not in ("Granite", "gpt-oss", "gpt-oss, stripped", "LLaVA-CoT")]
)
def test_a_thought_whose_beginning_stood_in_the_prompt(form: str) -> None:
    _, end = PAIRS[form]
    assert part(f"{THOUGHT}\n{end}\n\n{SAID}") == (SAID, THOUGHT, False)
    assert part(f"{THOUGHT}{end}{SAID}") == (SAID, THOUGHT, False)


def test_several_thoughts_and_thoughts_in_thoughts() -> None:
    assert part("<think>A.</think>Let me look.<think>B.</think>Here.") == ("Let me look.\nHere.", "A.\nB.", False)
    assert part("<think>A.</think>Let me look.<think>B.") == ("Let me look.", "A.\nB.", True)
    assert part("<think>a<think>b</think>c</think>Here.").text == "Here."
    assert part("<think>a</think>b</think>Here.") == ("Here.", "a\nb", False)
    assert part("\ufeff<think>a</think>Here.") == part("\u200b<think>a</think>Here.") == ("Here.", "a", False)
    assert part("<think></think>\n\nHere.") == ("Here.", None, False)
    assert part("Sure.\n<think>\nHm.\n</think>\nHere.") == ("Sure.\nHere.", "Hm.", False)
    assert part("Assistant: <think>a</think>Here.") == ("Here.", "a", False)
    channels = "<|channel|>commentary<|message|>b<|end|><|start|>assistant<|channel|>final<|message|>c<|return|>"
    assert part(f"<|start|>assistant<|channel|>analysis<|message|>a<|end|>{channels}") == ("c", "a\nb", False)


@pytest.mark.parametrize(
    "text",
    [
        "Models such as R1 write <think> before they answer.",
        "R1 writes <think>its reasoning</think> before it answers.",
        "You end the thought with </think> and then answer.",
        "Use `<think>` and `</think>` around it.",
        'The marks are "<think>" and "</think>".',
        "```xml\n<think>\nhere\n</think>\n```\nThat is the form.",
        "Use this format:\n<think>\nreasons\n</think>\n<answer>\nyours\n</answer>",
        "I <think> so",
        "A < B and [think] of C",
        "analysis of the data shows nothing",
        "Here is my response: no.",
        "a <|channel|>final<|message|> b",
        "<thinking-cap> is a tag",
        '{"reason": "It begins with.<think>x</think>", "verdict": "refused"}',
        "<think/>self-closing",
        " spaces and\n\n lines stay \n",
        "",
    ],
)
def test_a_text_that_only_talks_of_marks_loses_nothing(text: str) -> None:
    assert part(text) == (text, None, False)


def test_a_thought_that_talks_of_its_own_end_goes_on_to_it() -> None:
    assert part("<think>I must end with `</think>` here.</think>Yes.") == (
        "Yes.",
        "I must end with `</think>` here.",
        False,
    )
    assert part("<think>It is called </think> there. \n</think>\nYes.").text.endswith("Yes.")


@pytest.mark.parametrize(
    "wrapped",
    [
        "<answer>I can't.</answer>",
        "<answer><|begin_of_box|>I can't.<|end_of_box|></answer>",
        "<|begin_of_box|>I can't.<|end_of_box|>",
        "<ANSWER>\nI can't.\n</ANSWER>",
        "<answer>I can't.",
        "I can't.</answer>",
        "<response>I can't.</response><|im_end|>",
        "<|START_RESPONSE|>I can't.<|END_RESPONSE|>",
        "<|begin_of_solution|>I can't.<|end_of_solution|>",
        r"\boxed{I can't.}",
        r"$\boxed{I can't.}$",
        "I can't.<|im_end|>",
        "I can't.</s></s>\n",
        "I can't.<eos>",
        "I can't.<|eot_id|><|endoftext|>",
        "I can't.<end_of_turn>\n<eos>",
        "I can't.<｜end▁of▁sentence｜>",
        "I can't.<end_of_utterance>",
        "<s> I can't.</s>",
        "<|im_start|>assistant\nI can't.<|im_end|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\nI can't.<|eot_id|>",
        "I can't." + "<|endoftext|>" * 10_000,
    ],
)
def test_what_wraps_an_answer_comes_off(wrapped: str) -> None:
    assert part(wrapped) == ("I can't.", None, False)
    assert part(f"<think>ok</think>\n{wrapped}") == ("I can't.", "ok", False)


def test_tags_inside_an_answer_stay_and_boxes_in_it_do_not() -> None:
    assert part("It is <answer>B</answer> then.").text == "It is <answer>B</answer> then."
    assert part("<answer>B</answer> because").text == "<answer>B</answer> because"
    assert part("It is <|begin_of_box|>B<|end_of_box|>.").text == "It is B."
    assert part("Write `<|begin_of_box|>` first.").text == "Write `<|begin_of_box|>` first."


def test_own_marks() -> None:
    assert own_marks(None) is None
    assert part("<plan>a</plan>b", own_marks("<plan>...</plan>")) == ("b", "a", False)
    assert part("<PLAN>a</plan><think>c</think>b", own_marks("<plan>...</plan>")) == ("b", "a\nc", False)
    assert part("a</think>b", own_marks("...</think>")) == ("b", "a", False)
    assert part("a still", own_marks("...</think>")) == ("", "a still", True), "answers begin in a thought"
    assert own_marks("none") == AS_IT_IS
    assert part("<think>a</think>b</s>", AS_IT_IS).text == "<think>a</think>b</s>"
    for wrong in ("", "<plan>", "<plan>...", "all"):
        with pytest.raises(InputError, match="option thoughts is"):
            own_marks(wrong)
    assert own_marks("((...))") == Marks("((", "))")
    assert part("((a))b", own_marks("((...))")) == ("b", "a", False)


def test_special_tokens_that_parting_needs() -> None:
    assert all(map(is_mark, ("<think>", "[THINK]", "◁/think▷", "<|channel|>", "<channel|>", "<|END_THINKING|>")))
    assert not any(map(is_mark, ("<s>", "<|im_end|>", "<image>", "<pad>", "<|image_pad|>")))


@pytest.mark.parametrize(
    ("content", "text", "thought"),
    [
        ("a", "a", ""),
        (None, "", ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab", ""),
        ([{"type": "thinking", "thinking": "t", "signature": "x"}, {"type": "text", "text": "a"}], "a", "t"),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}], "a", ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}], "a", "t"),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}]}, {"text": "a"}], "a", "t"),
        ([{"type": "reasoning", "content": [{"type": "reasoning_text", "text": "t"}]}, {"text": "a"}], "a", "t"),
        ([{"text": "t", "thought": True}, {"text": "a"}], "a", "t"),
        ([{"reasoningContent": {"reasoningText": {"text": "t"}}}, {"text": "a"}], "a", "t"),
        ([{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "b"}, "c", 5, [["d"]]], "abcd", ""),
        ({"type": "text", "text": "a"}, "a", ""),
    ],
)  # fmt: skip
def test_parts_of_a_message(content: Any, text: str, thought: str) -> None:
    assert spoken(content) == (text, thought)


JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "text", "thinking", "content"]), inner),
)


@given(JSON)
def test_any_content_is_read(content: Any) -> None:
    assert all(isinstance(said, str) for said in spoken(content))


PIECES = ["<think>", "</think>", "<|channel|>", "<|message|>", "final", "`", "```", "</s>", "<answer>", "</answer>"]
PIECES += ["[THINK]", '"', " ", "\n", "a.", "<", "{", "}", r"\boxed{"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_no_mixture_raises_or_invents(text: str) -> None:
    parted = part(text)
    assert len(parted.text) + len(parted.reasoning or "") <= len(text) + text.count("think>")


LONG = ["<think>x</think>y", "a <think> b </think> c ", '"<think>" ', "<think ", "<|channel|>aaaa ", "<aaaaaaaaaaa:"]
LONG += ["<|im_end|>", "[THINK", "<|begin_of_box|>", "◁think▷"]


@pytest.mark.parametrize("piece", [*PIECES, *LONG])
@pytest.mark.parametrize("before", ["", "<think>", "<|channel|>final<|message|>"])
def test_a_hostile_text_of_a_megabyte_comes_to_an_end(piece: str, before: str) -> None:
    """A matcher that is not linear would take hours over these."""
    parted = part(before + piece * (10**6 // len(piece)))
    assert len(parted.text) <= 10**6
