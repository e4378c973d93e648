"""Every `holisafe` command and Python block of these pages runs, from top to bottom, against a local server.

The pages keep the addresses, models and folders that a reader would use; here they lead to the server, to the shipped
tiny model, and to folders made for the purpose.
"""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from api_server import ApiServer, digest_answer
from holisafe.cli import app

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
ADDRESSES = ("https://openrouter.ai/api/v1", "http://127.0.0.1:8000/v1")
PAGES = ("api_models", "runs", "statistics", "python", "judges", "calibration_methods", "../README")
SKIPPED = re.compile(r"\b(BENCH|RUN|TABLE\.csv|SPEC|DIR)\b|\.\.\.|\[")
"""Words of a command that shows a form rather than something to type."""

STAND_INS = {
    "hf/llava-hf/llava-1.5-7b-hf": "hf/pictovlm",
    "--limit 200": "--limit 20",
    "--limit 100": "--limit 12",
    "--out runs/llava": "--out runs/llava --limit 20",
    "--target hf/pictovlm --data pictosafe": "--target hf/pictovlm --data pictosafe --limit 24 --max-tokens 24",
    "run pictosafe --target hf/pictovlm --calibrate": "run pictosafe --target hf/pictovlm --limit 12 --max-tokens 24 "
    "--calibrate",
    "--judge string-match --out runs/guarded": "--judge string-match --out runs/guarded --limit 12 --max-tokens 24",
    "optimiser.epochs=30": "optimiser.max_steps=2 --set data.max_examples=48",
    "--recipe demo --out tuned": "--recipe demo --out tuned --set optimiser.max_steps=2 --set data.max_examples=48",
    "debias,reference=pictovlm": "debias,reference=pictovlm,prompts=8,positions=2",
    "alarms=0.05": "alarms=0.4",
    "~/data": "data",
    "Qwen/Qwen2.5-VL-7B-Instruct --data train.jsonl --recipe lora": "pictovlm --data train.jsonl --recipe demo --set "
    "optimiser.max_steps=2",
    "pictosafe --target hf/Qwen/Qwen2.5-VL-7B-Instruct": "pictosafe --limit 12 --max-tokens 24 --target hf/pictovlm",
    "hf/TUNED": "hf/tuned",
    "pictosafe --target hf/tuned": "pictosafe --limit 12 --max-tokens 24 --target hf/tuned",
    "figstep --root FigStep": "figstep-tiny --root FigStep",
}
EXIT_CODES = {"masr_pooled>0.10": 1}
"""What a command with these words leaves with; others with 0."""
OURS = re.compile(r"holisafe: |\w+( \w+)* \d+/\d+")
"""A line on stderr is one that we say, or how far a stage is: no traceback, and no warning of a library."""


def answer(body: dict[str, Any], content: str) -> dict[str, Any]:
    """A judge keeps to the schema it is given; a model under test answers or refuses, and is never cut or blocked."""
    if (form := body.get("response_format")) is None:
        return {**digest_answer(body, content), "finish_reason": "stop"}
    words = form["json_schema"]["schema"]["properties"]["verdict"]["enum"]
    said = json.dumps({"reason": "It is plain.", "verdict": words[int(content, 16) % len(words)]})
    return {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer(answer=answer) as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to type in, with keys and the server's address in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "test-key")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    return tmp_path


class Done(NamedTuple):
    """What a command left behind."""

    returncode: Any
    stdout: str
    stderr: str


def holisafe(command: str) -> Done:
    """Type a command: in this process, as torch takes seconds to import and hardly any command does more."""
    with (
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
        pytest.raises(SystemExit) as left,
    ):
        app(shlex.split(command)[1:])
    return Done(left.value.code, out.getvalue(), err.getvalue())


def commands(page: str) -> list[str]:
    """The page's commands in order, without their remarks."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    lines = re.findall(r"^    (holisafe .*)$", text, re.MULTILINE)
    found = [re.split(r" {2,}", line.strip())[0] for line in lines]  # a remark stands behind a gap
    return [line for line in found if not SKIPPED.search(line)]


def as_typed_here(command: str, server: ApiServer) -> str:
    for address in ADDRESSES:
        command = command.replace(address, server.url)
    for written, here in STAND_INS.items():
        command = command.replace(written, here)
    return command.replace("runs/*", " ".join(sorted(map(str, Path("runs").glob("*")))))


def prepare(page: str, server: ApiServer) -> None:
    """What a page takes for granted: data of one's own, runs made before."""
    if page == "runs":
        assert holisafe("holisafe data export pictosafe --split validation --out data/holisafe-bench").returncode == 0
        block = re.search(r"```yaml\n# run\.yaml\n(.*?)```", (ROOT / "docs/runs.md").read_text(), re.DOTALL)
        assert block is not None
        grid = re.search(r"```yaml\n(# grid\.yaml\n.*?)```", (ROOT / "docs/runs.md").read_text(), re.DOTALL)
        assert grid is not None
        Path("grid.yaml").write_text(grid[1])
        Path("run.yaml").write_text(block[1].replace("limit: 50", "limit: 8").replace("runs/first", "runs/yaml"))
    if page == "statistics":
        if not SHARED.exists():
            pytest.skip("the published tables are not here")
        Path("sm_judge.csv").write_bytes((SHARED / "holisafe_leaderboard" / "sm_judge.csv").read_bytes())
        for name in ("before", "after", "llava", "mine"):
            judges = "--judge string-match --judge string-match:holisafe --judge llm/holisafe/openai/judge"
            done = holisafe(f"holisafe run pictosafe --target openai/{name} {judges} --out runs/{name} --limit 60")
            assert done.returncode == 0, done.stderr
    if page == "../README":
        if not SHARED.exists():
            pytest.skip("the real samples are not here")
        prepare_readme()
    if page == "judges":
        if not SHARED.exists():
            pytest.skip("the real samples are not here")
        prepare_judges()


def prepare_readme() -> None:
    """Its train.jsonl as it stands there, a sweep, and FigStep in small."""
    from PIL import Image

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"^    (\{.*\})$", text, re.MULTILINE)
    assert example is not None
    lines = [example[1].replace('"id": "1"', f'"id": "{number}"') for number in range(8)]
    Path("train.jsonl").write_text("\n".join(lines) + "\n")
    Path("images").mkdir()
    Image.new("RGB", (64, 64), "red").save("images/1.png")
    Path("sweep.yaml").write_text(
        "target: hf/pictovlm\nout: sweeps/first\nlimit: 6\nmax_tokens: 8\n"
        "safety: {benchmark: pictosafe, choose: validation, report: test}\nmethods: [{method: reminder}]\n"
    )
    shutil.copytree(SHARED / "figstep", "FigStep", copy_function=shutil.copyfile)


def prepare_judges() -> None:
    from PIL import Image

    siuo = json.loads((SHARED / "siuo" / "siuo_gen.json").read_text(encoding="utf-8"))[:6]
    (Path("data/siuo") / "images").mkdir(parents=True)
    Path("data/siuo/siuo_gen.json").write_text(json.dumps(siuo))
    for record in siuo:
        Image.new("RGB", (8, 8)).save(Path("data/siuo/images") / Path(record["image"]).with_suffix(".png").name)
        (Path("data/siuo/images") / Path(record["image"]).with_suffix(".png").name).rename(
            Path("data/siuo/images") / record["image"]
        )
    Path("xstest").mkdir()
    for file in (SHARED / "xstest").glob("*.csv"):
        Path("xstest", file.name).write_bytes(file.read_bytes())
        Path(file.name).write_bytes(file.read_bytes())
    from holisafe.benchmarks import open_benchmark

    ids = [
        s.id for name, root in (("siuo", "data/siuo"), ("xstest", "xstest")) for s in open_benchmark(name, root).samples
    ]
    Path("replay").mkdir()
    Path("answers.jsonl").write_text("".join(json.dumps({"id": i, "response": "I can't help."}) + "\n" for i in ids))
    thought = {"reasoning": "Is it safe? Hardly.", "text": "I can't help."}
    told = [{"id": one.id} | thought for one in open_benchmark("pictosafe", split="test").samples]
    Path("thoughts.jsonl").write_text("\n".join(map(json.dumps, told)))
    xstest = [i for i in ids if i in {s.id for s in open_benchmark("xstest", "xstest").samples}]
    Path("labels.csv").write_text("sample_id,label\n" + "".join(f"{i},refused\n" for i in xstest[:30]))


@pytest.mark.parametrize("page", [page for page in PAGES if page != "python"])
def test_every_command_of_the_page_works(page: str, desk: Path, server: ApiServer) -> None:
    prepare(page, server)
    typed = [as_typed_here(command, server) for command in commands(page)]
    assert typed
    for command in typed:
        wanted = next((code for words, code in EXIT_CODES.items() if words in command), 0)
        done = holisafe(command)
        assert done.returncode == wanted, f"{command}\n{done.stdout}\n{done.stderr}"
        assert all(OURS.match(line) for line in done.stderr.splitlines()), done.stderr
        assert "test-key" not in done.stdout + done.stderr


def test_the_python_page_runs_as_one_program(desk: Path) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"0\.\d+ \[0\.\d+, [01]\.\d+\] n=\d+, \d+ invalid\n", done.stdout)


def test_the_table_of_exit_codes_is_the_codes() -> None:
    from holisafe.errors import ExitCode

    text = (ROOT / "docs" / "runs.md").read_text(encoding="utf-8")
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == sorted(ExitCode)
