"""`translation,table=FILE`: the query in another language, out of a table with columns id or query, and text."""

from __future__ import annotations

from dataclasses import replace

from ...errors import InputError
from ...records import Message, Request, digest
from ...registry import attacks
from ...specs import typed_path
from ...tables import column_of, identity, rows, text
from ...targets.base import Target
from ..attack import Attack
from ..base import Options


class TranslationOptions(Options):
    """`table`: CSV, JSONL and so on. A row is found by the sample's id or, without that column, by its query."""

    table: str


@attacks.register("translation", summary="the query from a table of translations", needs="a table",
                  pictosafe="yes, with words that PictoVLM knows")  # fmt: skip
class Translation(Attack):
    attack, reads = "translation", TranslationOptions

    def __init__(self, target: Target, told: dict[str, str]) -> None:
        super().__init__(target, told)
        path = typed_path(self.options.table)
        self.by_id = True
        self.said: dict[str, str] = {}
        for number, row in rows(path):
            self.by_id = column_of(row, ("id", "query"), path, number) == "id"
            key = identity(row, "id", path, number) if self.by_id else text(row, "query", path, number)
            said = text(row, "text", path, number)
            if self.said.setdefault(key, said) != said:
                named = "id" if self.by_id else "query"
                raise InputError(
                    f"another translation of this {named} stands above", where=path, row=number, field=named
                )
        self.facts["content_hash"] = digest(self.said)

    def turned(self, turn: Message, request: Request) -> Message:
        key = request.sample_id if self.by_id else turn.text
        if key not in self.said:
            raise InputError(f"no translation of this {'id' if self.by_id else 'query'}", where=self.options.table)
        return replace(turn, text=self.said[key])
