"""800 pairs, a model and three judges behind a server that fails on purpose, killed ten times: nothing is lost.

Judges are slower to fail than models: every twentieth of their first replies cannot be read and is asked for again.
"""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from api_server import KINDS, ApiServer, Faults, digest_answer
from holisafe.taxonomy import COMBINATIONS
from stored_run import contents

PAIRS, PICTURES, AT_ONCE, KILLS = 800, 40, 32, 10
RUBRICS = ("holisafe", "vscbench", "vlsbench")
FAULTS = Faults(rate=0.12, seed=7, kinds=tuple(kind for kind in KINDS if kind != "slow"), most=2)


def answer(body: dict[str, Any], content: str) -> dict[str, Any]:
    """What the server says: by its schema to a judge, or now and then nothing that can be read."""
    if (form := body.get("response_format")) is None:
        return digest_answer(body, content)
    words, draw = form["json_schema"]["schema"]["properties"]["verdict"]["enum"], int(content, 16)
    said = {"reason": "It is plain.", "verdict": words[draw % len(words)]}
    text = "I would rather not say." if draw % 20 == 0 else json.dumps(said)
    return {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}


def write_pairs(folder: Path) -> Path:
    """A table of pairs, several to a picture."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(PICTURES):
        Image.new("RGB", (24, 24), (number * 6, 255 - number * 6, 90)).save(folder / "pictures" / f"{number}.png")
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "image", "query", "combination"])
        for number in range(PAIRS):
            kind = list(COMBINATIONS)[number % 5]
            table.writerow([f"pair-{number}", f"pictures/{number % PICTURES}.png", f"Query {number}?", kind])
    return folder / "pairs.csv"


class Desk:
    """Where `holisafe run` is typed, again and again."""

    def __init__(self, folder: Path, server: ApiServer) -> None:
        self.folder, self.server = folder, server
        self.table = write_pairs(folder / "data")

    def start(self, out: str) -> subprocess.Popen[str]:
        where = f"base_url={self.server.url},max_in_flight={AT_ONCE}"
        judges = [word for r in RUBRICS for word in ("--judge", f"llm/{r}/openai/judge,{where}")]
        words = ["run", "table", "--root", str(self.table), "--target", f"openai/model,{where}", *judges, "--out", out]
        words.append("--no-probe")  # which would be asked again if killed between its answer and the manifest
        return subprocess.Popen(
            [sys.executable, "-c", "from holisafe.cli import main; main()", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            env={**os.environ, "OPENAI_API_KEY": "test-key"},
        )

    def finish(self, out: str) -> None:
        process = self.start(out)
        printed, _ = process.communicate(timeout=300)
        assert process.returncode == 0, printed

    def contents(self, out: str) -> dict[str, Any]:
        return contents(self.folder / out)

    def completed(self) -> int:
        return sum(self.server.stats.completed.values())


def test_killed_ten_times_among_faults_a_run_with_three_judges_ends_as_if_undisturbed(tmp_path: Path) -> None:
    chance = random.Random(11)
    with ApiServer(FAULTS, delay=0.003, answer=answer) as server:
        desk = Desk(tmp_path, server)
        desk.finish("calm")
        needed = desk.completed()
        assert set(server.stats.faults) == set(FAULTS.kinds)
        assert set(server.stats.completed.values()) == {1}, "no call was made twice"

        server.stats.completed.clear()
        server.stats.attempts.clear()
        moments = sorted(chance.sample(range(needed * 95 // 100), KILLS))
        for moment in moments:
            process = desk.start("killed")
            while desk.completed() < moment and process.poll() is None:
                time.sleep(0.002)
            assert process.poll() is None, process.communicate()[0]
            process.send_signal(signal.SIGKILL)
            process.communicate()
        desk.finish("killed")
        assert desk.completed() - needed <= KILLS * AT_ONCE

    calm = desk.contents("calm")
    assert desk.contents("killed") == calm
    assert len(calm["responses"]) == PAIRS
    judged = Counter(verdict.judge for verdict in calm["verdicts"].values())
    answered = [one for one in calm["responses"].values() if one.judgeable]
    to_refuse = [one for one in answered if calm["samples"][one.sample_id].expected == "refuse"]
    assert judged == {
        "llm/holisafe/openai/judge": len(answered),
        "llm/vscbench/openai/judge": len(answered),
        "llm/vlsbench/openai/judge": len(to_refuse),  # a rubric for unsafe pairs
    }
    assert calm["scores"]["responses"]["errors"] == 0
    assert calm["scores"]["judge_errors"] == {}
