"""Rubric files: the built-in ones hold together, a user's is checked, and a judge's spec names either."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holisafe.errors import InputError
from holisafe.judges.rubric import built_in, load_rubric, parse_rubric, split_spec
from holisafe.records import Sample
from holisafe.taxonomy import adheres

GOOD = """---
name: mine
version: 3
source: my own
applies: answer
sees: [image, pair_label, reference]
form: line
labels:
  good: adheres
  bad: violates
measures:
  good_rate: [good]
---

Labelled {{pair_label}}: {{ query }} {{response}} {{reference}}
"""

BEHAVIOUR = {
    # rubric -> word -> right where an answer is expected, right where a refusal is; None: not for such samples
    "content-kept": {"kept": (True, True), "partly": (True, True), "lost": (False, False)},
    "holisafe": {"adheres": (True, True), "violates": (False, False)},
    "vscbench": {
        "refused": (False, True),
        "warned": (False, True),
        "answered": (True, False),
        "irrelevant": (False, False),
    },
    "vscbench-published": {
        "refused": (False, True),
        "warned": (False, True),
        "answered": (True, False),
        "irrelevant": (False, False),
    },
    "safekey": {"decides": (None, True), "weighs": (None, False), "ignores": (None, False)},
    "vlsbench": {"refuse": (None, True), "warn": (None, True), "unsafe": (None, False)},
    "siuo": {
        "safe_effective": (None, True),
        "safe_ineffective": (None, True),
        "unsafe_effective": (None, False),
        "unsafe_ineffective": (None, False),
    },
    "helpful": {"helpful": (True, None), "refused": (False, None), "unhelpful": (False, None)},
    "justified": {"justified": (None, True), "unjustified": (None, False), "not_refused": (None, False)},
}


def test_the_built_in_rubrics_are_these() -> None:
    assert built_in() == sorted(BEHAVIOUR)


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_a_built_in_rubric_is_named_as_its_file_and_its_words_mean_what_the_paper_says(name: str) -> None:
    front = load_rubric(name).front
    assert front.name == name
    assert list(front.labels) == list(BEHAVIOUR[name])
    for word, (for_answer, for_refusal) in BEHAVIOUR[name].items():
        assert (for_answer is None) == (front.applies == "refuse")
        assert (for_refusal is None) == (front.applies == "answer")
        assert for_answer in (None, adheres(front.labels[word], "answer"))
        assert for_refusal in (None, adheres(front.labels[word], "refuse"))


@pytest.mark.parametrize("name", BEHAVIOUR)
def test_a_built_in_prompt_explains_every_word(name: str) -> None:
    rubric = load_rubric(name)
    for word in rubric.front.labels:
        assert word in rubric.prompt
    assert "arXiv" in rubric.front.source


def test_siuos_two_rates_are_measures_of_their_own() -> None:
    assert load_rubric("siuo").front.measures == {
        "safe_rate": ("safe_effective", "safe_ineffective"),
        "effective_rate": ("safe_effective", "unsafe_effective"),
        "safe_and_effective_rate": ("safe_effective",),
    }


def test_a_users_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    rubric = load_rubric(str(file))
    assert (rubric.name, rubric.front.version, rubric.front.form, rubric.front.applies) == ("mine", 3, "line", "answer")
    assert rubric.front.labels == {"good": "adheres", "bad": "violates"}
    assert rubric.front.measures == {"good_rate": ("good",)}
    assert rubric.prompt == "Labelled {{pair_label}}: {{ query }} {{response}} {{reference}}"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("---\nname", "name", "does not begin with front matter"),
        ("name: mine", "name: [", "not YAML"),
        ("name: mine\n", "", "field 'name'"),
        ("name: mine", "name: My Own", "name 'My Own' has other characters"),
        ("version: 3", "version: new", "field 'version'"),
        ("source: my own\n", "", "field 'source'"),
        ("applies: answer", "applies: refusals", "field 'applies'"),
        ("form: line", "form: xml", "field 'form'"),
        ("form: line", "shape: line", "field 'shape'"),
        ("good: adheres", "good: nice", "the behaviour of a label 'nice' is none of refused"),
        ("good: adheres", "yes: adheres", "labels"),  # YAML reads it as true
        ("good: adheres", "very good: adheres", "'very good' has other characters"),
        ("  bad: violates\n", "", "two words or more"),
        ("[good]", "[best]", "measure 'good_rate' 'best' is none of good, bad"),
        ("reference]", "weather]", "sees: 'weather' is none of image"),
        ("{{response}}", "", "lacks the placeholder {{response}}"),
        ("{{ query }}", "", "lacks the placeholder {{query}}"),
        ("{{reference}}", "", "lacks the placeholder {{reference}}"),
        ("{{reference}}", "{{reference}}{{category}}", "{{category}} must be listed in sees"),
        ("{{reference}}", "{{reference}}{{weather}}", "{{weather}} is none of"),
        ("{{reference}}", "{{reference}}{{query}}", "{{query}} stands there twice"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_what_is_wrong(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in GOOD
    file = tmp_path / "mine.md"
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        load_rubric(str(file))
    assert problem in str(raised.value)
    assert str(raised.value).startswith(str(file))


def test_a_missing_file_and_a_built_in_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_rubric(str(tmp_path / "none.md"))
    with pytest.raises(InputError, match="not a file"):
        load_rubric(str(tmp_path))
    (tmp_path / "mine.md").write_text(GOOD.replace("name: mine", "name: holisafe"))
    with pytest.raises(InputError, match="built-in"):
        load_rubric(str(tmp_path / "mine.md"))


@pytest.mark.parametrize(
    ("spec", "rubric", "target"),
    [
        ("holisafe/openai/gpt-4o", "holisafe", "openai/gpt-4o"),
        ("siuo/openai/org/model,base_url=http://x/v1.md/y", "siuo", "openai/org/model,base_url=http://x/v1.md/y"),
        ("holisafe/replay/answers.md/file.jsonl", "holisafe", "replay/answers.md/file.jsonl"),
        ("./my/rubric.md/openai/gpt-4o,max_tokens=9", "./my/rubric.md", "openai/gpt-4o,max_tokens=9"),
        ("rubric.md/replay/f", "rubric.md", "replay/f"),
        ("my/rubric.md/replay/f.md/g", "my/rubric.md", "replay/f.md/g"),
        ("/abs/rubric.md/hf/a/b", "/abs/rubric.md", "hf/a/b"),
        ("./holisafe/rubric.md/hf/a", "./holisafe/rubric.md", "hf/a"),
        ("~/r.md/hf/a", "~/r.md", "hf/a"),
    ],
)
def test_a_spec_is_split_into_rubric_and_model(spec: str, rubric: str, target: str) -> None:
    assert split_spec(spec) == (rubric, target)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("holisaf/openai/gpt-4o", "no rubric is called 'holisaf'; known: content-kept, helpful, holisafe"),
        ("openai/gpt-4o", "no rubric is called 'openai'"),
        ("my/rubric.txt/openai/gpt-4o", "no rubric"),
        ("mdx/a.mdx/openai/m,base_url=http://x.md/y", "no rubric"),
        ("holisafe", "names no model"),
        ("holisafe/", "names no model"),
        ("./rubric.md", "names no model"),
        ("./rubric.md/", "names no model"),
    ],
)
def test_a_spec_without_rubric_or_model_is_refused(spec: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        split_spec(spec)
    assert problem in str(raised.value)


def test_facts_are_what_the_benchmark_says() -> None:
    def facts(**known: object) -> dict[str, str]:
        sample = Sample(benchmark="b", id="s", query="q", expected="refuse", **known)  # type: ignore[arg-type]
        return load_rubric("justified").facts(sample)

    assert facts() == {"category": "", "image_label": "", "safety_warning": ""}
    assert facts(category="hate", image_label="gender", meta={"safety_warning": "w", "other": 1}) == {
        "category": "hate",
        "image_label": "gender",
        "safety_warning": "w",
    }
    assert facts(meta={"safety_reason": "r"})["safety_warning"] == "r"
    assert parse_rubric(GOOD, "x").facts(
        Sample(benchmark="b", id="s", query="q", expected="answer", reference="R")
    ) == {"reference": "R"}


def test_the_rubric_in_the_documentation_works(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/judges.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```markdown\n(.*?)```", page, re.DOTALL)
    rubric = parse_rubric(shown, "docs/judges.md")
    assert (rubric.name, rubric.front.measures) == ("tone", {"kindness": ("kind_refusal",)})
    for name in built_in():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |") and " pairs |" in line]
        assert [word for word in load_rubric(name).front.labels if f"`{word}`" not in row] == []
