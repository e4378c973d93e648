"""A scan on this machine: every row is right, none is there twice or missing, whatever kills it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from pyarrow import parquet

from api_server import ApiServer, Faults
from bright_guard import BrightGuard, brightness, paint
from holisafe.errors import InputError
from holisafe.scanning import folder as folders
from holisafe.scanning.folder import part_files
from holisafe.scanning.scan import scan
from holisafe.scanning.seen import Seen


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The rows by id, each there once."""
    found = [row for path in part_files(out) for row in parquet.read_table(path).to_pylist()]
    assert max(Counter(row["id"] for row in found).values()) == 1
    return {row["id"]: row for row in found}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 pictures in folders, copies of some, and what goes wrong."""
    root = tmp_path / "photos"
    for number in range(40):
        paint(root / "abc"[number % 3] / f"{number}.png", number)
    (root / "z").mkdir()
    for number in range(6):
        (root / "z" / f"copy-{number}.png").write_bytes((root / "abc"[number % 3] / f"{number}.png").read_bytes())
    (root / "b" / "broken.png").write_bytes((root / "b" / "1.png").read_bytes()[:200])
    (root / "b" / "text.jpg").write_text("no picture")
    (root / "b" / "notes.txt").write_text("left out")
    Image.new("1", (3000, 1000)).save(root / "c" / "large.png")
    (root / "c" / "away.png").symlink_to(paint(tmp_path / "elsewhere" / "1.png", 99))
    (root / "c" / "gone.png").symlink_to(root / "nowhere.png")
    return root


def test_every_row_is_what_the_picture_is(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLISAFE_PIXEL_LIMIT", "2000000")
    log = tmp_path / "log"
    found = scan(str(photos), BrightGuard(log), tmp_path / "out")
    said = rows(tmp_path / "out")
    names = {path.relative_to(photos).as_posix() for path in photos.rglob("*.*") if path.suffix != ".txt"}
    assert said.keys() == names
    good = {f"{'abc'[n % 3]}/{n}.png" for n in range(40)}
    for name in good:
        image = Image.open(photos / name)
        row = said[name]
        assert row["score"] == pytest.approx(brightness(image), abs=1e-12)
        assert row["unsafe"] == (brightness(image) > 0.5)
        assert dict(row["scores"])["dark"] == pytest.approx(1 - brightness(image))
        assert row["content"] == hashlib.sha256((photos / name).read_bytes()).hexdigest()[:32]
        assert (row["width"], row["height"], row["fault"]) == (24, 24, None)
        assert row["copy_of"] is None
    for number in range(6):
        copy = said[f"z/copy-{number}.png"]
        assert (copy["copy_of"], copy["score"]) == (f"{'abc'[number % 3]}/{number}.png", None)
    assert Counter(log.read_text().split()) == Counter(dict.fromkeys(good, 1))
    faults = {name: row["fault"] for name, row in said.items() if row["fault"]}
    assert faults.keys() == {"b/broken.png", "b/text.jpg", "c/large.png", "c/away.png", "c/gone.png"}
    assert "more than the limit" in faults["c/large.png"]
    assert "--follow-links" in faults["c/away.png"]
    assert found["n"] == len(names)
    assert (found["copies"], found["again"]) == (6, 2)
    # by hand, of all pictures with a verdict: a copy counts as its first
    bright = [brightness(Image.open(photos / name)) for name in [*good, *(f"z/copy-{n}.png" for n in range(6))]]
    assert found["verdicts"] == {
        "unsafe": sum(b > 0.5 for b in bright),
        "safe": sum(b <= 0.5 for b in bright),
        "none": 5,
    }
    assert found["thresholds"]["bright"] == [sum(b > t for b in bright) for t in found["at"]]
    assert found["groups"]["uncertain"] == sum(1 / 3 <= b / (1 - b) <= 3 for b in bright)
    cell = found["distinct"]["flagged"]
    assert (cell["n"], cell["n_invalid"]) == (40, 5)
    assert cell["rate"] == sum(said[name]["unsafe"] for name in good) / 40


def test_a_part_is_one_of_many_and_a_rerun_reads_only_what_is_new(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "PART_ROWS", 7)
    log = tmp_path / "log"
    before = scan(str(photos), BrightGuard(log), tmp_path / "out")
    assert len(part_files(tmp_path / "out")) == 8
    log.unlink()
    paint(photos / "a" / "later.png", 77)
    (photos / "c" / "gone.png").unlink()
    paint(photos / "c" / "gone.png", 78)
    after = scan(str(photos), BrightGuard(log), tmp_path / "out")
    assert sorted(log.read_text().split()) == ["a/later.png", "c/gone.png"]
    assert (after["n"], after["again"]) == (before["n"] + 1, 1)
    rows(tmp_path / "out")
    part_files(tmp_path / "out")[0].unlink()  # what a user throws away is read again
    again = scan(str(photos), BrightGuard(log), tmp_path / "out")
    assert {**again, "sample": 0} == {**after, "sample": 0}


def test_calls_that_failed_are_made_again(photos: Path, tmp_path: Path) -> None:
    log, fail = tmp_path / "log", tmp_path / "fail"
    fail.touch()
    first = scan(str(photos), BrightGuard(log, fail=fail), tmp_path / "out")
    failed = {name for name, row in rows(tmp_path / "out").items() if row["fault"] == "error: no luck"}
    assert len(failed) > 3
    assert first["again"] >= len(failed)
    fail.unlink()
    log.unlink()
    scan(str(photos), BrightGuard(log), tmp_path / "out")
    assert set(log.read_text().split()) == failed
    scan(str(photos), BrightGuard(), tmp_path / "calm")
    assert same(rows(tmp_path / "out")) == same(rows(tmp_path / "calm"))


def same(said: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Rows but for the small pictures, of which a scan that was killed may have kept others."""
    return {name: {**row, "thumb": None} for name, row in said.items()}


def test_killed_five_times_no_row_is_twice_and_none_is_missing(photos: Path, tmp_path: Path) -> None:
    for number in range(200):
        paint(photos / "more" / f"{number}.png", 1000 + number, side=8)
    chance, log = random.Random(3), tmp_path / "log"
    scan(str(photos), BrightGuard(), tmp_path / "calm")
    guard, out = BrightGuard(log, delay=0.004), tmp_path / "out"

    def read() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    for moment in sorted(chance.sample(range(10, 230), 5)):
        child = os.fork()
        if not child:
            with suppress(BaseException):
                scan(str(photos), guard, out)
            os._exit(0)
        while read() < moment and not os.waitpid(child, os.WNOHANG)[0]:
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    scan(str(photos), guard, out)
    found, calm = rows(tmp_path / "out"), rows(tmp_path / "calm")
    assert same(found) == same(calm)
    assert read() <= 240 + 5 * 8, "no more than a batch is read again for each kill"
    before, after = (json.loads((tmp_path / one / "summary.json").read_text()) for one in ("calm", "out"))
    assert after == before, "also the sample to check by hand"


@pytest.mark.parametrize("place", ["after the part", "while a part is made anew", "before the lines go"])
def test_a_kill_between_any_two_steps_loses_nothing(
    place: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, fail = tmp_path / "out", tmp_path / "fail"
    monkeypatch.setattr(folders, "PART_ROWS", 20)
    scan(str(photos), BrightGuard(), tmp_path / "calm")

    class Killed(BaseException):
        """Stands for the end of the process: nothing cleans up."""

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    if place == "while a part is made anew":
        fail.touch()
        scan(str(photos), BrightGuard(fail=fail), out)
        fail.unlink()
    step = {
        "after the part": (Seen, "add_part"),
        "before the lines go": (Path, "unlink"),
        "while a part is made anew": (folders.ScanFolder, "_write"),
    }[place]
    with monkeypatch.context() as broken:
        broken.setattr(*step, die)
        with pytest.raises(Killed):
            scan(str(photos), BrightGuard(), out)
    scan(str(photos), BrightGuard(), out)
    assert same(rows(out)) == same(rows(tmp_path / "calm"))


def test_no_more_is_fetched_than_the_guard_can_take(photos: Path, tmp_path: Path) -> None:
    """A guard that takes its time holds the rest up: what is ahead of it is bounded."""
    from holisafe.scanning import fetching
    from holisafe.scanning.sources import Source

    for number in range(150):
        paint(photos / "more" / f"{number}.png", 1000 + number, side=4)
    opened, ahead = [0], [0]
    plain = Source.read

    def counted(self: Source, unit: Any) -> bytes:
        opened[0] += 1
        return plain(self, unit)

    class Slow(BrightGuard):
        def read(self, items: Any) -> Any:
            for taken, reading in enumerate(super().read(items), start=1):
                time.sleep(0.002)
                ahead[0] = max(ahead[0], opened[0] - taken)
                yield reading

    with pytest.MonkeyPatch.context() as watched:
        watched.setattr(Source, "read", counted)
        scan(str(photos), Slow(), tmp_path / "out")
    assert opened[0] == 40 + 6 + 5 + 150
    assert fetching.AHEAD / 2 < ahead[0] <= fetching.AHEAD + 8 + 11  # a batch, and what never reaches the guard


def test_a_guard_behind_a_server_is_asked_once_for_each_content(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are in flight side by side, some fail, and what was answered is never asked again."""
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")

    def answer(body: dict[str, Any], content: str) -> dict[str, Any]:
        said = "unsafe\nS1" if int(content, 16) % 2 else "safe"
        return {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}

    with ApiServer(Faults(rate=0.2, kinds=("429", "500", "reset"), seed=2, most=2), answer=answer) as server:
        guard = f"llama-guard/openai/guard,base_url={server.url},max_in_flight=16"
        found = scan(str(photos), guard, tmp_path / "out")
        assert set(server.stats.completed.values()) == {1}
        assert sum(server.stats.completed.values()) == 40 + 1  # and the large picture, within its limit here
        again = scan(str(photos), guard, tmp_path / "out")
        assert sum(server.stats.completed.values()) == 41
    assert found["verdicts"] == again["verdicts"]
    assert (found["verdicts"]["none"], found["verdicts"]["unsafe"] + found["verdicts"]["safe"]) == (4, 47)


def test_a_folder_of_another_scan_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scan(str(photos), BrightGuard(), out)
    with pytest.raises(InputError, match=r"another guard .version was '1', is '2'"):
        scan(str(photos), BrightGuard(version="2"), out)
    with pytest.raises(InputError, match=r"another source .place was"):
        scan(str(photos / "a"), BrightGuard(), out)
    with pytest.raises(InputError, match="holds something, and no scan"):
        scan(str(photos), BrightGuard(), photos / "a")
    part_files(out)[0].write_bytes(b"PAR1 no more")
    (out / "seen.sqlite").write_bytes(b"no index")
    with pytest.raises(InputError, match="no part of a scan"):
        scan(str(photos), BrightGuard(), out)


def test_the_index_is_made_anew_from_the_parts(photos: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    before = scan(str(photos), BrightGuard(), out)
    for name in ("seen.sqlite", "seen.sqlite-wal", "seen.sqlite-shm"):
        (out / name).unlink(missing_ok=True)
    paint(photos / "z" / "new.png", 5)  # as bright as another, and the same file
    after = scan(str(photos), BrightGuard(log), out)
    assert not log.exists(), "nothing is read"
    assert after["copies"] == before["copies"] + 1
    assert rows(out)["z/new.png"]["copy_of"] == "c/5.png"


def test_the_sample_is_of_the_smallest_lots_of_each_kind(photos: Path, tmp_path: Path) -> None:
    found = scan(str(photos), BrightGuard(), tmp_path / "out", sample=3)
    frame = pd.DataFrame(rows(tmp_path / "out").values())
    frame = frame[frame["unsafe"].notna()].sort_values("content")
    odds = frame["score"] / (1 - frame["score"])
    near = odds.between(1 / 3, 3)
    flagged = frame["unsafe"].astype(bool)
    for kind, members in (("uncertain", near), ("unsafe", flagged & ~near), ("safe", ~flagged & ~near)):
        assert [one["id"] for one in found["sample"][kind]] == frame[members]["id"].tolist()[:3]
