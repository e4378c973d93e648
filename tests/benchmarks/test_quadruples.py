from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.base import Benchmark
from holisafe.benchmarks.quadruples import CORNERS, quadruples
from holisafe.errors import InputError
from holisafe.records import Sample
from holisafe.taxonomy import COMBINATIONS

COLOURS = {"safe.png": "green", "copy.png": "green", "unsafe.png": "red"}


def a_cluster(name: str, images: dict[str, str] | None = None, queries: dict[str, str] | None = None) -> list[Sample]:
    return [
        Sample(
            benchmark="b",
            id=f"{name}-{code}",
            query={"S": "mend it", "U": "break it"}[code[1]] if not queries else queries[code],
            expected=COMBINATIONS[code],
            combination=code,
            images=((images or {}).get(code) or {"S": "safe.png", "U": "unsafe.png"}[code[0]],),
            cluster=name,
        )
        for code in ("UUU", "SUU", "USU", "SSS")
    ]


def benchmark(*samples: Sample) -> Benchmark:
    return Benchmark("b", samples, lambda name: Image.new("RGB", (4, 4), COLOURS[name]))


def test_only_whole_clusters_of_two_texts_and_two_images_are_quadruples() -> None:
    whole = a_cluster("whole")
    copied = a_cluster("copied", images={"SUU": "copy.png"})
    (found, other) = quadruples(
        benchmark(
            *whole,
            *a_cluster("short")[1:],
            *a_cluster("images", images={"SUU": "unsafe.png"}),
            *a_cluster("texts", queries={"SSS": "a", "USU": "b", "SUU": "c", "UUU": "c"}),
            *(doubled := a_cluster("doubled")),
            replace(doubled[0], id="again"),
            *(replace(sample, cluster=None) for sample in a_cluster("loose")),
            *copied,
            replace(whole[0], id="besides", combination="SSU", expected="refuse"),
        )
    )
    assert [sample.id for sample in found] == ["whole-SSS", "whole-SUU", "whole-USU", "whole-UUU"]
    assert {sample.cluster for sample in other} == {"copied"}, "the same pixels under another name"


def test_pictosafe_has_ten_a_label_in_its_test_split() -> None:
    found = quadruples(open_benchmark("pictosafe", split="test"))
    assert len(found) == 190
    for members in found:
        assert tuple(sample.combination for sample in members) == CORNERS


def test_without_any_it_says_so() -> None:
    with pytest.raises(InputError, match="no quadruples"):
        quadruples(open_benchmark("pictosafe-utility"))
