from __future__ import annotations

import random

import pytest
from PIL import Image

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark
from holisafe.calibration.base import FitData, fit_data
from holisafe.calibration.weight.partners import partners
from holisafe.errors import InputError
from holisafe.records import Sample


def sample(name: str, cluster: str | None = None, split: str = "train") -> Sample:
    expected = "refuse" if name.startswith("u") else "answer"
    return Sample(benchmark="b", id=name, query=name, expected=expected, cluster=cluster, split=split)


def data(samples: list[Sample], train: list[Sample], seed: int = 0, validation: tuple[Sample, ...] = ()) -> FitData:
    return FitData(
        Benchmark("b", tuple(samples), lambda name: Image.new("RGB", (1, 1))), tuple(train), validation, seed
    )


def test_a_row_of_look_alikes_pairs_each_with_its_like() -> None:
    row = [sample(f"{kind}{slot}", "row") for kind in "su" for slot in range(3)]
    found = partners(data(row, row))
    assert [(pair.safe.id, pair.unsafe.id, pair.alike) for pair in found] == [
        (f"s{slot}", f"u{slot}", True) for slot in range(3)
    ]


def test_partners_come_round_again_and_need_not_have_been_drawn() -> None:
    members = [sample("s0", "q"), sample("s1", "q"), *(sample(f"u{n}", "q") for n in range(3))]
    other = sample("s9", "elsewhere")
    found = partners(data([*members, other], [*members[2:], other]))
    assert [pair.safe.id for pair in found] == ["s0", "s1", "s0"]


def test_none_from_validation_or_another_split_or_without_a_cluster() -> None:
    train = [sample("u0", "a"), sample("u1", "b"), sample("u2"), sample("s0", "c"), sample("s1")]
    apart = [sample("s2", "a", split="validation"), sample("s3", "b")]
    found = partners(data([*train, *apart], train, validation=(apart[1],)))
    assert {pair.safe.id for pair in found} <= {"s0", "s1"}
    assert not any(pair.alike for pair in found)


def test_others_are_drawn_by_the_seed() -> None:
    train = [sample(f"u{n}", f"c{n}") for n in range(20)] + [sample(f"s{n}") for n in range(20)]
    drawn = [[pair.safe.id for pair in partners(data(train, train, seed))] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    draw = random.Random(0)
    assert drawn[0] == [f"s{n}" for n in (draw.choice(range(20)) for _ in range(20))]


def test_pictosafe_pairs_differ_in_one_half_or_both_but_share_their_quadruple() -> None:
    fitted = fit_data(open_benchmark("pictosafe"), limit=60)
    found = partners(fitted)
    assert len(found) == sum(one.expected == "refuse" for one in fitted.train) == 30
    for pair in found:
        assert pair.alike
        assert (pair.safe.cluster, pair.safe.split, pair.safe.combination) == (pair.unsafe.cluster, "train", "SSS")


def test_without_one_kind_it_says_so() -> None:
    for name, missing in (("u0", "safe"), ("s0", "unsafe")):
        with pytest.raises(InputError, match=f"has no {missing} pairs"):
            partners(data([sample(name)], [sample(name)]))
