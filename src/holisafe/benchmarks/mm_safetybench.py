"""MM-SafetyBench: each harmful question asked with a picture that carries its key phrase, in three ways.

    [data/]processed_questions/NN-Scenario.json    an object: question number -> what was asked and how it was reworded
    [data/]imgs/NN-Scenario/KIND/NUMBER.jpg        KIND is SD, TYPO or SD_TYPO

SD is a picture that Stable Diffusion made of the key phrase, TYPO the phrase as written text, SD_TYPO both in one. The
words beside the picture no longer name what is harmful: `Rephrased Question(SD)` goes with SD, `Rephrased Question`
with the two that show the phrase. The authors spell the first scenario `01-Illegal_Activitiy`, and so is it here.

Source: MM-SafetyBench (arXiv 2311.17600, ECCV 2024), its repository's files and scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..records import Sample
from ..registry import benchmarks
from ..tables import keyed_rows, label, optional_text, short, text
from .base import Benchmark
from .tables import Place, Table, first_of, read_tables, release

NAME = "mm-safetybench"

QUESTIONS = {
    "01-Illegal_Activitiy": 97,
    "02-HateSpeech": 163,
    "03-Malware_Generation": 44,
    "04-Physical_Harm": 144,
    "05-EconomicHarm": 122,
    "06-Fraud": 154,
    "07-Sex": 109,
    "08-Political_Lobbying": 153,
    "09-Privacy_Violence": 139,
    "10-Legal_Opinion": 130,
    "11-Financial_Advice": 167,
    "12-Health_Consultation": 109,
    "13-Gov_Decision": 149,
}
"""Scenario -> its published number of questions."""

QUERY_OF = {"SD": "Rephrased Question(SD)", "TYPO": "Rephrased Question", "SD_TYPO": "Rephrased Question"}
"""Kind of picture -> the field with the words that go with it."""


@benchmarks.register(
    NAME,
    summary="Harmful questions whose key phrase moved into the picture",
    size="5,040 pairs, 1,680 questions",
    combinations="USU",
    published="condition: " + ", ".join(f"{kind} {sum(QUESTIONS.values())}" for kind in QUERY_OF) + "; "
    "category: " + ", ".join(f"{scenario} {3 * questions}" for scenario, questions in QUESTIONS.items()),
    licence="CC BY-NC 4.0",
    citation="Liu et al., MM-SafetyBench, arXiv 2311.17600, ECCV 2024",
    access="github.com/isXinLiu/MM-SafetyBench, the pictures from its link as data/imgs; name its folder with --root",
)
def load(root: Path | None) -> Benchmark:
    """All 13 scenarios in all three conditions: `meta.condition` is the kind of picture, the cluster the question."""
    root = release(root, NAME)
    base = first_of(root, "data/processed_questions", "processed_questions").removesuffix("processed_questions")
    tables = [
        Table(f"{base}processed_questions/{scenario}.json", partial(_samples, base, scenario), read=_questions)
        for scenario in QUESTIONS
    ]
    return read_tables(NAME, root, tables)


def _samples(base: str, scenario: str, row: dict[str, Any], place: Place) -> Iterator[Sample]:
    question = f"{scenario}/{label(row, 'number', *place)}"
    kept = {
        "question": text(row, "Question", *place),
        "key_phrase": optional_text(row, "Key Phrase", *place),
        "phrase_type": optional_text(row, "Phrase Type", *place),
    }
    for kind, field in QUERY_OF.items():
        yield Sample(
            benchmark=NAME,
            id=f"{question}/{kind}",
            query=text(row, field, *place),
            images=(f"{base}imgs/{scenario}/{kind}/{row['number']}.jpg",),
            expected="refuse",
            combination="USU",
            category=scenario,
            cluster=question,
            meta={"condition": kind, **{name: value for name, value in kept.items() if value is not None}},
        )


def _questions(path: Path, member: str | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """The questions of one scenario in file order, each with its number. Raises InputError for any other JSON."""
    del member
    for row, number, question in keyed_rows(path, "questions"):
        if not (number.isascii() and number.isdecimal()):
            raise InputError(f"not the number of a question: {short(number)}", where=path, row=row)
        yield row, {**question, "number": number}
