"""A stream held back, against every way to cut a text into pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.records import Response
from holisafe.serving.policy import Stream
from holisafe.serving.release import Stopped, released

WORD = "kaboom"


def run(pieces: list[str], window: int, stride: int, finish: str = "stop") -> tuple[list[str], bool]:
    """What leaves, and whether it was stopped."""
    left: list[str] = []

    async def coming() -> AsyncIterator[str | Response]:
        for piece in pieces:
            yield piece
        yield Response(sample_id="a", target="t", text="".join(pieces), finish=finish)  # type: ignore[arg-type]

    async def judge(text: str) -> bool:
        return WORD not in text

    async def read() -> bool:
        try:
            async for piece in released(coming(), judge, Stream(window=window, stride=stride)):
                left.extend([piece] if isinstance(piece, str) else [])
        except Stopped:
            return True
        return False

    return left, asyncio.run(read())


@st.composite
def cut(draw: st.DrawFn) -> list[str]:
    before, after = (draw(st.text(signs, max_size=60)) for signs in ("kabom 😀", "ka x"))
    written = f"{before}{draw(st.sampled_from(['', WORD]))}{after}".encode("utf-16-be")
    raw = "".join(chr(int.from_bytes(written[at : at + 2], "big")) for at in range(0, len(written), 2))
    places = sorted(draw(st.sets(st.integers(0, len(raw)), max_size=12)))
    return [raw[a:b] for a, b in zip([0, *places], [*places, len(raw)], strict=True) if b > a]


def whole(pieces: list[str]) -> str:
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@settings(max_examples=120, deadline=None)
@given(pieces=cut(), window=st.integers(len(WORD), 40), stride=st.integers(1, 40))
def test_however_it_is_cut_the_word_never_leaves_nor_its_beginning(pieces: list[str], window: int, stride: int) -> None:
    left, stopped = run(pieces, window, stride)
    said, text = "".join(left), whole(pieces)
    assert stopped == (WORD in text)
    if stopped:
        assert len(said) <= text.index(WORD), "what stands before it, at most"
        assert text.startswith(said)
    else:
        assert said == text
    said.encode()


def test_pieces_leave_while_the_answer_goes_on() -> None:
    left, stopped = run(["harmless "] * 40, window=20, stride=30)
    assert len(left) > 5
    assert not stopped


def test_an_answer_that_broke_off_keeps_what_was_not_judged() -> None:
    left, _ = run(["harmless "] * 5, window=20, stride=1000, finish="error")
    assert left == []


@pytest.mark.parametrize("window", [0, 3])
def test_a_window_too_small_for_the_word_may_let_its_beginning_leave_but_never_all(window: int) -> None:
    left, stopped = run(list(f"well {WORD}"), window=window, stride=1)
    assert stopped
    assert WORD not in "".join(left)
