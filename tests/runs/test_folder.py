from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holisafe.errors import InputError
from holisafe.journal import read_json, write_json
from holisafe.records import Response, Sample, Verdict
from holisafe.runs.folder import RunFolder, provenance, read_manifest, read_records

MANIFEST: dict[str, Any] = {
    "schema": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "benchmark": {"name": "toy", "root": "/data/toy", "split": "test", "size": 3, "content_hash": "abc"},
    "target": {"name": "toy/a", "options": {"dtype": "float32"}},
    "settings": {"max_new_tokens": 512, "system": None},
    "seed": 0,
    "limit": 10,
    "judges": {"one": "1"},
    "judge_specs": {"one": "one"},
    "packages": {"holisafe": "0.1.0"},
}


def changed(**parts: Any) -> dict[str, Any]:
    """The manifest with entries replaced; those of an inner object by `benchmark={"size": 4}`."""
    result = {**MANIFEST}
    for name, value in parts.items():
        result[name] = {**MANIFEST[name], **value} if isinstance(value, dict) else value
    return result


def response(number: int, text: str = "Hello") -> Response:
    return Response(sample_id=f"s{number}", target="toy", text=text)


def filled(folder: Path, *responses: Response) -> Path:
    with RunFolder(folder, MANIFEST) as run:
        run.append(*responses)
    return folder / "responses.jsonl"


def test_records_of_every_kind_are_kept_apart_and_come_back(tmp_path: Path) -> None:
    sample = Sample(benchmark="toy", id="s1", query="?", expected="refuse", images=("a.png",), meta={"x": [1]})
    verdict = Verdict(sample_id="s1", response_hash="h", judge="one", judge_version="1", label="refused")
    with RunFolder(tmp_path / "deep" / "run", MANIFEST) as run:
        run.append(sample, response(1), verdict)
        assert run.read(Response) == {("s1", 0): response(1)}
    assert read_records(tmp_path / "deep" / "run", Sample) == {"s1": sample}
    assert list(read_records(tmp_path / "deep" / "run", Verdict).values()) == [verdict]
    assert read_manifest(tmp_path / "deep" / "run") == MANIFEST


def test_the_last_line_of_a_key_wins_and_stands_last(tmp_path: Path) -> None:
    filled(tmp_path, response(1, "old"), response(2), response(1, "new"))
    assert list(read_records(tmp_path, Response).items()) == [(("s2", 0), response(2)), (("s1", 0), response(1, "new"))]


def test_verdicts_of_two_judges_do_not_replace_each_other(tmp_path: Path) -> None:
    verdicts = [Verdict(sample_id="s1", response_hash="h", judge=j, judge_version="1", label=None) for j in "ab"]
    with RunFolder(tmp_path, MANIFEST) as run:
        run.append(*verdicts)
    assert list(read_records(tmp_path, Verdict).values()) == verdicts


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(st.text(max_size=12), min_size=1, max_size=4))
def test_cut_at_any_byte_of_its_last_line_the_file_loses_that_line_alone(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    records = [response(number, text) for number, text in enumerate(texts)]
    path = filled(folder, *records)
    content = path.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    for end in range(start, len(content)):
        path.write_bytes(content[:end])
        assert list(read_records(folder, Response).values()) == records[:-1]  # a reader passes over the torn line
        with RunFolder(folder, MANIFEST) as run:
            run.append(records[-1])  # a writer cuts it off
        assert path.read_bytes() == content


def test_a_broken_line_further_up_is_an_error_not_a_silent_loss(tmp_path: Path) -> None:
    path = filled(tmp_path, response(1), response(2))
    path.write_bytes(b'{"sample_id": "s1", "tar\n' + path.read_bytes())
    with pytest.raises(InputError, match=r"responses\.jsonl, row 1: not JSON"):
        read_records(tmp_path, Response)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="row 1: not UTF-8"):
        read_records(tmp_path, Response)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        (changed(seed=1), "--seed was 0, is now 1"),
        (changed(settings={"max_new_tokens": 64}), "--max-tokens was 512, is now 64"),
        (changed(settings={"system": "Be careful."}), "--system was none, is now 'Be careful.'"),
        (changed(benchmark={"split": "train"}), "--split was 'test', is now 'train'"),
        (
            changed(benchmark={"content_hash": "abd"}),
            "the content of the benchmark (content_hash) was 'abc', is now 'abd'",
        ),
        (changed(target={"name": "toy/b"}), "target.name was 'toy/a', is now 'toy/b'"),
        (changed(target={"options": {"dtype": "bfloat16"}}), "target.options.dtype was 'float32', is now 'bfloat16'"),
        (changed(target={"options": "none"}), "target.options was {'dtype': 'float32'}, is now 'none'"),
        (changed(target={"guard": "hash"}), "target.guard was none, is now 'hash'"),
        (changed(schema=2), "the format of the run folder was 1, is now 2"),
        (changed(limit=9), "--limit was 10, is now 9, and can only grow"),
        (changed(seed=1, benchmark={"size": 4}), "the number of samples was 3, is now 4; --seed was 0, is now 1"),
    ],
)
def test_a_run_that_would_measure_something_else_is_refused_in_words(
    tmp_path: Path, manifest: dict[str, Any], says: str
) -> None:
    filled(tmp_path, response(1))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError) as caught, RunFolder(tmp_path, manifest):
        pass
    assert f"{tmp_path}: this run measured something else: {says} (another --out" in str(caught.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_limit_once_lifted_stays_lifted(tmp_path: Path) -> None:
    with RunFolder(tmp_path, changed(limit=None)):
        pass
    with pytest.raises(InputError, match="--limit was none, is now 99"), RunFolder(tmp_path, changed(limit=99)):
        pass


@pytest.mark.parametrize(
    "manifest",
    [
        changed(limit=11),
        changed(limit=None),
        changed(packages={"holisafe": "9"}),
        changed(created="2027-01-01T00:00:00+00:00"),
        changed(benchmark={"root": "/elsewhere"}),
    ],
)
def test_what_may_change_may_change(tmp_path: Path, manifest: dict[str, Any]) -> None:
    filled(tmp_path, response(1))
    with RunFolder(tmp_path, manifest) as run:
        assert run.read(Response) == {("s1", 0): response(1)}
    assert read_manifest(tmp_path) == {"judge_measures": {}, **manifest, "created": MANIFEST["created"]}


def test_judges_are_added_and_kept(tmp_path: Path) -> None:
    for judges in ({"one": "1"}, {"two": "1"}, {"one": "2"}):
        with RunFolder(tmp_path, {**MANIFEST, "judges": judges}) as run:
            pass
    assert run.manifest["judges"] == read_manifest(tmp_path)["judges"] == {"one": "2", "two": "1"}


def test_two_writers_cannot_share_a_folder(tmp_path: Path) -> None:
    code = "import sys; from holisafe.runs.folder import RunFolder; from pathlib import Path\n"
    code += f"with RunFolder(Path({str(tmp_path)!r}), {MANIFEST!r}):\n    print('in', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"in\n"
        with pytest.raises(InputError, match="another process is writing"), RunFolder(tmp_path, MANIFEST):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
    filled(tmp_path, response(1))  # a killed writer leaves no lock behind
    with RunFolder(tmp_path, MANIFEST), pytest.raises(InputError), RunFolder(tmp_path, MANIFEST):
        pass


@pytest.mark.parametrize("name", ["notes.txt", "samples.jsonl", ".git"])
def test_another_folder_is_not_taken_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="not empty and holds no run"), RunFolder(tmp_path, MANIFEST):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("left_over", [[], [".lock"], [".lock", "manifest.json.tmp"]])
def test_what_a_writer_killed_at_the_very_start_leaves_is_taken_over(tmp_path: Path, left_over: list[str]) -> None:
    for name in left_over:
        (tmp_path / name).write_text('{"sch')
    filled(tmp_path, response(1))
    assert read_manifest(tmp_path) == MANIFEST


def test_places_where_no_run_can_be_kept(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path, says in ((file, "is a file, not a run folder"), (file / "run", "cannot be written")):
        with pytest.raises(InputError, match=says), RunFolder(path, MANIFEST):
            pass


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_place(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="cannot be written"), RunFolder(tmp_path / "run", MANIFEST):
        pass


@pytest.mark.parametrize("manifest", ["", "[1]", '{"schema": 1', '"\\ud800'])
def test_a_broken_manifest_is_named(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=r"manifest\.json: not (a )?JSON"), RunFolder(tmp_path, MANIFEST):
        pass


def test_reading_what_is_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run folder"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="a folder"):
        read_json(tmp_path)
    assert read_records(tmp_path, Response) == {}


def test_a_short_write_raises_and_leaves_whole_lines(tmp_path: Path) -> None:
    """The operating system itself cuts the write short, at a file size limit: as on a full disk."""
    code = f"""
        import resource
        from pathlib import Path
        from holisafe.records import Response
        from holisafe.runs.folder import RunFolder
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with RunFolder(Path({str(tmp_path)!r}), {MANIFEST!r}) as run:
            for number in range(1000):
                run.append(Response(sample_id=str(number), target="toy", text="x" * 100))
                print(number, flush=True)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"OSError: [Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}: '{tmp_path}/responses.jsonl'" in done.stderr
    stored = [int(key) for key, _ in read_records(tmp_path, Response)]
    assert stored == [int(line) for line in done.stdout.split()]
    assert len(stored) > 5
    assert (tmp_path / "responses.jsonl").read_bytes().endswith(b"\n")


def test_a_full_disk_raises(tmp_path: Path) -> None:
    with RunFolder(tmp_path, MANIFEST) as run:
        os.dup2(os.open("/dev/full", os.O_WRONLY), run._files[Response]._file)
        with pytest.raises(OSError, match=r"No space left"):
            run.append(response(1))


def test_killed_while_writing_it_has_kept_all_that_was_stored(tmp_path: Path) -> None:
    code = f"""
        from pathlib import Path
        from holisafe.records import Response
        from holisafe.runs.folder import RunFolder
        with RunFolder(Path({str(tmp_path)!r}), {MANIFEST!r}) as run:
            for number in range(10**9):
                run.append(Response(sample_id=str(number), target="toy", text="x" * 3000))
                print(number, flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05)
        writer.kill()
        said = [0, *(int(line) for line in writer.stdout.read().split("\n")[:-1])]
    kept = [int(key) for key, _ in read_records(tmp_path, Response)]
    assert kept[: len(said)] == said
    assert len(kept) - len(said) <= 1  # the one stored but not yet told


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with path.open() as reader:
        write_json(path, {"a": 2})
        assert json.load(reader) == {"a": 1}  # who opened it before still reads the old one, whole
    assert json.loads(path.read_text()) == {"a": 2}


def test_provenance_names_versions_and_commit() -> None:
    found = provenance()
    assert found["packages"]["holisafe"] == "0.1.0"
    assert found["python"].startswith("3.")
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert (found["git_commit"] or "").removesuffix("-dirty") == head.stdout.strip()
