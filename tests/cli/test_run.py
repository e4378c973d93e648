"""`holisafe run` as its users meet it: a process that may be stopped or killed, and is then started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from holisafe.records import Response, Verdict
from holisafe.runs.folder import FILES, read_manifest, read_records
from report.parsed_page import embedded, parse
from stored_run import contents
from toy_plugin import ANSWER, REFUSAL, environment, load_benchmark

HOLISAFE = [sys.executable, "-c", "from holisafe.cli import main; main()"]
TEST = load_benchmark(None).only("test").samples
AT_ONCE = 4


class Desk:
    """A folder with the toy plug-in installed, where `holisafe` is called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.calls, self.judgements = folder, folder / "calls.log", folder / "judgements.log"
        self.environment = environment(folder / "site")

    def command(self, out: str, *more: str, target: str = "toy/a", options: str = "") -> list[str]:
        asked = f"{target},log={self.calls},at_once={AT_ONCE}{options}"
        return [*HOLISAFE, "run", "toy", "--target", asked, "--judge", f"toy:{self.judgements}", "--out", out, *more]

    def run(self, out: str, *more: str, **options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(out, *more, **options),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment,
        )

    def start(self, out: str, *more: str, **options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(out, *more, **options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.environment,
        )

    def noted(self, log: Path, event: str, pid: int | None = None) -> list[str]:
        """The samples of one kind of event, in one process or in all."""
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [sample for kind, sample, who in lines if kind == event and pid in (None, int(who))]

    def contents(self, out: str) -> dict[str, Any]:
        return contents(self.folder / out)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with an undisturbed `run`."""
    desk = Desk(tmp_path_factory.mktemp("calm"))
    assert desk.run("run").returncode == 0
    return desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not happened() and process.poll() is None:
        time.sleep(0.001)


def test_a_run_from_end_to_end(desk: Desk) -> None:
    done = desk.run("run", "--judge", "string-match", "--judge", "exact-match")
    assert done.returncode == 0
    assert done.stderr == ""  # nobody watches, so no bar
    for part in ("ASR SSU", "mASR, pooled", "RR", "string-match:normalised", "exact-match", "n=12"):
        assert part in done.stdout
    assert done.stdout.splitlines()[-1] == "Everything is in run; next: holisafe report run"
    for hidden in (REFUSAL, ANSWER, "Query 1"):
        assert hidden not in done.stdout
    lines = (desk.folder / "run" / "responses.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["sample_id"] for line in lines) == Counter(
        s.id for s in TEST
    )  # the test split alone
    assert REFUSAL in {json.loads(line).get("text") for line in lines}
    page = subprocess.run(
        [*HOLISAFE, "report", "run"], capture_output=True, text=True, check=False, cwd=desk.folder, env=desk.environment
    )
    assert (page.returncode, page.stdout) == (0, "The report is run/report.html\n")
    pictures = embedded(parse((desk.folder / "run" / "report.html").read_text()))["pictures"]
    assert all(url.startswith("data:image/webp;base64,") for url in pictures)
    assert pictures


def test_the_options_reach_the_run(desk: Desk) -> None:
    options = ["--limit", "7", "--seed", "3", "--max-tokens", "9", "--system", "Take care.", "--split", "test"]
    assert desk.run("run", *options).returncode == 0
    manifest = read_manifest(desk.folder / "run")
    assert (manifest["limit"], manifest["seed"], manifest["benchmark"]["split"]) == (7, 3, "test")
    assert manifest["settings"] == {
        "max_new_tokens": 9,
        "temperature": 0.0,
        "seed": 3,
        "system": "Take care.",
        "reasoning_tokens": None,
        "reasoning": None,
    }
    assert len(read_records(desk.folder / "run", Response)) == 7
    other = desk.run("run", *options[2:], "--limit", "9")  # may grow
    assert other.returncode == 0
    assert len(desk.noted(desk.calls, "start")) == 9


def test_failed_calls_leave_with_3_and_are_tried_again(desk: Desk) -> None:
    first = desk.run("run", options=",fail=pair-1+pair-2")
    assert first.returncode == 3
    assert "2 calls failed and are in no rate; the same command tries them again." in first.stdout
    second = desk.run("run")
    assert second.returncode == 0
    assert sorted(desk.noted(desk.calls, "start")) == sorted([*(s.id for s in TEST), "pair-1", "pair-2"])


def test_another_run_in_the_same_folder_is_refused(desk: Desk) -> None:
    assert desk.run("run", "--limit", "5").returncode == 0
    before = {path.name: path.read_bytes() for path in (desk.folder / "run").iterdir()}
    done = desk.run("run", "--limit", "4", "--seed", "1", "--split", "train", target="toy/b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("holisafe: run: this run measured something else: ")
    assert done.stderr.count("\n") == 1
    for says in (
        "target.name was 'toy/a', is now 'toy/b'",
        "--seed was 0, is now 1",
        "--limit was 5, is now 4, and can only grow",
        "--split was 'test', is now 'train'",
        "another --out starts a new run",
    ):
        assert says in done.stderr
    assert {path.name: path.read_bytes() for path in (desk.folder / "run").iterdir()} == before
    assert len(desk.noted(desk.calls, "start")) == 5


def test_two_cannot_write_one_run(desk: Desk) -> None:
    with desk.start("run", options=",delay=0.05") as first:
        wait_until(lambda: bool(desk.noted(desk.calls, "start")), first)
        second = desk.run("run")
        assert first.poll() is None
        first.communicate()
    assert (second.returncode, second.stdout) == (2, "")
    assert second.stderr == "holisafe: run: another process is writing it\n"
    assert first.returncode == 0
    assert len(desk.noted(desk.calls, "start")) == len(TEST)


def test_ctrl_c_leaves_with_3_and_says_how_to_go_on(desk: Desk) -> None:
    with desk.start("run", options=",delay=0.02") as process:
        wait_until(lambda: len(desk.noted(desk.calls, "end")) > 5, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert process.returncode == 3
    assert out == ""
    first, _, last = err.strip("\n").partition("\n")
    assert first == "holisafe: finishing what is in flight; Ctrl-C again stops at once"
    assert last.startswith("holisafe: stopped after ")
    assert last.endswith("; the same command again goes on")
    stored = read_records(desk.folder / "run", Response)
    assert sorted(desk.noted(desk.calls, "start")) == sorted(
        name for name, _ in stored
    )  # nothing in flight was thrown away
    assert desk.run("run").returncode == 0
    assert sorted(desk.noted(desk.calls, "start")) == sorted(s.id for s in TEST)


def tear(path: Path, chance: random.Random) -> None:
    """Cut bytes off the last line, as a machine that lost its power might."""
    content = path.read_bytes()
    last_line = len(content) - (content[:-1].rfind(b"\n") + 1)
    if last_line:
        os.truncate(path, len(content) - chance.randint(1, last_line))


def kill(process: subprocess.Popen[str], when: Callable[[], bool]) -> bool:
    """kill -9 once something happened; whether the process was still running."""
    with process:
        wait_until(when, process)
        running = process.poll() is None
        process.kill()
    return running


def test_killed_anywhere_it_ends_with_the_records_of_an_undisturbed_run(desk: Desk, calm: Desk) -> None:
    """Twelve kills: seven while the target answers, three while the judge judges, two at any time."""
    chance, run, kills = random.Random(0), desk.folder / "run", 0
    for turn in range(12):
        answered, judged = ({key[-2] for key in read_records(run, kind)} for kind in (Response, Verdict))
        process = desk.start("run", options=",delay=0.01")
        log = desk.calls if turn < 7 else desk.judgements
        begun, moment = chance.randint(1, 6), time.monotonic() + chance.uniform(0.1, 1)
        calls_begun = partial(
            lambda log, begun, pid: len(desk.noted(log, "start", pid)) >= begun, log, begun, process.pid
        )
        time_has_come = partial(lambda moment: time.monotonic() > moment, moment)
        kills += kill(process, calls_begun if turn < 10 else time_has_come)
        if turn % 3 == 2:
            tear(run / FILES[Response if turn < 7 else Verdict], chance)
        may_be_lost = {Response: AT_ONCE + turn % 3 // 2, Verdict: 1 + turn % 3 // 2}
        for log, before, kind in ((desk.calls, answered, Response), (desk.judgements, judged, Verdict)):
            asked, ended = desk.noted(log, "start", process.pid), desk.noted(log, "end", process.pid)
            kept = {key[-2] for key in read_records(run, kind)}
            assert len(asked) == len(set(asked))
            assert before.isdisjoint(asked)  # what was on disk is never asked again
            assert (
                len(set(ended) - kept) <= may_be_lost[kind]
            )  # no more than was in flight, and the line torn on purpose
    assert kills >= 10
    assert desk.run("run").returncode == 0
    assert desk.contents("run") == calm.contents("run")


def test_killed_before_its_first_call(desk: Desk, calm: Desk) -> None:
    """What a kill may leave at the start, the samples half written: the same command takes it over."""
    run = desk.folder / "run"
    run.mkdir()
    for name in (".lock", "manifest.json", "samples.jsonl"):
        content = (calm.folder / "run" / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2] if name == "samples.jsonl" else content)
    assert desk.run("run").returncode == 0
    assert desk.contents("run") == calm.contents("run")
