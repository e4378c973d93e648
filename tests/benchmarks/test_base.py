from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from holisafe.benchmarks.base import Benchmark, stratified, unique_ids
from holisafe.errors import InputError
from holisafe.records import GenerationSettings, Sample

KINDS = st.tuples(st.sampled_from([None, "SSS", "SSU", "SUU"]), st.sampled_from([None, "race", "suicide", "gender"]))


def sample(number: int, **fields: object) -> Sample:
    values = {"benchmark": "b", "id": f"{number}", "query": f"q{number}", "expected": "answer", **fields}
    return Sample(**values)  # type: ignore[arg-type]


def made(kinds: list[tuple[str | None, str | None]]) -> list[Sample]:
    return [sample(n, combination=combination, subcategory=name) for n, (combination, name) in enumerate(kinds)]


def benchmark(*samples: Sample, colour: int = 0) -> Benchmark:
    return Benchmark("b", samples, lambda name: Image.new("RGB", (2, 2), (colour, len(name), 0)))


@given(st.lists(KINDS, max_size=60), st.integers(0, 70), st.integers(0, 70), st.integers(0, 3))
def test_subsets_nest_and_a_larger_one_only_appends(
    kinds: list[tuple[str | None, str | None]], one: int, other: int, seed: int
) -> None:
    samples = made(kinds)
    small, large = (stratified(samples, limit, seed) for limit in sorted((one, other)))
    assert large[: len(small)] == small
    assert len(small) == min(len(samples), one, other)
    assert stratified(samples[::-1], None, seed)[: len(large)] == large  # the order of the file does not matter
    assert sorted(stratified(samples, None, seed), key=lambda s: int(s.id)) == samples


@given(st.lists(KINDS, min_size=1, max_size=80), st.integers(1, 80), st.integers(0, 3))
def test_every_combination_and_within_it_every_subcategory_has_its_share(
    kinds: list[tuple[str | None, str | None]], limit: int, seed: int
) -> None:
    samples = made(kinds)
    chosen = stratified(samples, limit, seed)
    whole, part = (Counter(s.combination for s in some) for some in (samples, chosen))
    for combination, size in whole.items():
        fair = size * len(chosen) / len(samples)
        assert abs(part[combination] - fair) <= 1 + len(whole) / 2 * size / len(samples)
        inner_whole, inner_part = (
            Counter(s.subcategory for s in some if s.combination == combination) for some in (samples, chosen)
        )
        for name, inner_size in inner_whole.items():
            fair = inner_size * part[combination] / size
            assert abs(inner_part[name] - fair) <= 1 + len(inner_whole) / 2 * inner_size / size


def test_a_small_part_does_not_drown_in_the_largest_group() -> None:
    """One combination with one subcategory beside four with many: a part of ten still has two of each."""
    kinds = [("SSS", None)] * 100 + [(c, f"{n}") for c in ("SSU", "SUU", "USU", "UUU") for n in range(100)]
    assert set(Counter(s.combination for s in stratified(made(kinds), 10, 0)).values()) == {2}


def test_another_seed_draws_another_part() -> None:
    samples = made([("SSS", None)] * 50)
    assert stratified(samples, 10, 0) != stratified(samples, 10, 1)


def test_a_target_never_sees_a_label() -> None:
    shown = sample(
        1, images=("a",), combination="USU", category="hate", subcategory="race", image_label="race", reference="no"
    )
    request = benchmark(shown).request(shown, GenerationSettings(system="Be brief."))
    assert [(m.role, m.text, [p.name for p in m.pictures]) for m in request.messages] == [
        ("system", "Be brief.", []),
        ("user", "q1", ["a"]),
    ]
    assert request.messages[1].pictures[0].open().size == (2, 2)
    for secret in ("USU", "hate", "race", "expected", "reference"):
        assert secret not in repr(request)


def test_each_picture_opens_its_own_image() -> None:
    several = sample(1, images=("a", "bb", "ccc"))
    assert [p.open().getpixel((0, 0)) for p in benchmark(several).pictures(several)] == [
        (0, 1, 0),
        (0, 2, 0),
        (0, 3, 0),
    ]


@pytest.mark.parametrize(
    "change", [{"query": "else"}, {"expected": "refuse"}, {"images": ("b", "a")}, {"meta": {"x": 1}}]
)
def test_the_content_hash_changes_with_any_sample(change: dict[str, object]) -> None:
    one = sample(1, images=("a", "bb"))
    other = dataclasses.replace(one, **change)  # type: ignore[arg-type]
    assert benchmark(one).content_hash() != benchmark(other).content_hash()


def test_the_content_hash_changes_with_any_pixel_and_counts_each_image_once() -> None:
    samples = (sample(1, images=("a",)), sample(2, images=("a", "bb")))
    seen: list[tuple[int, int]] = []
    first = benchmark(*samples).content_hash(lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert first == benchmark(*samples).content_hash()
    assert first != benchmark(*samples, colour=1).content_hash()


def test_splits() -> None:
    both = benchmark(sample(1), sample(2, split="train"))
    assert both.only(None) is both
    assert [s.id for s in both.only("train").samples] == ["2"]
    assert both.only("train").split == "train"
    with pytest.raises(InputError, match="b has no split 'dev'; it has: test, train"):
        both.only("dev")


def test_a_second_id_is_named_by_its_row() -> None:
    with pytest.raises(InputError, match=r"f\.json, row 3, field 'id': duplicate id '1'"):
        unique_ids([sample(1), sample(2), sample(1)], "f.json")


def test_the_content_hash_is_the_one_that_runs_hold_since_their_first_day() -> None:
    """A constant: were it to change, no run folder could be gone on with."""
    odd = sample(
        1, query="Wie heißt \U0001f600 \ud800?", expected="refuse", images=("x.png",), combination="SSU",
        meta={"n": [1, 2.5e-7, float("nan")], "t": {"b": None}},
    )  # fmt: skip
    full = sample(
        2, query="q\n", split="train", reference="4", cluster="c", category="k", subcategory="l", image_label="safe"
    )
    assert benchmark(odd, full).content_hash() == "97404827add76da7"


@pytest.mark.parametrize("name", ["a\n1", "a\x00", "\ud800", "a\x7f", "\x85"])
def test_ids_that_are_no_plain_text_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"table.csv, row 2, field 'id': .*plain text"):
        unique_ids([sample(1), sample(2, id=name)], "table.csv")


def test_ids_in_any_script_are_plain_text() -> None:
    names = ["日本", "naïve id", "שלום", "👩‍👩‍👧", "a\u00a0b"]
    assert [one.id for one in unique_ids([sample(1, id=name) for name in names], "t")] == names
