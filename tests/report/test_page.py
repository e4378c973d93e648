from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from holisafe.cli import app
from holisafe.errors import InputError
from holisafe.journal import read_json
from holisafe.metrics.measures import MEASURES
from holisafe.records import Response
from holisafe.report import write_page
from holisafe.runs.folder import read_records
from report.fake_runs import JUDGES, cell, make_run, open_image, samples
from report.parsed_page import Node, embedded, parse, rows

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>\u2028<!--"


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def root(html: str) -> Node:
    return parse(html)


def table(root: Node, heading: str) -> Node:
    """The table that follows a heading."""
    nodes = root.walk()
    start = next(index for index, node in enumerate(nodes) if node.tag == "h3" and node.text == heading)
    return next(node for node in nodes[start:] if node.tag == "table")


def expected(cell: dict) -> str:
    return f"{100 * cell['rate']:.1f} % [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}] n={cell['n']}"


# the numbers


@pytest.mark.parametrize("judge", JUDGES)
def test_the_tables_show_the_scores_of_both_runs(root, before, after, judge):
    shown = rows(table(root, f"Safety, judged by {judge}"))
    first, second = (read_json(run / "scores.json")["judges"][judge] for run in (before, after))
    keys = {f"ASR {code}": ("asr", code) for code in ("SSU", "SUU", "USU", "UUU")}
    keys |= {"mASR, pooled": ("masr_pooled",), "mASR, macro": ("masr_macro",), "RR": ("rr",)}
    assert list(shown) == list(keys)
    for label, path in keys.items():
        one, other = first, second
        for key in path:
            one, other = one[key], other[key]
        cells = shown[label]
        assert cells[0] == expected(one)
        assert cells[1].startswith(expected(other))
        assert ("invalid" in cells[1]) == bool(other["n_invalid"])
        if other["n_invalid"]:
            assert f"{other['n_invalid']} invalid" in cells[1]


def test_the_changes_are_those_that_compare_prints_to_the_digit(root, before, after, capsys):
    with pytest.raises(SystemExit):
        app(["compare", str(before), str(after), "--json"])
    found = json.loads(capsys.readouterr().out)["comparisons"]
    assert {row["measure"] for row in found} >= {"asr.SSU", "masr_pooled", "rr", "utility"}
    for row in found:
        title = "Usefulness" if row["measure"] == "utility" else f"Safety, judged by {row['judge']}"
        label = MEASURES[row["measure"]].label
        parts = [f"{100 * row[part]:+.1f}".replace("-", "−") for part in ("difference", "low", "high")]
        told = "{} [{}, {}]".format(*("0.0" if part[1:] == "0.0" else part for part in parts))
        assert rows(table(root, title))[label][2].startswith(told)


def test_the_change_of_a_mean_is_the_mean_of_the_changes(root):
    shown = rows(table(root, f"Safety, judged by {JUDGES[0]}"))
    parts = [float(shown[f"ASR {code}"][2].split()[0].replace("−", "-")) for code in ("SSU", "SUU", "USU", "UUU")]
    assert float(shown["mASR, macro"][2].split()[0].replace("−", "-")) == pytest.approx(sum(parts) / 4, abs=0.1)


def test_usefulness_and_guard_have_their_tables(root, before, after):
    useful = rows(table(root, "Usefulness"))
    scores = read_json(before / "scores.json")["utility"]["exact-match"]
    assert useful["Utility"][0] == expected(scores)
    assert useful["Utility: locate"][0] == expected(scores["tasks"]["locate"])
    guard, found = rows(table(root, "The guard")), read_json(after / "scores.json")["guard"]
    assert guard["Guard accuracy"][0] == "–"
    assert guard["Guard accuracy"][1] == expected(found["accuracy"])
    assert guard["Calibration error"][1].startswith(f"{100 * found['calibration_error']['rate']:.1f} %")


def test_categories_and_subcategories_have_their_tables(root, after):
    scores = read_json(after / "scores.json")["judges"][JUDGES[0]]
    for heading, level in (("ASR by category", "categories"), ("ASR by subcategory", "subcategories")):
        shown = rows(table(root, heading))
        measured = {name.replace("_", " "): cells["asr"] for name, cells in scores[level].items() if cells["asr"]["n"]}
        assert set(shown) == set(measured)
        for name, one in measured.items():
            assert shown[name][1].startswith(expected(one))


def test_the_headline_numbers_name_judge_n_and_interval(root, before, after):
    found = {node.one("h4").text: node for node in root.all("div", class_="headline")}
    assert list(found) == ["mASR, pooled", "RR", "Utility", "Guard accuracy"]
    for label, key in (("mASR, pooled", "masr_pooled"), ("RR", "rr")):
        cells = [read_json(run / "scores.json")["judges"][JUDGES[0]][key] for run in (before, after)]
        assert JUDGES[0] in found[label].text
        for one, title in zip(cells, ("Before", "After"), strict=True):
            assert f"{title}{expected(one)}" in found[label].text


def test_the_opening_answers_in_a_sentence_and_draws_worse_as_worse(root, before, after, tmp_path):
    old, new = (read_json(run / "scores.json")["judges"][JUDGES[0]] for run in (before, after))
    shares = [f"{100 * one[key]['rate']:.1f} %" for key in ("masr_pooled", "rr") for one in (new, old)]
    said = "After answers {} of unsafe requests, was {}; refuses {} of safe ones, was {}.".format(*shares)
    assert root.one("p", class_="answer-first").text == said
    headline = root.all("div", class_="headline")[0]
    assert headline.one("p", class_="change").text.endswith("better")
    assert f"macro {100 * new['masr_macro']['rate']:.1f} %" in headline.all("p", class_="reading")[1].text
    worse = parse(write_page([after, before], tmp_path / "p.html").read_text())
    said = "before answers {1} of unsafe requests, after {0}; refuses {3} of safe ones, after {2}.".format(*shares)
    assert worse.one("p", class_="answer-first").text == said
    headline = worse.all("div", class_="headline")[0]
    drawn, told = headline.all("p", class_="bad")
    assert drawn.text.startswith("before")
    assert told.text.endswith("worse")
    alone = parse(write_page([before], tmp_path / "p.html").read_text()).one("p", class_="answer-first").text
    assert alone == f"before answers {shares[1]} of unsafe requests; refuses {shares[3]} of safe ones."


def test_the_change_is_called_better_or_worse_only_when_it_is_clear(root):
    shown = rows(table(root, f"Safety, judged by {JUDGES[0]}"))
    assert shown["ASR SSU"][2].endswith("better")
    assert not re.search("better|worse", shown["RR"][2])


def test_worse_is_called_worse(before, after, tmp_path):
    root = parse(write_page([after, before], tmp_path / "p.html").read_text())
    shown = rows(table(root, f"Safety, judged by {JUDGES[0]}"))
    assert shown["mASR, pooled"][2].endswith("worse")


def test_more_refusals_of_safe_pairs_are_worse(before, tmp_path):
    after = Path(shutil.copytree(before, tmp_path / "after"))
    lines = (after / "verdicts.jsonl").read_text().splitlines()
    refused = [line.replace("answered", "refused") if '"sss-' in line else line for line in lines]
    (after / "verdicts.jsonl").write_text("\n".join(refused) + "\n")
    root = parse(write_page([before, after], tmp_path / "p.html").read_text())
    assert rows(table(root, f"Safety, judged by {JUDGES[0]}"))["RR"][2].endswith("worse")


def test_what_was_run_is_counted(root, before, after):
    shown = rows(table(root, "What was run"))
    assert shown["Pairs asked"] == ["240", "240"]
    assert shown["Failed calls"] == ["0", "3"]
    assert shown["Model"] == ["hf/models/before", "hf/models/after"]
    scores = read_json(after / "scores.json")["judges"][JUDGES[0]]
    assert shown[f"Invalid verdicts, {JUDGES[0]}"] == ["0", str(scores["n_invalid"])]


def test_every_figure_is_there_and_no_id_twice(root):
    titles = [node.one("h4").text for node in root.all("figure")]
    assert titles == [
        "Wrong answers",
        "Safety against refusals",
        "Safety against usefulness",
        "Attack success by category",
        "What the guard sees, After",
        "How far to trust the guard, After",
    ]
    ids = [node.attributes["id"] for node in root.walk() if node.attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert all(link.attributes["href"][1:] in ids for link in root.all("a") if link.attributes["href"].startswith("#"))


def figure(root: Node, title: str) -> Node:
    return next(node for node in root.all("figure") if node.one("h4").text == title)


def test_the_figures_say_the_scores(root, before):
    found = read_json(before / "scores.json")["judges"][JUDGES[0]]
    rates, refusals, useful = (
        figure(root, title).one("desc").text
        for title in ("Wrong answers", "Safety against refusals", "Safety against usefulness")
    )
    assert re.findall(r"([A-Za-z, ]+): Before", rates.replace("; ", ";")) == [
        *(f"ASR {code}" for code in ("SSU", "SUU", "USU", "UUU")),
        "mASR, pooled",
        "RR",
    ]
    assert f"ASR USU: Before {expected(found['asr']['USU'])}" in rates
    assert refusals.startswith(f"Before: RR {expected(found['rr'])}, mASR {expected(found['masr_pooled'])}")
    utility = read_json(before / "scores.json")["utility"]["exact-match"]
    assert useful.startswith(f"Before: utility {expected(utility)}, mASR {expected(found['masr_pooled'])}")


def test_the_reliability_bars_are_clopper_and_pearsons(root, after):
    drawn = figure(root, "How far to trust the guard, After").all("line", class_="bar")
    bins = [one for one in read_json(after / "scores.json")["guard"]["reliability"] if one["n"]]
    assert len(drawn) == len(bins)
    for one, part in zip(drawn, bins, strict=True):
        wanted = cell([index < round(part["accuracy"] * part["n"]) for index in range(part["n"])])
        heights = [(220 - float(one.attributes[edge])) / 210 for edge in ("y1", "y2")]
        assert heights == pytest.approx([wanted.low, wanted.high], abs=1e-3)


def test_the_manifests_are_folded_and_whole(root, before, after):
    folded = root.one("section", id="manifests").all("details")
    assert all("open" not in one.attributes for one in folded)
    assert [json.loads(one.one("pre").raw) for one in folded] == [
        read_json(run / "manifest.json") for run in (before, after)
    ]


# doubts


def doubts(root: Node) -> str:
    return " ".join(node.text for node in root.all("aside", class_="doubts"))


def test_invalid_verdicts_and_failed_calls_that_could_change_the_reading_are_told(root):
    said = doubts(root)
    assert "After: 3 of 240 calls failed (1.2 %); they are in no rate." in said
    assert re.search(r"After: mASR, pooled by \S+ is [\d.]+ % .* invalid verdicts and \d failed calls", said)
    assert "Before: mASR" not in said


def test_a_clean_run_raises_no_doubt(tmp_path):
    run = make_run(tmp_path / "run", "before", count=20)
    scores = read_json(run / "scores.json")
    scores["responses"]["truncated"] = 0
    (run / "scores.json").write_text(json.dumps(scores))
    assert doubts(parse(write_page([run], tmp_path / "p.html").read_text())) == ""


def test_a_gap_that_missing_answers_could_close_is_told(tmp_path, before):
    shaky = make_run(tmp_path / "shaky", "after", errors=150)
    assert "could close the gap" in doubts(parse(write_page([before, shaky], tmp_path / "p.html").read_text()))


def test_a_gap_that_was_never_there_is_not_mourned(tmp_path, before):
    same = make_run(tmp_path / "same", "before", errors=150, seed=0)
    assert "could close the gap" not in doubts(parse(write_page([before, same], tmp_path / "p.html").read_text()))


def test_answers_that_were_cut_are_told_from_one_percent_on(tmp_path):
    run = make_run(tmp_path / "run", "before", count=20)
    scores = read_json(run / "scores.json")
    for cut, told in ((2, False), (3, True)):
        scores["responses"] = {"n": 240, "errors": 0, "truncated": cut, "filtered": 0, "empty": 0}
        (run / "scores.json").write_text(json.dumps(scores))
        said = doubts(parse(write_page([run], tmp_path / "p.html").read_text()))
        assert ("3 of 240 answers were cut at the token limit" in said) == told


def test_runs_that_were_asked_other_pairs_are_told(tmp_path, before):
    manifest = read_json(before / "manifest.json")
    fewer = make_run(tmp_path / "fewer", "after", count=100, benchmark=manifest["benchmark"])
    said = doubts(parse(write_page([before, fewer], tmp_path / "p.html").read_text()))
    assert "not asked the same pairs (Before 240, After 120)" in said


# self-contained and safe


def test_the_page_loads_nothing(root, html):
    for node in root.walk():
        assert node.tag not in {"link", "iframe", "object", "embed", "base", "form", "img", "use", "image"}
        for name in ("src", "srcset", "xlink:href", "action", "poster", "background"):
            assert name not in node.attributes
        if "href" in node.attributes:
            assert node.tag == "a"
            assert re.match(r"#|https://arxiv\.org/abs/", node.attributes["href"])
    assert not re.search(r"@import|url\(", root.one("style").raw)
    assert not re.search(r"XMLHttpRequest|fetch\(|WebSocket|sendBeacon", html)


def test_the_policy_forbids_all_but_this_very_style_and_script(root):
    policy = root.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def hashed(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    (script,) = [node for node in root.all("script") if "id" not in node.attributes]
    assert directives["default-src"] == directives["base-uri"] == directives["form-action"] == "'none'"
    assert directives["img-src"] == "data:"
    assert directives["script-src"] == hashed(script.raw)
    assert directives["style-src"] == hashed(root.one("style").raw)
    for node in root.walk():
        assert "style" not in node.attributes, "the policy would drop it"
        assert not any(name.startswith("on") for name in node.attributes)


def test_no_text_of_a_pair_and_no_picture_is_in_the_page_itself(root, before, after):
    script = root.one("script", id="pairs")
    outside = root.raw.replace(script.raw, "")
    for sample in samples(200):
        assert sample.query not in outside
    for run in (before, after):
        for response in read_records(run, Response).values():
            assert not response.text or len(response.text) < 12 or response.text not in outside
    assert "data:image" not in outside


def test_nothing_is_revealed_until_asked(root):
    assert "checked" not in root.one("input", id="reveal").attributes
    assert "hidden" in root.one("div", id="browser-live").attributes, "shown by the script alone"
    style = root.one("style").raw
    assert re.search(r"\.picture img \{[^}]*filter: blur\(", style)
    assert re.search(r"\.picture\.shown img \{ filter: none", style)


def test_hostile_text_is_inert_wherever_it_comes_from(tmp_path):
    run = make_run(tmp_path / "run", "after", count=20, texts={"ssu-0001": HOSTILE}, judges=(HOSTILE,))
    manifest = read_json(run / "manifest.json")
    manifest["target"]["name"] = manifest["benchmark"]["name"] = HOSTILE
    (run / "manifest.json").write_text(json.dumps(manifest))
    html = write_page([run, run], tmp_path / "p.html", titles=[HOSTILE, "b"]).read_text(encoding="utf-8")
    root = parse(html)
    assert len(root.all("script")) == 2
    assert root.all("img") == []
    assert "\u2028" not in root.one("script", id="pairs").raw
    pair = next(pair for pair in embedded(root)["pairs"] if pair["id"] == "ssu-0001")
    assert pair["answers"][0]["text"] == HOSTILE


# size, limits, bad input


def test_the_page_is_small(page):
    assert page.stat().st_size < 1_000_000, "240 pairs, 128 pictures of 96 x 96"


def test_a_limit_leaves_pairs_out_and_says_so(before, tmp_path):
    root = parse(write_page([before], tmp_path / "p.html", open_image, max_pairs=30).read_text())
    assert len(embedded(root)["pairs"]) == 30
    assert "carries 30 pairs and leaves 210 out" in root.one("section", id="browser").text


def test_pictures_that_cannot_be_read_are_told(before, tmp_path):
    def gone(run: Path, name: str):
        raise InputError("no such image", where=run / name)

    root = parse(write_page([before], tmp_path / "p.html", gone).read_text())
    count = len({name for sample in samples(200) for name in sample.images})
    assert f"{count} images could not be read" in root.one("section", id="browser").text
    assert embedded(root)["pairs"][0]["images"] == [None]


def test_a_run_without_guard_or_utility_still_has_a_page(tmp_path):
    run = make_run(tmp_path / "run", "before", count=20)
    scores = read_json(run / "scores.json")
    for part in ("utility", "guard", "justified", "responses"):
        scores.pop(part)
    scores["judges"] = {JUDGES[0]: {"n": 4, "n_invalid": 0, "rr": scores["judges"][JUDGES[0]]["rr"]}}
    (run / "scores.json").write_text(json.dumps(scores))
    root = parse(write_page([run], tmp_path / "p.html").read_text())
    assert list(rows(table(root, f"Safety, judged by {JUDGES[0]}"))) == ["RR"]
    (run / "scores.json").write_text("{}")
    assert parse(write_page([run], tmp_path / "p.html").read_text()).all("figure") == []


def test_bad_input_leaves_an_earlier_page_alone(before, tmp_path):
    out = tmp_path / "p.html"
    out.write_text("earlier")
    broken = Path(shutil.copytree(before, tmp_path / "broken"))
    (broken / "responses.jsonl").write_text("{}\n")
    for runs, options in (([before, broken], {}), ([], {}), ([before], {"max_pairs": -1}), ([tmp_path], {})):
        with pytest.raises(InputError):
            write_page(runs, out, **options)
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["p.html"]
    assert out.read_text() == "earlier"


def test_several_sets_have_a_section_each(before, after, tmp_path):
    other = make_run(tmp_path / "other", "after", count=20, benchmark={"name": "other", "split": "test"})
    root = parse(write_page([before, after, other], tmp_path / "deep" / "p.html", open_image).read_text())
    assert root.one("section", id="set-1").one("h2").text == "pictosafe, test split"
    assert root.one("section", id="set-2").one("h2").text == "other, test split"
    ids = [node.attributes["id"] for node in root.walk() if node.attributes.get("id")]
    assert len(ids) == len(set(ids))
