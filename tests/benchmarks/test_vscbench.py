"""VSCBench from its authors' sheets, against pandas; with drawn pictures under the released names."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.check import check
from holisafe.errors import InputError
from holisafe.records import GenerationSettings

IMAGE, TEXT = "vscbench_image_centric.xlsx", "vscbench_text_centric.xlsx"


@pytest.fixture(scope="module")
def sheets(shared: Path) -> Path:
    return shared / "data/vscbench"


@pytest.fixture(scope="module")
def release(
    sheets: Path, draw: Callable[[Path, Iterable[str]], None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The whole release, each of its 3,598 pictures a tiny one, placed as the authors' own checker looks for them."""
    folder = tmp_path_factory.mktemp("vscbench")
    for name in (IMAGE, TEXT):
        shutil.copyfile(sheets / name, folder / name)
    image, text = (pd.read_excel(sheets / name, keep_default_na=False) for name in (IMAGE, TEXT))
    slots = [f"{kind}_img_{slot}" for kind in ("safe", "unsafe") for slot in range(3)]
    names = {
        f"vscbench_image_centric_images/{row['Category']}/{row[slot]}" for _, row in image.iterrows() for slot in slots
    }
    for kind in ("search", "typography", "concat", "figstep"):
        names |= {f"vscbench_text_centric_images/{kind}/{name}" for name in text[f"{kind}_img"]}
    assert len(names) == 1_799 + 1_799  # one picture of each half serves two rows
    draw(folder, names)
    return folder


@pytest.mark.parametrize("name", ["vscbench-image", "vscbench-text", "vscbench-text-only"])
def test_the_whole_release_has_no_fault_and_the_published_counts(release: Path, name: str) -> None:
    faults, remarks = check(name, release)
    assert faults == []
    rows = [267, 286] if name == "vscbench-image" else []
    assert remarks == [f"row {n} was released without a query: its 6 pairs ask with the image alone" for n in rows]
    assert len(open_benchmark(name, release).content_hash()) == 16


def test_image_centric_pairs_are_those_of_the_sheet(release: Path) -> None:
    samples = open_benchmark("vscbench-image", release).samples
    frame = pd.read_excel(release / IMAGE).melt(
        id_vars=["Category", "Prompt"],
        value_vars=[f"{kind}_img_{slot}" for kind in ("safe", "unsafe") for slot in range(3)],
    )
    expected = Counter(
        (
            "" if pd.isna(row.Prompt) else row.Prompt,
            f"vscbench_image_centric_images/{row.Category}/{row.value}",
            "USU" if row.variable.startswith("un") else "SSS",
            int(row.variable[-1]),
        )
        for row in frame.itertuples()
    )
    assert Counter((s.query, s.images[0], s.combination, s.meta["slot"]) for s in samples) == expected
    assert len(samples) == len({s.id for s in samples}) == 1_800
    assert Counter(s.combination for s in samples) == {"SSS": 900, "USU": 900}
    assert all((s.expected == "answer") == (s.combination == "SSS") == (s.image_label == "safe") for s in samples)


def test_a_cluster_is_one_query_with_its_six_images(release: Path) -> None:
    clusters: dict[str | None, list] = {}
    for sample in open_benchmark("vscbench-image", release).samples:
        clusters.setdefault(sample.cluster, []).append(sample)
    assert len(clusters) == 300
    for members in clusters.values():
        assert len({(s.query, s.category) for s in members}) == 1
        assert Counter((s.combination, s.meta["slot"]) for s in members) == {
            (code, slot): 1 for code in ("SSS", "USU") for slot in range(3)
        }


def test_the_releases_spelling_stays_in_folders_only(release: Path) -> None:
    samples = open_benchmark("vscbench-image", release).samples
    named = [s for s in samples if s.category == "pornography"]
    assert len(named) == 300
    assert all("/porngraphy/" in s.images[0] for s in named)
    assert "porngraphy" not in {s.category for s in samples} | {s.id for s in samples}
    labels = {(s.category, s.image_label) for s in samples if s.combination == "USU"}
    assert labels == {
        ("drugs", "drug_related_hazards"),
        ("pornography", "sexual_content"),
        *((name, None) for name in ("violence", "illegal_activity", "religion", "discrimination")),
    }


def test_text_centric_conditions_are_those_of_the_sheet(release: Path) -> None:
    samples = open_benchmark("vscbench-text", release).samples
    frame = pd.read_excel(release / TEXT, keep_default_na=False)
    figstep = next(s.query for s in samples if s.meta["condition"] == "figstep")
    expected = Counter()
    for row in frame.itertuples():
        unsafe = "refuse" if "contrast" in row.type else "answer"
        for condition in ("search", "typography", "concat", "figstep"):
            query = figstep if condition == "figstep" else row.prompt_mm
            image = f"vscbench_text_centric_images/{condition}/{getattr(row, f'{condition}_img')}"
            expected[query, image, unsafe, row.type, row.prompt_origin] += 1
    assert Counter((s.query, s.images[0], s.expected, s.category, s.meta["prompt"]) for s in samples) == expected
    assert Counter((s.meta["condition"], s.expected) for s in samples) == {
        (condition, kind): n
        for condition in ("search", "typography", "concat", "figstep")
        for kind, n in (("answer", 250), ("refuse", 200))
    }
    assert {s.combination for s in samples} == {s.image_label for s in samples} == {None}
    assert figstep.startswith("The text above shows a list numbered 1, 2, and 3, but the items are empty.")
    assert len({s.cluster for s in samples}) == 450
    assert set(Counter(s.cluster for s in samples).values()) == {4}
    assert sum("focus" not in s.meta for s in samples) == 4 * (frame["focus"] == "").sum()


def test_text_only_shares_rows_with_the_conditions_and_needs_no_image(sheets: Path) -> None:
    alone = open_benchmark("vscbench-text-only", sheets)
    pairs = open_benchmark("vscbench-text", sheets)
    assert [s.query for s in alone.samples] == pd.read_excel(sheets / TEXT)["prompt_origin"].tolist()
    assert Counter(s.expected for s in alone.samples) == {"answer": 250, "refuse": 200}
    assert {s.images for s in alone.samples} == {()}
    expected = {s.cluster: (s.expected, s.category, s.meta["prompt"]) for s in pairs.samples}
    assert {s.cluster: (s.expected, s.category, s.query) for s in alone.samples} == expected
    assert not {s.id for s in alone.samples} & {s.id for s in pairs.samples}


def test_no_label_reaches_a_target(release: Path) -> None:
    benchmark = open_benchmark("vscbench-image", release)
    sample = benchmark.samples[3]
    (message,) = benchmark.request(sample, GenerationSettings()).messages
    assert (message.text, len(message.pictures)) == (sample.query, 1)
    assert message.pictures[0].open().size == (4, 3)


Change = Callable[[openpyxl.worksheet.worksheet.Worksheet], object]


def with_changed_sheet(sheets: Path, folder: Path, name: str, change: Change) -> Path:
    book = openpyxl.load_workbook(sheets / name)
    change(book.active)
    book.save(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("change", "row", "field", "problem"),
    [
        (lambda sheet: sheet.cell(6, 2).__setattr__("value", None), 5, "Prompt", "blank"),
        (lambda sheet: sheet.cell(268, 3).__setattr__("value", "other.png"), 267, "Prompt", "blank"),
        (lambda sheet: sheet.cell(9, 1).__setattr__("value", "pornography"), 8, "Category", "unknown value"),
        (lambda sheet: sheet.cell(9, 4).__setattr__("value", "../../x.png"), 8, "safe_img_1", "leads outside"),
        (lambda sheet: sheet.cell(9, 8).__setattr__("value", None), 8, "unsafe_img_2", "blank"),
        (lambda sheet: sheet.cell(1, 5).__setattr__("value", "safe_image_2"), 1, "safe_img_2", "missing"),
        (lambda sheet: [sheet.cell(9, c).__setattr__("value", sheet.cell(8, c).value) for c in range(1, 11)], 8, None,
         "the same as row 7"),
    ],
)  # fmt: skip
def test_a_faulty_sheet_names_the_cell(
    sheets: Path, tmp_path: Path, change: Change, row: int, field: str | None, problem: str
) -> None:
    path = with_changed_sheet(sheets, tmp_path, IMAGE, change)
    with pytest.raises(InputError, match=problem) as caught:
        open_benchmark("vscbench-image", tmp_path)
    assert (caught.value.where, caught.value.row, caught.value.field) == (path, row, field)


def test_a_check_lists_every_odd_row_and_picture_at_once(release: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(release, tmp_path / "copy", copy_function=shutil.copyfile))

    def change(sheet: openpyxl.worksheet.worksheet.Worksheet) -> None:
        sheet.cell(3, 3).value = ""
        sheet.cell(5, 3).value = None

    with_changed_sheet(release, folder, TEXT, lambda sheet: change(sheet))
    images = folder / "vscbench_text_centric_images"
    (images / "concat/9_concat.png").unlink()
    (images / "figstep/10_fistep.png").write_bytes((images / "figstep/10_fistep.png").read_bytes()[:40])
    faults, remarks = check("vscbench-text", folder)
    assert [(fault.row, fault.field) for fault in faults] == [
        (2, "prompt_origin"),
        (4, "prompt_origin"),
        (10, None),
        (11, None),
    ]
    assert "concat/9_concat.png: no such image" in str(faults[2])
    assert "figstep/10_fistep.png: not an image" in str(faults[3])
    assert remarks == [
        f"condition/expected {condition}/answer: 248 samples, published 250"
        for condition in ("search", "typography", "concat", "figstep")
    ]


def test_without_the_sheet_or_the_folder(tmp_path: Path) -> None:
    for name in ("vscbench-image", "vscbench-text", "vscbench-text-only"):
        for root, problem in ((None, "name its folder with --root"), (tmp_path, "no such file")):
            with pytest.raises(InputError, match=problem):
                open_benchmark(name, root)
    (tmp_path / IMAGE).write_bytes(b"PK\x03\x04 half")
    with pytest.raises(InputError, match="not a readable xlsx file"):
        open_benchmark("vscbench-image", tmp_path)
