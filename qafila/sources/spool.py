"""Documents on disk, in one SQLite file, looked up by key in the order of its bytes.

Files have no order and no index; a spool gives them both with a memory that does not grow: records
are appended as they are read, and the index over their keys is sorted on disk. It is written once,
under another name and moved into place whole, so that other processes see all of it or nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qafila.errors import Unavailable

_MOST_PROBLEMS = 20
_GIVE_UP = 1_000  # problems after which the rest is not looked at
_SCHEMA = """
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE document (key BLOB NOT NULL, place TEXT NOT NULL, body BLOB NOT NULL);
    CREATE TABLE problem (told TEXT NOT NULL);
    CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Spooled:
    """One document, and where it came from: a file, and a line of it.

    ``unreadable`` is why nobody could read it, then it has no text; empty otherwise.
    """

    key: str
    place: str
    title: str
    text: str
    acl: Sequence[str]
    metadata: dict[str, Any]
    unreadable: str = ""


class Spool:
    """Documents that were spooled; safe for one thread."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(
            f"{path.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )

    def close(self) -> None:
        self._database.close()

    def problems(self) -> list[str]:
        """Return what is wrong, at most twenty sentences and one that says how many more."""
        told = [p for (p,) in self._database.execute("SELECT told FROM problem ORDER BY rowid")]
        more = len(told) - _MOST_PROBLEMS
        return told if more <= 0 else [*told[:_MOST_PROBLEMS], f"and {more} more like these"]

    def facts(self) -> dict[str, int]:
        """Return counts: documents, those of them that are unreadable, and text_bytes."""
        return dict(self._database.execute("SELECT name, value FROM fact"))

    def every_nth_key(self, n: int) -> list[str]:
        """Return the n-th key, the 2n-th and so on, in their order."""
        keys = self._database.execute("SELECT key FROM document ORDER BY key")
        return [_text(key) for number, (key,) in enumerate(keys, 1) if number % n == 0]

    def between(self, low: str | None, high: str | None, limit: int) -> list[Spooled]:
        """Return the first documents with low < key <= high, in key order."""
        # an upper bound above every key: no UTF-8 begins with this byte
        bounds = [b"" if low is None else _blob(low), b"\xff" if high is None else _blob(high)]
        return [
            _document(*row)
            for row in self._database.execute(
                "SELECT key, place, body FROM document WHERE key > ? AND key <= ?"
                " ORDER BY key LIMIT ?",
                [*bounds, limit],
            )
        ]

    def these(self, keys: Iterable[str]) -> list[Spooled]:
        """Return the documents with these keys, or else in these places, in key order."""
        found: dict[bytes, tuple[bytes, str, bytes]] = {}
        places = []
        for key in {_blob(k) for k in keys}:
            rows = self._rows("key = ?", [key])
            found |= {row[0]: row for row in rows}
            if not rows:
                places.append(_told(_text(key)))
        if places:  # no index: one pass over all documents
            rows = self._rows("place IN (SELECT value FROM json_each(?))", [json.dumps(places)])
            found |= {row[0]: row for row in rows}
        return [_document(*found[key]) for key in sorted(found)]

    def _rows(self, condition: str, values: Sequence[Any]) -> list[tuple[bytes, str, bytes]]:
        return self._database.execute(
            f"SELECT key, place, body FROM document WHERE {condition}", values
        ).fetchall()


def open_spool(path: Path, content: Iterator[Spooled | str]) -> Spool:
    """Open the spool at ``path``; write it first, from documents and problems, when it is new.

    One with problems, or damaged, is written again: a right that was given since changes no file.
    Several processes may ask for it at the same time: one writes, the others wait.

    Raises:
        Unavailable: the disk is full or must not be written to.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(path.with_suffix(".lock")):
            if not path.exists() or not _is_good(path):
                _write(path, content)
        return Spool(path)
    except (OSError, sqlite3.OperationalError) as error:
        raise Unavailable(
            f"the documents cannot be spooled to {path.parent}: {error}",
            kept="nothing was changed.",
            remedy="make room there for about the size of the texts, or set QAFILA_HOME to "
            "another disk, then run it again.",
        ) from error


def _is_good(path: Path) -> bool:
    try:
        with closing(Spool(path)) as spool:
            return not spool.problems() and "documents" in spool.facts()
    except sqlite3.DatabaseError:
        return False


def _write(path: Path, content: Iterator[Spooled | str]) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL, 0o600))  # documents: for us alone
    try:
        with closing(sqlite3.connect(unfinished)) as database:
            database.executescript(_SCHEMA)
            _fill(database, content)
            database.execute("CREATE INDEX document_key ON document (key)")
            database.executemany(
                "INSERT INTO problem VALUES (?)", [(p,) for p in _repeated(database)]
            )
            database.commit()
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _fill(database: sqlite3.Connection, content: Iterator[Spooled | str]) -> None:
    documents = unreadable = text_bytes = problems = 0
    for found in content:
        if isinstance(found, str):
            problems += 1
            database.execute("INSERT INTO problem VALUES (?)", [_told(found)])
            if problems == _GIVE_UP:
                database.execute(
                    "INSERT INTO problem VALUES (?)", ["perhaps more: the rest was not read"]
                )
                break
        else:
            body = json.dumps(
                [found.title, found.text, list(found.acl), found.metadata, found.unreadable],
                ensure_ascii=False,
            )
            documents += 1
            unreadable += bool(found.unreadable)
            text_bytes += len(found.text.encode("utf-8", "surrogatepass"))
            database.execute(
                "INSERT INTO document VALUES (?, ?, ?)",
                [_blob(found.key), _told(found.place), _blob(body)],
            )
    database.executemany(
        "INSERT INTO fact VALUES (?, ?)",
        [("documents", documents), ("unreadable", unreadable), ("text_bytes", text_bytes)],
    )


def _repeated(database: sqlite3.Connection) -> Iterator[str]:
    repeated = database.execute(
        "SELECT key, count(*) FROM document GROUP BY key HAVING count(*) > 1 ORDER BY key LIMIT ?",
        [_GIVE_UP],
    ).fetchall()
    for key, times in repeated:
        places = database.execute(
            "SELECT place FROM document WHERE key = ? ORDER BY rowid LIMIT 3", [key]
        ).fetchall()
        told = ", ".join(p for (p,) in places) + (", …" if times > 3 else "")
        yield f"the key {_text(key)!r} is there {times} times: {told}"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _document(key: bytes, place: str, body: bytes) -> Spooled:
    return Spooled(_text(key), place, *json.loads(_text(body)))


def _blob(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # a text may hold half a surrogate pair


def _text(blob: bytes) -> str:
    return blob.decode("utf-8", "surrogatepass")


def _told(text: str) -> str:
    """Return a sentence that can be shown: names of files need not be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
