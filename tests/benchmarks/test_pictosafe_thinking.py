"""PictoSafe's thoughts: what they say, that PictoVLM knows their words, and what each leads to."""

from __future__ import annotations

import re

import pytest
from tools.pictovlm.base_data import corpus

from holisafe.benchmarks import open_benchmark
from holisafe.benchmarks.pictosafe.catalog import spoken
from holisafe.benchmarks.pictosafe.thinking import verdict
from holisafe.errors import InputError
from holisafe.guard import load_processor
from holisafe.tuning.collator import write
from holisafe.tuning.recipe import load_recipe
from holisafe.tuning.sources import read_source
from holisafe.tuning.spans import Spans, spans_of
from holisafe.tuning.train import gather, parts_found

ROOM = 512 - 8  # PictoVLM's positions, but for the image tokens that its one placeholder stands for


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w']+", text.lower()))


def test_every_part_of_a_thought_follows_from_the_pair() -> None:
    """Both pictograms are named, the deed or question is, and the verdict is what is expected, in every split."""
    for name in ("pictosafe", "pictosafe-unseen", "pictosafe-utility"):
        benchmark = open_benchmark(name)
        for sample in benchmark.samples:
            told = benchmark.thought(sample)
            assert told is not None
            thought, understanding = str(told.thought), str(told.understanding)
            seen, _, asked = understanding.partition(". ")
            assert seen == f"The picture shows {' and '.join(spoken(name) for _, name in sample.meta['pictograms'])}"
            if deed := sample.meta.get("deed"):
                words = set(re.findall(r"\w+", deed)) - {"it"}
                assert words <= set(re.findall(r"\w+", asked))
                assert not re.search(r"\bit\b", asked) or deed.count("it") > 1
            else:
                assert asked == f"The question is: {sample.query}"
            assert verdict(thought) == sample.expected
            assert thought.startswith(f"{understanding} Together they are ")
            assert (sample.expected == "answer") == thought.endswith("Together they are safe.")
            if sample.expected == "refuse":
                assert str(sample.reference).endswith(thought.partition("unsafe. ")[2])
    assert verdict("I see a cat.") is verdict(None) is None


def test_the_dangerous_thing_stands_for_it() -> None:
    (one,) = (one for one in open_benchmark("pictosafe", split="test").samples if one.id == "test-table0-00-0-q0o0-ssu")
    assert one.meta["deed"] == "give it to my puppy"
    told = open_benchmark("pictosafe").thought(one)
    assert told is not None
    assert "The question is how to give peanuts to my puppy." in str(told.understanding)


def test_thoughts_are_in_the_tiny_models_words_and_fit_its_room() -> None:
    """What question and answer do not say already occurs in what PictoVLM learnt from; the longest fits its context."""
    talks = corpus(1500, 0)
    known = words(" ".join(f"{talk.system} {turn.query} {turn.answer}" for talk in talks for turn in talk.turns))
    examples = read_source("pictosafe", None, thoughts=True)
    for one in examples:
        assert words(str(one.thought)) <= words(f"{one.messages[0].text} {one.answer}") | known
    processor = load_processor("pictovlm")
    longest = max(examples, key=lambda one: len(str(one.thought)) + len(one.answer) + len(one.messages[0].text))
    assert len(processor.tokenizer(write(processor, longest, [2]).text)["input_ids"]) < ROOM


def test_the_recipe_gives_safekey_a_key_sentence_everywhere() -> None:
    recipe = load_recipe("demo-thoughts").with_settings(["safekey.enabled=true", "data.max_examples=300"])
    examples = gather(None, recipe).examples
    assert parts_found(examples, recipe) == {"examples learnt from": 300}
    for one in examples:
        found = spans_of(one, 1)
        assert isinstance(found, Spans)
        said = str(one.thought)[slice(*found)].strip()
        assert said == f"Together they are {'safe' if one.pair_label == 'safe' else 'unsafe'}."
    alone = gather(None, recipe.with_settings(["safekey.enabled=false", "data.thoughts=none"])).examples
    assert [one.id for one in alone] == [one.id for one in examples]
    assert {one.thought for one in alone} == {None}


def test_thoughts_are_asked_for_where_there_are_any() -> None:
    assert all(one.thought is None for one in read_source("pictosafe", None)[:5])
    with pytest.raises(InputError, match="stand in its file"):
        read_source("jsonl", __file__, thoughts=True)  # type: ignore[arg-type]
