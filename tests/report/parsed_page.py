"""An HTML page taken apart with the standard library's parser, which runs nothing and forgives nothing."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "br", "hr", "input", "img"}


@dataclass
class Node:
    """An element with its attributes, its children in order, and text in between."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> list[Node]:
        found = [self]
        for child in self.children:
            if isinstance(child, Node):
                found += child.walk()
        return found

    def all(self, tag: str, **attributes: str) -> list[Node]:
        """Every element of a tag; `class_` is one of its classes, other attributes are equal."""
        wanted = {name: value for name, value in attributes.items() if name != "class_"}
        return [
            node
            for node in self.walk()
            if node.tag == tag
            and all(node.attributes.get(name) == value for name, value in wanted.items())
            and attributes.get("class_", "") in ["", *(node.attributes.get("class") or "").split()]
        ]

    def one(self, tag: str, **attributes: str) -> Node:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} elements <{tag}> with {attributes}"
        return found[0]

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        return " ".join(self.raw.split())

    @property
    def raw(self) -> str:
        return "".join(child if isinstance(child, str) else child.raw for child in self.children)


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Node("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    """The page as a tree. Fails on an element that is not closed where it should be."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    assert [node.tag for node in parser.open] == ["root"], "elements are left open"
    return parser.root


def embedded(root: Node) -> Any:
    """The pairs that the page carries."""
    return json.loads(zlib.decompress(base64.b64decode(root.one("script", id="pairs").raw, validate=True)))


def rows(table: Node) -> dict[str, list[str]]:
    """A table's rows: the label without its note -> the text of every other cell."""
    found = {}
    for row in table.one("tbody").all("tr"):
        label = "".join(child for child in row.one("th").children if isinstance(child, str)).strip()
        found[label] = [cell.text for cell in row.all("td")]
    return found
