"""`holisafe data`, as a shell sees it: output, exit codes, files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from holisafe.benchmarks import open_benchmark
from holisafe.cli.data import app
from holisafe.registry import benchmarks


def holisafe(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from holisafe.cli import main; main()", "data", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PictoSafe's development style as files."""
    out = tmp_path_factory.mktemp("export") / "out"
    done = holisafe("export", "pictosafe-development", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def test_list_names_every_benchmark_with_its_facts() -> None:
    done = holisafe("list")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    ours = {name for name, entry in benchmarks.entries().items() if entry.load.__module__.startswith("holisafe.")}
    assert ours <= set(done.stdout.split())
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert len([line for line in lines if line]) == len(ours) + 3, "a line each"
    assert "vlguard 1,558 pairs SSS SUU UUU hub, gated" in lines
    assert "pictosafe 1,272 pairs SSS SSU SUU USU UUU built in" in lines
    assert "xstest 450 prompts none --root" in lines
    done = holisafe("list", *ours)
    words = " ".join(done.stdout.split())
    assert "4,031 pairs, 1,796 images" in words
    assert "CC BY-NC 4.0" in words
    assert "gated" in words
    assert "Lee et al., HoliSafe, arXiv 2506.04704" in words
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_list_of_one_shows_its_counts_too() -> None:
    done = holisafe("list", "vlguard")
    words = " ".join(done.stdout.split())
    assert words.startswith("vlguard Harmful images")
    assert "published counts: split/subset: test/unsafes 442" in words
    assert "figstep" not in words
    assert "published counts" not in holisafe("list").stdout
    done = holisafe("list", "vlgard")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'vlguard'" in done.stderr


def test_list_loads_no_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a listing loaded a benchmark")

    for entry in benchmarks.entries().values():
        monkeypatch.setitem(entry.__dict__, "load", refuse)
    assert CliRunner().invoke(app, ["list"]).exit_code == 0


def test_export_then_read_back(exported: Path) -> None:
    written, read = open_benchmark("pictosafe-development"), open_benchmark("holisafe-bench", exported)
    assert read.samples == written.samples
    assert read.content_hash() == written.content_hash()


def test_export_of_one_split(tmp_path: Path) -> None:
    done = holisafe("export", "pictosafe-development", "--split", "test", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no split 'test'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_export_into_a_used_folder_exits_2(exported: Path) -> None:
    done = holisafe("export", "pictosafe-development", "--out", exported)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(exported) in done.stderr


def test_check_of_a_sound_folder(exported: Path) -> None:
    for words in ([exported], ["holisafe-bench", "--root", exported], [f"holisafe-bench:{exported}"]):
        done = holisafe("check", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[0].endswith("the published release has 4,031 over 1,796")
        assert done.stdout.splitlines()[-1] == "no faults"


def test_check_prints_a_line_a_fault_and_their_number(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copy"))
    path = folder / "holisafe_bench.json"
    records = json.loads(path.read_text(encoding="utf-8"))
    records[3]["type"], records[5]["image_safety_label"] = "XYZ", "no label"
    (folder / "images" / records[7]["image"]).unlink()
    (folder / "images" / records[8]["image"]).write_bytes(b"hello")
    path.write_text(json.dumps(records), encoding="utf-8")
    done = holisafe("check", folder)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.splitlines() == [
        f"{path}, row 4, field 'type': unknown value 'XYZ'",
        f"{path}, row 6, field 'image_safety_label': unknown value 'no label'",
        f"{path}, row 8, field 'image': images/{records[7]['image']}: no such image",
        f"{path}, row 9, field 'image': images/{records[8]['image']}: not an image: plain text",
        "4 faults",
    ]


def test_check_of_an_embedded_benchmark() -> None:
    done = holisafe("check", "pictosafe-utility")
    assert (done.returncode, done.stdout) == (0, "no faults\n")


def test_check_tells_published_from_found(shared: Path) -> None:
    done = holisafe("check", "figstep-tiny", "--root", shared / "data/figstep")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no faults\n", "")
    done = holisafe("check", "siuo", "--root", shared / "data/siuo")
    lines = done.stdout.splitlines()
    assert done.returncode == 2
    assert lines[0] == f"{shared / 'data/siuo/siuo_gen.json'}, row 1: images/S-01.png: no such image"
    assert lines[-2:] == ["note: combination SSU: 40 samples, published 167", "40 faults"]


def test_check_of_something_unknown() -> None:
    done = holisafe("check", "pictosaf")
    assert done.returncode == 2
    assert "did you mean 'pictosafe'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
