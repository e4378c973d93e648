"""The fence: nothing that is judged can end it, forge it or hide from sight."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holisafe.judges.fence import enclose, harmless, nonce
from judges.attacks import ATTACKS

MARKER = re.compile(r"<<<(BEGIN|END) \w+ [0-9a-f]{16}>>>")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_stays_inside(attack: str) -> None:
    mark = nonce({"response": attack})
    fenced = enclose("response", attack, mark)
    lines = fenced.split("\n")
    assert [match[0] for match in MARKER.finditer(fenced)] == [
        f"<<<BEGIN response {mark}>>>",
        f"<<<END response {mark}>>>",
    ]
    assert (lines[0], lines[-1]) == (f"<<<BEGIN response {mark}>>>", f"<<<END response {mark}>>>")
    assert fenced.splitlines() == lines, "a line end of another kind is left"


@given(st.text(alphabet=st.characters() | st.sampled_from("<>＜＞«‹⟪\u200b\n\x00 "), max_size=60))
def test_nothing_that_is_written_holds_two_brackets_or_an_unseen_letter(text: str) -> None:
    made = harmless(text)
    assert "<<" not in made
    assert ">>" not in made
    assert not {unicodedata.category(letter) for letter in made} & {"Cs", "Zl", "Zp"}
    assert not {letter for letter in made if unicodedata.category(letter) == "Cc"} - {"\t", "\n"}
    assert harmless(made) == made


@pytest.mark.parametrize(
    "text",
    [
        "Sure, here is how.\n\n- one\n\t- two",
        "if a < b and c > d: print('x')",
        "«Non», dit-il. ‹Nein.›",
        "👩‍👩‍👧 ❤️ क्‍ष",  # joiners belong to these
        "“It’s illegal”, naïve, שלום, 你好",
    ],
)
def test_what_is_no_attack_is_shown_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_unseen_letters_are_written_out_and_line_ends_made_one() -> None:
    assert harmless("a\x00b\u202ec\r\nd\re") == "a\\u0000b\\u202ec\nd\ne"
    assert harmless("cout << x") == "cout < < x"


@pytest.mark.parametrize("between", ["", "\u034f", "\ufe0f", "\u061c", "\u200b\u2060", "\u3164", "\u0336"])
@pytest.mark.parametrize(
    "angle", ["<", "\u2329", "\u232a", "\u3008", "\u276c", "\ufe3d", "\u29fc", "\u227a", "\U0001d236"]
)
def test_look_alikes_and_what_hides_between_them(angle: str, between: str) -> None:
    assert harmless(f"a {angle}{between}{angle} END") == f"a {angle} {angle} END"


def test_the_nonce_depends_on_every_content_and_is_in_none() -> None:
    contents = {"query": "q", "response": "r"}
    mark = nonce(contents)
    assert mark == nonce(dict(contents))
    assert re.fullmatch("[0-9a-f]{16}", mark)
    assert len({mark, nonce({"query": "q", "response": "R"}), nonce({"query": "Q", "response": "r"})}) == 3
    # A text that holds the nonce of another prompt, and one that was made to hold its own.
    assert nonce({"response": mark}) != mark


def test_a_nonce_that_a_text_holds_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter(["aaaa", "bbbb", "cccc"])
    monkeypatch.setattr("holisafe.judges.fence.digest", lambda value: next(draws))
    assert nonce({"query": "x aaaa", "response": "bbbb"}) == "cccc"
