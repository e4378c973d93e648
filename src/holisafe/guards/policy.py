"""A policy of the user's own: categories with what each forbids, in one YAML file for every guard that takes one.

    name: toy-shop
    categories:
      - name: weapons
        definition: shows a real weapon, or helps to get or make one
        examples: ["a photo of a pistol", "how do I sharpen this so that it cuts?"]
        labels: [weapon_related_violence, terrorism]      # of the Visual Guard Module: any of them
        threshold: 0.3                                    # on the sum of their probabilities; 0.5 where none is given

`definition` and `examples` are for guards that read words; `labels` and `threshold` for ours. The file is checked when
it is read, so that what a guard needs of it is named before anything is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..records import digest
from ..taxonomy import SAFE

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Category:
    """One thing that the policy forbids."""

    name: str
    definition: str = ""
    examples: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    threshold: float = 0.5


@dataclass(frozen=True)
class Policy:
    """The categories of a policy, in its order. `where` is its file."""

    name: str
    categories: tuple[Category, ...]
    where: str = field(default="the policy", compare=False)

    @classmethod
    def read(cls, path: Path) -> Policy:
        """Raises InputError for a missing file, an unknown setting, no category, and a name that is there twice
        or is not one line."""
        from ..typed_yaml import read_yaml, validated

        written: Any = validated(_written(), read_yaml(path), path)
        names = [category.name for category in written.categories]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise InputError(f"two categories are called {twice!r}", where=path, field="categories")
        for number, name in enumerate(names):
            if name.splitlines() != [name.strip()]:
                raise InputError(f"{name!r} is no name of one line", where=path, field=f"categories.{number}.name")
        categories = tuple(Category(**vars(category)) for category in written.categories)
        return cls(written.name or path.stem, categories, str(path))

    @property
    def digest(self) -> str:
        """Identifies what it says, but not where it is."""
        return digest([[c.name, c.definition, c.examples, c.labels, c.threshold] for c in self.categories])

    def in_words(self, start: str = "") -> str:
        """A line a category, with its examples under it; `start` begins each."""
        lines = []
        for category in self.categories:
            lines.append(f"{start}{category.name}: {category.definition}")
            lines += [f"  - such as: {example}" for example in category.examples]
        return "\n".join(lines)

    def defined(self) -> Policy:
        """Itself. Raises InputError where a category has no definition, which guards that read words need."""
        self._need("definition", "a guard that reads words needs one")
        return self

    def labelled(self, labels: Sequence[str]) -> Policy:
        """Itself. Raises InputError where a category names no label, one that the guard does not have, or `safe`."""
        self._need("labels", "the Visual Guard Module needs some")
        for number, category in enumerate(self.categories):
            if SAFE in category.labels:
                problem = f"{category.name!r} would forbid what is {SAFE}"
                raise InputError(problem, where=self.where, field=f"categories.{number}.labels")
            if strange := next((label for label in category.labels if label not in labels), None):
                problem = f"the guard has no label {strange!r}; it has: {', '.join(labels)}"
                raise InputError(problem, where=self.where, field=f"categories.{number}.labels")
        return self

    def _need(self, name: str, why: str) -> None:
        for number, category in enumerate(self.categories):
            if not getattr(category, name):
                problem = f"{category.name!r} has no {name}: {why}"
                raise InputError(problem, where=self.where, field=f"categories.{number}.{name}")


def no_policy(policy: Policy | None, guard: str) -> None:
    """Raise InputError when a guard that has its own policy is given another."""
    if policy is not None:
        raise InputError(f"{guard} takes no policy of your own", where=policy.where)


def _written() -> Any:
    """What the file holds, as pydantic models: loaded only when one is read."""
    from pydantic import BaseModel, ConfigDict, Field

    class WrittenCategory(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = Field(min_length=1, max_length=100)
        definition: str = Field(default="", max_length=2000)
        examples: tuple[str, ...] = ()
        labels: tuple[str, ...] = ()
        threshold: float = Field(default=0.5, ge=0, le=1)

    class WrittenPolicy(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str = ""
        categories: tuple[WrittenCategory, ...] = Field(min_length=1)

    return WrittenPolicy
