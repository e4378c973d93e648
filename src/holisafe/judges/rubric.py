"""Rubrics: what an LLM judge is asked and what its words mean, one Markdown file each.

    ---
    name: my-rubric                     lower-case; what verdicts are kept under, so none of the built-in names
    version: 1
    source: where its classes come from
    applies: all                        all, answer or refuse: which safety pairs, by what is expected of a model
    sees: [image, pair_label]           what it is shown besides query and response; see FACTS
    of: response                        response or reasoning: whether it judges the answer, or the thought before it
    query: asked                        asked or plain: what the judge is shown as the query; see QUERIES
    form: json                          json or line: how the judge must reply; see `reply`
    labels:                             the judge's words, and which behaviour (taxonomy.VERDICT_MEANING) each is
      clear: refused
      helped: answered
    measures:                           optional: rates of their own, the share of verdicts with one of these words
      clear_rate: [clear]
      mean_score: {clear: 1, helped: 0.5}       or the mean of what words are worth, from 0 to 1; others 0
    ---
    The prompt, in which {{query}}, {{response}} and the other names in `sees` stand for the pair's own.

The rules of the fence go before the prompt and the form of the reply after it; no file has to repeat them. What a
placeholder stands for is put in once and never read for placeholders again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, ClassVar, Literal

from ..errors import InputError
from ..records import Sample
from ..specs import typed_path
from ..tables import read_text
from ..taxonomy import VERDICT_MEANING
from ..typed_yaml import parse_yaml, validated
from .reply import Form

QUERIES: dict[str, Callable[[Sample], str]] = {
    "asked": lambda sample: sample.query,
    "plain": lambda sample: str(sample.meta.get("prompt") or sample.query),
}
"""What {{query}} stands for: the query as it was put to the model, or what it asks in plain words, where a benchmark
says that of queries which have moved into a picture."""

FACTS: dict[str, Callable[[Sample], Any]] = {
    "category": lambda sample: sample.category,
    "subcategory": lambda sample: sample.subcategory,
    "image_label": lambda sample: sample.image_label,
    "reference": lambda sample: sample.reference,
    "safety_warning": lambda sample: sample.meta.get("safety_warning") or sample.meta.get("safety_reason"),
}
"""What the benchmark says of a pair, where it does: shown to the judge fenced, like query and response."""

SHOWN = ("image", "pair_label", "original", *FACTS)
"""What a rubric may list in `sees`. `image` is the pair's pictures, `pair_label` the word safe or unsafe, `original`
the answer before it was rewritten."""

Words = tuple[str, ...] | dict[str, float]
"""What a rate of a rubric's own counts: words, or words with what each is worth, from 0 to 1."""

PLACEHOLDER = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_FILE = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*\n(.*)", re.DOTALL)
_WORD = re.compile(r"[a-z](?:[a-z0-9_]*[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True)
class FrontMatter:
    """The part of a rubric's file that says what its words mean. Raises ValueError for what cannot be."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    name: str
    version: int
    source: str
    labels: dict[str, str]
    applies: Literal["all", "answer", "refuse"] = "all"
    sees: tuple[str, ...] = ()
    of: Literal["response", "reasoning"] = "response"
    query: Literal["asked", "plain"] = "asked"
    form: Form = "json"
    measures: dict[str, Words] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def known(kind: str, words: Mapping[str, Any] | tuple[str, ...], names: Any) -> None:
            for word in words:
                if word not in names:
                    raise ValueError(f"{kind} {word!r} is none of {', '.join(names)}")

        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} has other characters than a-z, 0-9, '.', '_' and '-'")
        for word in self.labels:
            if not _WORD.fullmatch(word):
                raise ValueError(f"the label {word!r} has other characters than a-z, 0-9 and '_'")
        if len(self.labels) < 2:
            raise ValueError("labels: a judge needs two words or more to choose from")
        known("the behaviour of a label", tuple(self.labels.values()), VERDICT_MEANING)
        known("sees:", self.sees, SHOWN)
        for name, words in self.measures.items():
            known(f"the word of measure {name!r}", tuple(words), self.labels)
            if isinstance(words, dict) and not all(0 <= worth <= 1 for worth in words.values()):
                raise ValueError(f"measure {name!r}: what a word is worth lies between 0 and 1")


@dataclass(frozen=True)
class Rubric:
    """A rubric: its front matter, its prompt with placeholders, and the whole file's text."""

    front: FrontMatter
    prompt: str
    text: str = field(repr=False)

    @property
    def name(self) -> str:
        return self.front.name

    def query(self, sample: Sample) -> str:
        """What it shows of a pair as the query."""
        return sample.conversation(QUERIES[self.front.query](sample))

    def facts(self, sample: Sample) -> dict[str, str]:
        """What it shows of what the benchmark says of a pair, by name; "" where the benchmark says nothing."""
        return {name: str(fact(sample) or "") for name, fact in FACTS.items() if name in self.front.sees}


def built_in() -> list[str]:
    """The names of the rubrics in this package."""
    return sorted(path.name.removesuffix(".md") for path in _folder().iterdir() if path.name.endswith(".md"))


def split_spec(spec: str) -> tuple[str, str]:
    """`RUBRIC/SPEC` -> (RUBRIC, SPEC). RUBRIC is a built-in name, or a path up to its first part that ends in `.md`.

    A folder that is called like a built-in rubric must be written `./NAME/...`. Raises InputError for anything else.
    """
    first, _, rest = spec.partition("/")
    path = re.fullmatch(r"([^,]*?\.md)(?:/(.*)|)", spec, re.DOTALL)
    if first in built_in():
        rubric, target = first, rest
    elif path is not None:
        rubric, target = path[1], path[2]
    else:
        known = ", ".join(built_in())
        raise InputError(f"no rubric is called {first!r}; known: {known}, or the path of a file that ends in .md")
    if not target:
        raise InputError(f"judge 'llm/{spec}' names no model; it is written llm/RUBRIC/SPEC: llm/holisafe/openai/MODEL")
    return rubric, target


def load_rubric(name: str) -> Rubric:
    """A built-in rubric by name or a user's by its path. Raises InputError naming the file and what is wrong in it."""
    if name in built_in():
        return parse_rubric(_folder().joinpath(f"{name}.md").read_text(encoding="utf-8"), name)
    rubric = parse_rubric(read_text(typed_path(name)), name)
    if rubric.name in built_in():
        raise InputError(f"{rubric.name!r} is a built-in rubric; another name is needed", where=name, field="name")
    return rubric


def parse_rubric(text: str, where: str) -> Rubric:
    """A rubric from its file's text. Raises InputError for front matter or a placeholder that cannot be."""
    from pydantic import RootModel

    parts = _FILE.fullmatch(text)
    if parts is None:
        raise InputError("does not begin with front matter between two lines of ---", where=where)
    front = validated(RootModel[FrontMatter], parse_yaml(parts[1], where), where).root
    rubric = Rubric(front, parts[2].strip(), text)
    used = PLACEHOLDER.findall(rubric.prompt)
    needed = {"query", "response", *front.sees} - {"image"}
    for name in used:
        if name not in needed:
            problem = "must be listed in sees" if name in SHOWN else f"is none of {', '.join(sorted(needed))}"
            raise InputError(f"the placeholder {{{{{name}}}}} {problem}", where=where)
        if used.count(name) > 1:
            raise InputError(f"the placeholder {{{{{name}}}}} stands there twice", where=where)
    for name in sorted(needed - set(used)):
        raise InputError(f"the prompt lacks the placeholder {{{{{name}}}}}", where=where)
    return rubric


def _folder() -> Any:
    return files(__package__).joinpath("rubrics")
