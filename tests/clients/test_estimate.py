"""Estimates: OpenAI's own worked examples, and sums done by hand."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from PIL import Image

from holisafe.clients.estimate import estimate, picture_tokens
from holisafe.clients.options import ChatOptions
from holisafe.clients.pictures import Encoding
from holisafe.records import GenerationSettings, Message, Picture, Request


@pytest.mark.parametrize(
    ("size", "detail", "tokens"),
    [
        ((1024, 1024), "high", 765),  # these three are the examples of OpenAI's guide to images
        ((2048, 4096), "high", 1105),
        ((4096, 8192), "low", 85),
        ((512, 512), None, 255),
        ((513, 512), "auto", 425),
        ((1, 5000), None, 85 + 170 * 4),
    ],
)
def test_tokens_of_pictures(size: tuple[int, int], detail: str | None, tokens: int) -> None:
    assert picture_tokens(*size, detail) == tokens


def test_sums() -> None:
    opened: Counter[str] = Counter()

    def open_picture(name: str) -> Image.Image:
        opened[name] += 1
        return Image.new("RGB", (1024, 1024))

    settings = GenerationSettings(max_new_tokens=512)
    requests = [
        Request(
            sample_id=str(n),
            messages=(Message("user", "x" * 9, (Picture("a", partial(open_picture, "a")),)),),
            settings=settings,
            answer_schema={} if n == 2 else None,
        )
        for n in range(3)
    ]
    free = estimate(requests, ChatOptions(model="m"))
    assert free == (3, 3 * (765 + 4 + 3), 2 * 200 + 60, 3 * 512, None, None)
    assert opened == {"a": 1}
    paid = estimate(
        requests,
        ChatOptions(
            model="m", input_price=1.0, output_price=10.0, max_tokens=100, reasoning_tokens=1000,
            encoding=Encoding(max_side=512),
        ),
    )  # fmt: skip
    assert paid[:4] == (3, 3 * (255 + 7), 100 * 2 + 60 + 1500, 3300)
    assert paid.cost_most == pytest.approx((786 + 33_000) / 1e6)
    assert paid.cost_typical == pytest.approx((786 + 17_600) / 1e6)
    assert estimate([], ChatOptions(model="m")) == (0, 0, 0, 0, None, None)
