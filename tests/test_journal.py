"""Writing that survives: killed outright, refused by the system, or done by two at once."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.errors import InputError, Notice
from holisafe.journal import Journal, clean, make_private, read_lines, whole_file, whole_folder, write_json, write_text


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(code: str) -> None:
    """Run code that prints a line and waits; kill it there."""
    program = "from pathlib import Path\nfrom holisafe.journal import *\n" + textwrap.dedent(code)
    program += "\n    print('there', flush=True)\n    input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        other.send_signal(signal.SIGKILL)
        other.wait()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with whole_file(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ZeroDivisionError), whole_file(path) as unfinished:
        unfinished.write_text("half" * (1 // 0))
    assert (path.read_text(), names(path.parent)) == ("new", ["a.txt"])
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == "new"


def test_what_a_kill_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    killed(f"with whole_file(Path({str(path)!r})) as unfinished:\n    unfinished.write_text('half of a longer file')")
    assert path.read_text() == "1\n"
    assert names(tmp_path) == [".a.json.unfinished", "a.json"]
    write_json(path, 2)
    assert path.read_text() == "2\n"
    assert names(tmp_path) == ["a.json"]


def test_many_writers_of_one_file_leave_the_whole_file_of_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    code = f"""
        import sys
        from pathlib import Path
        from holisafe.journal import write_json
        for turn in range(40):
            write_json(Path({str(path)!r}), [int(sys.argv[1])] * 20_000)
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    writers = [subprocess.Popen([*words, str(number)]) for number in range(3)]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            found = json.loads(path.read_text())
            assert found == found[:1] * 20_000
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert names(tmp_path) == ["a.json"]


def test_links_pipes_and_folders(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert ((tmp_path / "link.txt").is_symlink(), (tmp_path / "real.txt").read_text()) == (True, "new")
    write_text(Path("/dev/null"), "gone")
    assert not Path("/dev/null").is_file()
    with pytest.raises(InputError, match="is a folder"):
        write_text(tmp_path, "x")


def test_names_as_long_as_names_may_be_and_longer(tmp_path: Path) -> None:
    for name in ("a" * 255, "ü" * 127):
        write_text(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"
    with pytest.raises(InputError, match="File name too long"):
        write_text(tmp_path / ("a" * 256), "x")
    with pytest.raises(InputError, match="File name too long"), Journal(tmp_path / ("a" * 256)):
        pass
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ELOOP])
def test_a_place_where_nothing_can_be_written_is_one_line(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.open

    def refused(path: str | Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT and Path(path).parent == tmp_path:
            raise OSError(number, os.strerror(number), str(path))
        return really(path, flags, mode)

    monkeypatch.setattr(os, "open", refused)
    for writes in (lambda: write_text(tmp_path / "a", "x"), lambda: Journal(tmp_path / "a").__enter__()):
        with pytest.raises(InputError) as caught:
            writes()
        assert str(caught.value) == f"{tmp_path / 'a'}: cannot be written ({os.strerror(number)})"


def test_a_fault_of_another_file_is_not_put_down_to_this_one(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="elsewhere"), whole_file(tmp_path / "a"):
        raise PermissionError(errno.EACCES, "Permission denied", "/elsewhere/picture.png")


def test_without_room_it_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    code = f"""
        import resource
        from pathlib import Path
        from holisafe.journal import write_text
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_text(Path({str(tmp_path / "a")!r}), "x" * 2000)
        except OSError as error:
            print(error.errno, error.filename)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'a'}\n"
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.warns(Notice, match="no locks"):
        write_text(tmp_path / "a", "x")
    with pytest.warns(Notice, match="no locks"), Journal(tmp_path / "b") as journal:
        journal.append("y")
    with pytest.warns(Notice, match="no locks"), whole_folder(tmp_path / "c") as folder:
        (folder / "d").write_text("z")
    assert [(tmp_path / name).read_text() for name in ("a", "b", "c/d")] == ["x", "y\n", "z"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    killed(f"with whole_folder(Path({str(out)!r})) as unfinished:\n    (unfinished / 'left').write_text('over')")
    assert names(out.parent) == [".out.unfinished"]
    with pytest.raises(KeyError), whole_folder(out) as unfinished:
        raise KeyError
    assert names(out.parent) == []
    with whole_folder(out) as unfinished:
        (unfinished / "inner").mkdir()
        (unfinished / "inner" / "a").write_text("x")
        (unfinished / "inner" / "a").chmod(0o600)
        assert not out.exists()
        with pytest.raises(InputError, match="another process"), whole_folder(out):
            pass
    assert names(out.parent) == ["out"]
    assert names(out) == ["inner"]
    assert mode(out / "inner" / "a") == 0o666 & mode(out / "inner")
    with pytest.raises(InputError, match="cannot be written"), whole_folder(out) as unfinished:
        (unfinished / "b").write_text("y")
    assert names(out) == ["inner"], "what was there is kept"


def test_only_what_nobody_writes_any_more_is_cleaned_away(tmp_path: Path) -> None:
    for name in (".a.unfinished", "old.tmp", "mine.tmp", ".unfinished.txt"):
        (tmp_path / name).write_text("x")
    with whole_file(tmp_path / "b") as unfinished:
        clean(tmp_path, "old.tmp")
        assert names(tmp_path) == [".b.unfinished", ".unfinished.txt", "mine.tmp"]
        unfinished.write_text("y")


def test_a_private_folder_and_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0o022)
    try:
        make_private(tmp_path / "own")
        write_text(tmp_path / "own" / "a", "x")
        with Journal(tmp_path / "own" / "b"):
            pass
        assert [mode(tmp_path / "own" / name) for name in (".", "a", "b")] == [0o700, 0o600, 0o600]
        (tmp_path / "own").chmod(0o750)
        write_text(tmp_path / "own" / "a", "y")
        assert mode(tmp_path / "own" / "a") == 0o640, "a folder opened to a group opens what is written from then on"
        monkeypatch.setenv("HOLISAFE_SHARE", "1")
        make_private(tmp_path / "shared")
        write_text(tmp_path / "shared" / "a", "x")
        assert [mode(tmp_path / "shared" / name) for name in (".", "a")] == [0o755, 0o644]
    finally:
        os.umask(before)


TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=9), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(batches=st.lists(TEXTS, min_size=1, max_size=3), torn=st.binary(max_size=9).filter(lambda b: b"\n" not in b))
def test_lines_come_back_with_the_byte_at_which_they_begin(
    batches: list[list[str]], torn: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "lines"
    begins = []
    for batch in batches:
        with Journal(path) as journal:
            begins.append(journal.append(*batch))
        whole = path.read_bytes()
        path.write_bytes(whole + torn)  # a killed writer's last
    lines = [line for batch in batches for line in batch]
    assert [line for _, line in read_lines(path)] == lines
    for begin, batch in zip(begins, batches, strict=True):
        assert whole[begin:].startswith(f"{batch[0]}\n".encode())


def test_a_long_torn_line_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for kept in (b"", b"one\n", b"one\n" + b"x" * 100_000 + b"\n"):
        path.write_bytes(kept + b"y" * 200_000)
        with Journal(path) as journal:
            journal.append("two")
        assert path.read_bytes() == kept + b"two\n"


def test_a_name_that_is_no_text_survives_in_a_line_of_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    with Journal(tmp_path / "lines") as journal:
        journal.append(json.dumps({"image": name}, ensure_ascii=False))
    ((_, line),) = read_lines(tmp_path / "lines")
    assert json.loads(line) == {"image": name}


def test_a_line_that_the_disk_takes_half_of_is_removed_again(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path / "lines") as journal:
        journal.append("first")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            with pytest.raises(OSError, match="lines"):
                journal.append("the second, of which four bytes fit")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / "lines").read_text() == "first\n"
        journal.append("third")
    assert (tmp_path / "lines").read_text() == "first\nthird\n"
