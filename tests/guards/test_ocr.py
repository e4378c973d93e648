"""A guard that is told what is written in pictures: what it is asked, against what stands in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import tiny_models
from api_server import ApiServer
from holisafe.errors import InputError
from holisafe.evaluation.guards import open_guard as open_for_a_board
from holisafe.guards import open_guard
from holisafe.guards.base import Item, Reading, read_fitted
from holisafe.guards.ocr import NOTHING_WRITTEN
from holisafe.read_pictures import TOLD
from holisafe.records import Message, Picture
from scripted_ocr import BLANK, SAYS, WRITTEN, scripted

TYPED, EMPTY = Picture("typed.png", lambda: WRITTEN), Picture("empty.png", lambda: BLANK)
TOLD_OF_IT = f'{TOLD}\n"""\n{SAYS}\n"""'
TALK = (Message("user", "Look.", (TYPED,)), Message("assistant", "I see it."))
ITEMS = {
    "typed": (Item(id="typed", pictures=(TYPED,)), TOLD_OF_IT),
    "pair": (Item(id="pair", pictures=(TYPED, EMPTY), text="Go on."), f"{TOLD_OF_IT}\n\nGo on."),
    "blank": (Item(id="blank", pictures=(EMPTY,), text="Go on."), "Go on."),
    "talk": (Item(id="talk", text="Then?", earlier=TALK), f"{TOLD_OF_IT}\n\nLook.|I see it.|Then?"),
    "answer": (Item(id="answer", pictures=(TYPED,), response="Like so."), f"{TOLD_OF_IT}|Like so."),
}
"""An item, and the texts of the conversation that its guard must see."""


@pytest.fixture(autouse=True)
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return scripted(monkeypatch)


def parts(body: dict[str, Any]) -> tuple[str, int]:
    """The texts of a conversation that a server was asked, and how many pictures stand in it."""
    turns = [turn["content"] for turn in body["messages"]]
    turns = [[{"type": "text", "text": turn}] if isinstance(turn, str) else turn for turn in turns]
    texts = ["".join(part["text"] for part in turn if part["type"] == "text") for turn in turns]
    return "|".join(texts), sum(part["type"] == "image_url" for turn in turns for part in turn)


def judges(body: dict[str, Any], _: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": "unsafe\nS2" if SAYS in parts(body)[0] else "safe"}}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(answer=judges) as served:
        yield served


@pytest.mark.parametrize("shown", [True, False])
def test_what_is_written_stands_before_the_guard_beside_the_pictures_or_instead(
    server: ApiServer, looked_at: list[str], shown: bool
) -> None:
    more = "" if shown else ",pictures=left-out"
    guard = open_guard(f"ocr/llama-guard/openai/m,base_url={server.url}{more}")
    said = {one.item_id: one for one in read_fitted(guard, [item for item, _ in ITEMS.values()])}
    assert {name: one.unsafe for name, one in said.items()} == {name: name != "blank" for name in ITEMS}
    assert said["typed"].categories == ("S2",)
    wanted = sorted((told, len(item.shown) if shown else 0) for item, told in ITEMS.values())
    assert sorted(map(parts, server.stats.bodies)) == wanted
    assert len(looked_at) == 2, "each picture once"


def test_a_guard_without_pictures_is_told_that_nothing_is_written(server: ApiServer) -> None:
    guard = open_guard(f"ocr/llama-guard/openai/m,base_url={server.url},pictures=left-out")
    (said,) = read_fitted(guard, [Item(id="a", pictures=(EMPTY,))])
    assert (said.unsafe, parts(server.stats.bodies[0])) == (False, (NOTHING_WRITTEN, 0))


def test_a_broken_picture_is_its_items_own(server: ApiServer) -> None:
    def broken() -> Any:
        raise InputError("not an image")

    bad = Item(id="bad", pictures=(Picture("b.png", broken),), text="Go on.")
    guard = open_guard(f"ocr/llama-guard/openai/m,base_url={server.url}")
    said = {one.item_id: one for one in read_fitted(guard, [bad, ITEMS["typed"][0]])}
    assert (said["bad"].invalid, said["typed"].unsafe) == ("image: not an image", True)
    assert [one.invalid for one in read_fitted(guard, [bad])] == ["image: not an image"]


def test_in_an_event_loop_it_reads_the_same(server: ApiServer) -> None:
    guard: Any = open_guard(f"ocr/llama-guard/openai/m,base_url={server.url}")

    async def read() -> list[Reading]:
        async def items() -> AsyncIterator[Item]:
            for item, _ in ITEMS.values():
                yield item

        return [one async for one in guard.readings(items())]

    found = {one.item_id: one.unsafe for one in asyncio.run(read())}
    assert found == {one.item_id: one.unsafe for one in guard.read([item for item, _ in ITEMS.values()])}
    assert next(guard.requests(ITEMS["pair"][0])).messages[0].text == ITEMS["pair"][1]


def test_its_name_opens_it_again_and_its_options_are_its_own(server: ApiServer) -> None:
    place = f"ocr/llama-guard/openai/m,base_url={server.url}"
    guard, left_out = open_guard(place), open_guard(f"{place},pictures=left-out,most=7")
    assert (guard.name, left_out.name) == (
        "ocr/llama-guard/openai/m",
        "ocr/llama-guard/openai/m,pictures=left-out,most=7",
    )
    assert len({guard.version, left_out.version, open_guard(f"{place},placement=after").version}) == 3
    assert open_for_a_board(place, batch_size=2).version == guard.version
    for wrong, told in (
        ("pictures=gone", "neither shown nor left-out"),
        ("letters=0", "letters"),
        ("sheen=1", "sheen"),
    ):
        with pytest.raises(InputError, match=told):
            open_guard(f"{place},{wrong}")


def test_a_guard_of_images_alone_cannot_be_told(server: ApiServer) -> None:
    with pytest.raises(InputError, match="reads no text, so it cannot be told"):
        open_guard(f"ocr/llavaguard/openai/m,base_url={server.url}")


def test_our_pair_head_reads_them_too(tmp_path: Any) -> None:
    """By what the head itself says of the picture with the text as its question."""
    folder = tiny_models.pair_guard(tmp_path / "reader")
    guard, bare = open_for_a_board(f"ocr/{folder}", threshold=0.5), open_guard(str(folder))
    (said,) = read_fitted(guard, [ITEMS["typed"][0]])
    (told,) = bare.read([Item(id="typed", pictures=(TYPED,), text=TOLD_OF_IT)])
    (untold,) = bare.read([ITEMS["typed"][0]])
    assert said.score == pytest.approx(told.score)
    assert said.score != pytest.approx(untold.score)
    with pytest.raises(InputError, match="pictures cannot be left out"):
        open_guard(f"ocr/{folder},pictures=left-out")
