"""What all readers share: gathering faults, opening pictures inside the folder, comparing counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holisafe.benchmarks.check import check, differences
from holisafe.benchmarks.tables import Place, Table, picture, read_tables, release
from holisafe.errors import InputError
from holisafe.records import Sample
from holisafe.registry import benchmarks
from holisafe.tables import text

Draw = Callable[[Path, Iterable[str]], None]


def reader(root: Path) -> Callable[[dict[str, Any], Place], Iterator[Sample]]:
    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        image = picture(row, "image", *place, root=root, folder="pictures")
        yield Sample(benchmark="b", id=text(row, "id", *place), query="?", expected="answer", images=(image,))

    return samples


def table(path: Path, *rows: tuple[str, str]) -> Path:
    path.write_text(json.dumps([{"id": identity, "image": image} for identity, image in rows]))
    return path


def test_every_fault_of_every_table_is_gathered_and_sound_rows_are_kept(tmp_path: Path) -> None:
    first = table(tmp_path / "a.json", ("1", "x.png"), ("", "x.png"), ("2", "../x.png"), ("1", "y.png"))
    second = table(tmp_path / "b.json", ("2", "z.png"), ("1", "z.png"))
    tables = [Table(name, reader(tmp_path)) for name in ("a.json", "b.json", "c.json")]
    read = read_tables("b", tmp_path, tables)
    assert [sample.id for sample in read.samples] == ["1", "2"]
    assert [(fault.where, fault.row, fault.field, fault.problem) for fault in read.faults] == [
        (first, 2, "id", "blank"),
        (first, 3, "image", "'../x.png' leads outside its folder"),
        (first, 4, None, "duplicate id '1'"),
        (second, 2, None, "duplicate id '1'"),
        (tmp_path / "c.json", None, None, "no such file"),
    ]


def test_a_repeated_row_is_a_fault_only_where_rows_have_no_id(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"q": "x"}, {"q": "y"}, {"q": "x"}]))

    def samples(row: dict[str, Any], place: Place) -> Iterator[Sample]:
        yield Sample(benchmark="b", id=str(place[1]), query=row["q"], expected="answer")

    assert len(read_tables("b", tmp_path, [Table("a.json", samples)]).samples) == 3
    strict = read_tables("b", tmp_path, [Table("a.json", samples)], distinct=True)
    assert [str(fault) for fault in strict.faults] == [f"{tmp_path / 'a.json'}, row 3: the same as row 1"]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, draw: Draw) -> None:
    draw(tmp_path, ["secret.png", "root/pictures/ok.png"])
    (tmp_path / "root/pictures/link.png").symlink_to(tmp_path / "secret.png")
    root = tmp_path / "root"
    table(root / "a.json", ("1", "ok.png"), ("2", "link.png"))
    read = read_tables("b", root, [Table("a.json", reader(root))])
    assert [(fault.row, fault.field) for fault in read.faults] == [(2, "image")]
    assert read.open_image("pictures/ok.png").size == (4, 3)


def test_a_picture_names_the_row_that_shows_it_first(tmp_path: Path) -> None:
    path = table(tmp_path / "a.json", ("1", "x.png"), ("2", "gone\n.png"), ("3", "gone\n.png"))
    read = read_tables("b", tmp_path, [Table("a.json", reader(tmp_path))])
    with pytest.raises(InputError) as caught:
        read.open_image("pictures/gone\n.png")
    assert str(caught.value) == f"{path}, row 2: 'pictures/gone\\n.png': no such image"


def test_the_folder_of_a_release(tmp_path: Path) -> None:
    assert release(tmp_path, "b") == tmp_path
    (tmp_path / "file").touch()
    for root, problem in ((None, "--root"), (tmp_path / "x", "no such folder"), (tmp_path / "file", "not a folder")):
        with pytest.raises(InputError, match=problem):
            release(root, "b")


def some(split: str, subset: str, number: int) -> list[Sample]:
    return [
        Sample(
            benchmark="b", id=f"{split}{subset}{n}", query="?", expected="answer", split=split, meta={"part": subset}
        )
        for n in range(number)
    ]


def test_counts_are_compared_by_any_field() -> None:
    samples = [*some("test", "a b", 3), *some("test", "c", 2), *some("train", "c", 1)]
    sound = "expected: answer 6; split/part: test/a b 3, test/c 2, train/c 1; other: None 6"
    assert list(differences(sound, samples)) == list(differences("", samples)) == []
    assert list(differences("split/part: test/a b 4, test/c 2, dev/c 1000", samples)) == [
        "split/part test/a b: 3 samples, published 4",
        "split/part dev/c: 0 samples, published 1,000",
        "split/part train/c: 1 samples, published 0",
    ]
    assert list(differences("expected: answer 6", [])) == []


@pytest.mark.parametrize("name", [name for name, entry in benchmarks.entries().items() if "published" in entry.facts])
def test_published_counts_add_up_alike(name: str) -> None:
    """Every way of counting one benchmark has the same total, or the reader's fact has a slip in it."""
    parts = benchmarks.get(name).facts["published"].split(";")
    totals = {sum(int(count.rpartition(" ")[2]) for count in part.partition(": ")[2].split(",")) for part in parts}
    assert len(totals) == 1


def test_a_check_of_a_release_that_is_not_there_is_one_fault(tmp_path: Path) -> None:
    faults, remarks = check("siuo", tmp_path)
    assert ([str(fault) for fault in faults], remarks) == ([f"{tmp_path / 'siuo_gen.json'}: no such file"], [])
