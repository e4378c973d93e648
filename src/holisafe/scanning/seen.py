"""Which units have a row, and which contents were seen first where: on disk, so that memory stays flat.

The parts are what counts; this is made anew from them where it is missing, broken or behind. A content's first unit is
the first in the source's order, and its row the only one with a reading.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from .rows import Row, to_be_tried_again

TABLES = """
CREATE TABLE IF NOT EXISTS parts (number INTEGER PRIMARY KEY, again INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS items (id TEXT PRIMARY KEY, part INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (content TEXT PRIMARY KEY, id TEXT NOT NULL, part INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS prints (id TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
"""
COLUMNS = {"parts": "number, again", "items": "id, part", "contents": "content, id, part", "prints": "id, content"}
SETTINGS = "PRAGMA trusted_schema=OFF; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"

NO_PART = 0
"""The part of a content that was claimed, and whose row is in no part yet."""

AT_ONCE = 500
"""Ids that one query asks for."""


class Seen:
    """The index, open, with what is in no part yet beside it. For any number of threads."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._fresh_ids: set[str] = set()
        self._fresh: dict[str, str] = {}
        self._known = self._open()

    def _open(self) -> sqlite3.Connection:
        known = _connected(self.path)
        try:
            known.executescript(f"{SETTINGS} {TABLES}")
            if _sound(known):
                return known
        except sqlite3.DatabaseError:
            pass
        known.close()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        known = _connected(self.path)
        known.executescript(f"{SETTINGS} {TABLES}")
        return known

    def parts(self) -> dict[int, int]:
        """The parts that are indexed, each with how many of its rows are to be tried again."""
        with self._lock:
            return dict(self._known.execute("SELECT number, again FROM parts"))

    def add_part(self, number: int, rows: Sequence[Row]) -> None:
        """Index a part that is on disk, in one piece."""
        with self._lock:
            self._known.execute("BEGIN IMMEDIATE")
            again = sum(map(to_be_tried_again, rows))
            self._known.execute("INSERT OR REPLACE INTO parts VALUES (?, ?)", (number, again))
            self._known.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", ((row["id"], number) for row in rows))
            first = ((row["content"], row["id"], number) for row in rows if row["content"] and not row["copy_of"])
            self._known.executemany(
                "INSERT INTO contents VALUES (?, ?, ?) "
                "ON CONFLICT (content) DO UPDATE SET part = excluded.part WHERE id = excluded.id",
                first,
            )
            self._known.execute("COMMIT")
            for row in rows:
                self._fresh_ids.discard(row["id"])
                self._fresh.pop(row["content"], None)

    def forget_part(self, number: int) -> None:
        """Take a part out: it is gone, or about to be made anew."""
        with self._lock:
            self._known.execute("BEGIN IMMEDIATE")
            for table in ("items", "contents"):
                self._known.execute(f"DELETE FROM {table} WHERE part = ?", (number,))  # noqa: S608 - two names of ours
            self._known.execute("DELETE FROM parts WHERE number = ?", (number,))
            self._known.execute("COMMIT")

    def add_fresh(self, row: Row) -> None:
        """A row that is in no part yet."""
        with self._lock:
            self._fresh_ids.add(row["id"])
            if row["content"] and not row["copy_of"]:
                self._fresh.setdefault(row["content"], row["id"])

    def missing(self, ids: Iterable[str]) -> set[str]:
        """Those that have no row yet; at most `AT_ONCE`."""
        asked = set(ids) - self._fresh_ids
        marks = ",".join("?" * len(asked))
        with self._lock:
            found = self._known.execute(f"SELECT id FROM items WHERE id IN ({marks})", list(asked))  # noqa: S608
            return asked - {name for (name,) in found}

    def first_with(self, content: str) -> str | None:
        """The id of the first unit with that content; None where it was not seen yet."""
        with self._lock:
            if content in self._fresh:
                return self._fresh[content]
            row = self._known.execute("SELECT id FROM contents WHERE content = ?", (content,)).fetchone()
            return str(row[0]) if row else None

    def claim(self, content: str, name: str) -> str:
        """The first unit with that content, which is this one where none was before."""
        first = self.first_with(content)
        if first is None:
            with self._lock:
                self._fresh[content] = name
        return first or name

    def claim_all(self, claims: Sequence[tuple[str, str]]) -> dict[str, str]:
        """As `claim`, of at most `AT_ONCE` (content, id) in their order, and in no memory."""
        with self._lock:
            new = [(content, name, NO_PART) for content, name in claims if content not in self._fresh]
            self._known.execute("BEGIN IMMEDIATE")
            self._known.executemany("INSERT OR IGNORE INTO contents VALUES (?, ?, ?)", new)
            self._known.execute("COMMIT")
        return {content: str(self.first_with(content)) for content, _ in claims}

    def add_prints(self, prints: Iterable[tuple[str, str]]) -> None:
        """Keep what the contents of units are that were hashed before they are read, as (id, content)."""
        with self._lock:
            self._known.execute("BEGIN IMMEDIATE")
            self._known.executemany("INSERT OR REPLACE INTO prints VALUES (?, ?)", prints)
            self._known.execute("COMMIT")

    def prints(self, ids: Sequence[str]) -> dict[str, str]:
        """The contents that are kept of these units, at most `AT_ONCE`, by id."""
        with self._lock:
            marks = ",".join("?" * len(ids))
            found = self._known.execute(f"SELECT id, content FROM prints WHERE id IN ({marks})", ids)  # noqa: S608
            return dict(found)

    def forget_prints(self) -> None:
        """Once every unit has a row."""
        with self._lock:
            self._known.execute("DELETE FROM prints")

    def count(self) -> int:
        """How many units have a row in a part."""
        with self._lock:
            return int(self._known.execute("SELECT count(*) FROM items").fetchone()[0])

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._known.close()


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None)


def _sound(known: sqlite3.Connection) -> bool:
    """Whether it holds our tables and nothing else: another's triggers would act on what we write."""
    there = known.execute("SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'").fetchall()
    for name, columns in COLUMNS.items():
        known.execute(f"SELECT {columns} FROM {name} LIMIT 1")  # noqa: S608 - names of ours
    return sorted(there) == sorted(("table", name) for name in COLUMNS)
