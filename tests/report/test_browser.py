"""The page's script in a real browser, where one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from holisafe.report import write_page
from report.fake_runs import make_run, open_image, samples
from report.parsed_page import Node, embedded, parse

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
)

WHEN_THERE = """
const ready = setInterval(() => {
  if (document.getElementById("browser-live").hidden) return;
  clearInterval(ready);
  ACT
}, 20);
"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

HOSTILE = "<img src=x onerror=\"document.title='taken'\"></script><script>document.title='taken'</script>\u2028"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs, in which one answer tries to break out."""
    folder = tmp_path_factory.mktemp("hostile")
    first = make_run(folder / "before", "before", count=60)
    second = make_run(folder / "after", "after", count=60, invalid=0.1, errors=2, texts={"ssu-0001": HOSTILE})
    return write_page([first, second], folder / "p.html", open_image)


def opened(page: Path, tmp_path: Path, act: str = "") -> Node:
    """The page as the browser holds it after running `act` in it, for which the policy is taken out.

    Time is virtual: ten seconds of waiting inside the page pass at once.
    """
    html = page.read_text(encoding="utf-8")
    if act:
        html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
        html = html.replace("</body>", f"<script>{WHEN_THERE.replace('ACT', act)}</script></body>")
    copy = tmp_path / "opened.html"
    copy.write_text(html, encoding="utf-8")
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", copy.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return parse(shown)


def cards(root: Node) -> list[Node]:
    return root.one("div", id="cards").all("article")


def test_pairs_are_listed_blurred_and_folded(hostile, tmp_path):
    root = opened(hostile, tmp_path)
    assert "hidden" not in root.one("div", id="browser-live").attributes
    assert len(cards(root)) == 20
    for card in cards(root):
        assert card.all("button", class_="shown") == []
        for words in card.all("p", class_="words-of"):
            assert words.raw == ""
            assert "hidden" in words.attributes
    assert root.one("p", id="tally").text == "72 of 72 pairs match; page 1 of 4."
    assert [card.one("a", class_="id").text for card in cards(root)] == [one.id for one in samples(60)[:20]]


def test_revealed_text_is_text(hostile, tmp_path):
    act = "document.getElementById('reveal').click();"
    root = opened(hostile, tmp_path, act)
    assert root.one("head").one("title").text != "taken"
    card = next(card for card in cards(root) if card.one("a", class_="id").text == "ssu-0001")
    assert HOSTILE in [words.raw for words in card.all("p", class_="words-of")]
    assert len(card.all("img")) == 1
    assert all(card.all("button", class_="shown") for card in cards(root))


def test_one_card_is_revealed_alone(hostile, tmp_path):
    act = "document.querySelectorAll('#cards article')[1].querySelector('.tags button').click();"
    first, second, *_ = cards(opened(hostile, tmp_path, act))
    assert first.all("button", class_="shown") == []
    assert len(second.all("button", class_="shown")) == 1
    assert all(words.raw for words in second.all("p", class_="words-of"))


FILTERS = {
    "by-combination = SSU": lambda pair, adherences: pair["combination"] == "SSU",
    "by-category = violence": lambda pair, adherences: pair["category"] == "violence",
    "by-outcome = wrong": lambda pair, adherences: any(False in run.values() for run in adherences),
    "by-outcome = invalid": lambda pair, adherences: any(None in run.values() for run in adherences),
    "by-outcome = right": lambda pair, adherences: all(
        run and all(value is True for value in run.values()) for run in adherences
    ),
    "by-outcome = failed": lambda pair, adherences: any(answer["finish"] == "error" for answer in pair["answers"]),
    "by-outcome = wrong, by-run = After": lambda pair, adherences: False in adherences[1].values(),
    "by-outcome = wrong, by-judge = string-match:holisafe": lambda pair, adherences: any(
        run.get("string-match:holisafe") is False for run in adherences
    ),
    "by-search = PICTURE 7)": lambda pair, adherences: "picture" in pair["query"] and "7)" in pair["query"],
    "by-changed": lambda pair, adherences: any(
        judge in adherences[1] and value != adherences[1][judge] for judge, value in adherences[0].items()
    ),
}


TURNS = """
const pause = () => new Promise((go) => setTimeout(go, 300)), noted = [], byId = (id) => document.getElementById(id);
const named = (place) => place.querySelector("a.id")?.textContent ?? null;
const note = () => noted.push([byId("tally").textContent, location.hash, named(byId("cards")),
  named(document.activeElement.closest("article") ?? document.createElement("p"))]);
const press = (key) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const choose = (id, value) => { byId(id).value = value; byId(id).dispatchEvent(new Event("change")); };
(async () => {
  await pause(); note();
  press("j"); note();
  for (let n = 0; n < 20; n += 1) press("j");
  note();
  press("k"); note();
  choose("by-combination", "SSU"); note();
  location.hash = "#pair=0/sss-0055"; await pause(); note();
  byId("reset").click(); note();
  choose("by-order", "wrong"); note();
  byId("next").click(); note();
  const button = document.querySelector("#cards button.picture"), large = byId("large");
  button.click(); noted.push(large.open);
  button.click(); noted.push(large.open, large.querySelector("img").src === button.querySelector("img").src);
  byId("blur").click(); noted.push(large.open, button.classList.contains("shown"));
  document.title = JSON.stringify(noted);
})();
"""


def test_pages_keys_links_orders_and_enlarged_pictures(hostile, tmp_path):
    root = opened(hostile, tmp_path, TURNS)
    start, one, turned, back, only, linked, reset, wrong, further, *enlarged = json.loads(
        root.one("head").one("title").text
    )
    pairs = embedded(parse(hostile.read_text(encoding="utf-8")))["pairs"]
    ids = [pair["id"] for pair in pairs]
    assert start == ["72 of 72 pairs match; page 1 of 4.", "", ids[0], None]
    assert one[1:] == [f"#pair=0/{ids[0]}", ids[0], ids[0]]
    assert turned == ["72 of 72 pairs match; page 2 of 4.", f"#pair=0/{ids[20]}", ids[20], ids[20]]
    assert back == ["72 of 72 pairs match; page 1 of 4.", f"#pair=0/{ids[19]}", ids[0], ids[19]]
    assert only[0] == "12 of 72 pairs match; page 1 of 1."
    assert linked == ["72 of 72 pairs match; page 3 of 4.", "#pair=0/sss-0055", ids[40], "sss-0055"], "filters give way"
    assert reset[0] == start[0]
    weight = {
        pair["id"]: sum(
            1 + n for n, a in enumerate(pair["answers"]) if any(v["adheres"] is False for v in a["verdicts"])
        )
        for pair in pairs
    }
    order = sorted(ids, key=lambda name: -weight[name])
    assert (wrong[2], further[2]) == (order[0], order[20])
    assert enlarged == [False, True, True, False, False]


ACT = """
const steps = STEPS, noted = [];
const pause = () => new Promise((go) => setTimeout(go, 200));
const set = (id, value) => {
  const control = document.getElementById(id);
  if (control.type === "checkbox") control.checked = value !== null;
  else control.value = value || "";
  control.dispatchEvent(new Event(control.type === "search" ? "input" : "change"));
};
(async () => {
  for (const step of steps) {
    step.forEach(([id, value]) => set(id, value));
    await pause();
    noted.push(document.getElementById("tally").textContent);
    step.forEach(([id]) => set(id, null));
  }
  document.title = noted.join("|");
})();
"""


def test_every_filter_keeps_what_it_says(hostile, tmp_path):
    """All filters in one visit: each sets its controls, notes the tally, and clears them again."""
    steps = [[part.split(" = ") if " = " in part else [part, ""] for part in name.split(", ")] for name in FILTERS]
    root = opened(hostile, tmp_path, ACT.replace("STEPS", json.dumps(steps)))
    noted = root.one("head").one("title").text.split("|")
    pairs = embedded(parse(hostile.read_text(encoding="utf-8")))["pairs"]
    for (name, keeps), said in zip(FILTERS.items(), noted, strict=True):
        expected = 0
        for pair in pairs:
            adherences = [{v["judge"]: v["adheres"] for v in answer["verdicts"]} for answer in pair["answers"]]
            expected += bool(keeps(pair, adherences))
        assert said.startswith(f"{expected} of 72 pairs"), name
        assert 0 < expected < 72, name
