from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from holisafe.cli import app
from report.parsed_page import embedded, parse


@pytest.mark.filterwarnings("ignore::holisafe.errors.Notice")
@pytest.mark.parametrize("change", ["picture", "row", None])
def test_only_what_the_model_was_asked_about_is_shown(tmp_path: Path, change: str | None) -> None:
    """A benchmark that was edited since has no pictures on the page, and the page says so in one sentence."""
    bench = tmp_path / "bench"
    bench.mkdir()
    Image.new("RGB", (9, 9), "red").save(bench / "a.png")
    (bench / "t.csv").write_text("id,image,query,combination\na,a.png,What is this?,SSU\n")
    (tmp_path / "r.jsonl").write_text(json.dumps({"id": "a", "response": "I'm sorry, I can't help with that."}) + "\n")

    def holisafe(*args: str | Path) -> None:
        with pytest.raises(SystemExit) as left:
            app([str(arg) for arg in args])
        assert not left.value.code

    run = tmp_path / "run"
    target = f"replay/{tmp_path / 'r.jsonl'}"
    holisafe("run", "table", "--root", bench / "t.csv", "--target", target, "--judge", "string-match", "--out", run)
    if change == "picture":
        Image.new("RGB", (9, 9), "blue").save(bench / "a.png")
    if change == "row":
        (bench / "t.csv").write_text("id,image,query,combination\na,a.png,Another question?,SSU\n")
    holisafe("report", run, "--out", tmp_path / "p.html")
    root = parse((tmp_path / "p.html").read_text())
    assert len(embedded(root)["pictures"]) == (change is None)
    said = "The benchmark is not what the model was asked about any more"
    assert (said in root.one("section", id="browser").text) == (change is not None)
