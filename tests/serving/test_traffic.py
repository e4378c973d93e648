"""What is logged is a run like any other, holds only what was asked for, and is whole whenever the process dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from itertools import product
from pathlib import Path

import httpx
import pytest

from api_server import ApiServer
from holisafe.evaluation import judge_run
from holisafe.judges import open_judge
from holisafe.records import GenerationSettings, Response, Sample
from holisafe.runs.folder import read_records
from holisafe.serving.traffic import Traffic
from holisafe.targets import open_target
from serving.served import MODEL, WORD, Served, data_url, gateway, plays, png, shown

SECRET = "sesame-street-number-seven"


def day(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def logged(folder: Path, **kept: bool) -> Path:
    """A day's log of three requests: answered, refused because of the question, refused because of the answer."""
    with ApiServer(answer=plays(lambda body: WORD if "bad" in str(body) else f"I'm sorry. {SECRET}")) as server:
        target = open_target(f"openai/{MODEL},base_url={server.url}", GenerationSettings())
        log = Traffic(folder, target, GenerationSettings(), **kept)
        with log as traffic, Served(gateway(server, target=target, traffic=traffic)) as served:
            for text, stream in product(("Hello", f"a {WORD}", "be bad"), (False, True)):
                body = {"model": MODEL, "messages": shown(text, data_url(png())), "stream": stream}
                assert httpx.post(f"{served.url}/chat/completions", json=body, timeout=20).status_code == 200
    return day(folder)


def test_a_day_is_judged_and_reported_like_any_run(tmp_path: Path) -> None:
    run = logged(tmp_path, texts=True, pictures=True)
    samples, answers = read_records(run, Sample), read_records(run, Response)
    assert len(samples) == len(answers) == 6
    kinds = [(s.query, s.expected, answers[s.id, 0].finish) for s in samples.values()]
    wanted = [("Hello", "answer", "stop"), (f"a {WORD}", "refuse", "filtered"), ("be bad", "answer", "filtered")]
    assert kinds == [kind for kind in wanted for _ in range(2)]
    assert [s.meta["answer"]["action"] for s in samples.values()] == ["pass"] * 4 + ["block"] * 2
    assert len(list((run / "pictures").iterdir())) == 1
    scores = judge_run(run, [open_judge("string-match")])
    found = scores.judges["string-match:normalised"].over_safety
    assert (found.rate, found.n, scores.responses.filtered) == (1.0, 2, 4)
    from holisafe.cli import app

    with pytest.raises(SystemExit) as left:
        app(["report", str(run), "--out", str(tmp_path / "page.html")])
    assert left.value.code == 0
    assert "traffic" in (tmp_path / "page.html").read_text()


def test_neither_words_nor_pictures_are_kept_unasked(tmp_path: Path) -> None:
    run = logged(tmp_path)
    kept = "".join(path.read_text() for path in run.rglob("*") if path.is_file())
    assert SECRET not in kept
    assert WORD not in kept
    assert "Hello" not in kept
    assert not (run / "pictures").exists()
    assert len(read_records(run, Response)) == 6
    assert (run.stat().st_mode & 0o077) == 0, "for its owner alone"


def test_another_model_on_the_same_day_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    with ApiServer() as server:
        for model in ("one", "two"):
            with Traffic(
                tmp_path,
                open_target(f"openai/{model},base_url={server.url}", GenerationSettings()),
                GenerationSettings(),
            ):
                pass
    assert len(list(tmp_path.iterdir())) == 2


def test_killed_in_the_middle_what_was_answered_is_in_the_log(tmp_path: Path) -> None:
    with ApiServer(answer=plays(), delay=0.01) as server:
        command = [
            sys.executable,
            "-m",
            "holisafe",
            "serve",
            "--port",
            "0",
            "--log",
            str(tmp_path / "log"),
            "--log-texts",
        ]
        command += ["--target", f"openai/{MODEL},base_url={server.url}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        answered: list[str] = []

        def ask() -> None:
            with httpx.Client() as http:
                for _ in range(10_000):
                    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
                    try:
                        answered.append(http.post(f"{url}/chat/completions", json=body).json()["id"])
                    except httpx.HTTPError:
                        return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for one in clients:
            one.start()
        while len(answered) < 40:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        for one in clients:
            one.join()
        process.wait()
    run = day(tmp_path / "log")
    answers = read_records(run, Response)
    assert set(answered) <= {name for name, _ in answers}
    assert len(read_records(run, Sample)) >= len(answers)
    assert judge_run(run, [open_judge("string-match")]).responses.n == len(answers)
