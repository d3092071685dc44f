"""A judged collection in a folder: documents, questions, and who answers which.

``docs.jsonl`` (id, text, optional title), ``queries.jsonl`` (id, text), ``qrels.tsv`` (query, doc,
grade; a first line of names is passed over). All of it is looked at before any of it is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from qafila.errors import BadInput
from qafila.validation.judged import JudgedQuery

FILES = ("docs.jsonl", "queries.jsonl", "qrels.tsv")
_SHOWN = 200  # problems in one message


@dataclass(frozen=True)
class CollectedDocument:
    """One document; ``text`` does not hold the title."""

    key: str
    title: str
    text: str

    @property
    def whole(self) -> str:
        """Return title and text as a source of two columns gives them."""
        return "\n".join(part for part in (self.title, self.text) if part)


@dataclass(frozen=True)
class Collection:
    """What a folder holds.

    ``unjudged`` are the ids of questions without a relevant document, ``empty`` those of documents
    without any text, which no search can find: they stay in the judgements, as never found.
    """

    name: str
    documents: Sequence[CollectedDocument]
    queries: Sequence[JudgedQuery]
    unjudged: Sequence[str]
    empty: Sequence[str]


def read_collection(folder: Path) -> Collection:
    """Return the collection; questions without a relevant document are left out and named.

    Raises:
        BadInput: a file is missing or holds what cannot be used; names every problem by its line.
    """
    missing = [f"{folder / name} is not there" for name in FILES if not (folder / name).is_file()]
    if missing:
        raise _bad(folder, missing)
    problems: list[str] = []
    documents = _read_documents(folder / "docs.jsonl", problems)
    asked = _read_queries(folder / "queries.jsonl", problems)
    grades = _read_grades(folder / "qrels.tsv", asked, documents, problems)
    if not any(d.whole.strip() for d in documents.values()) and not problems:
        problems.append("docs.jsonl holds no document with a text")
    queries = [
        JudgedQuery(key, text, grades[key])
        for key, text in asked.items()
        if any(g > 0 for g in grades.get(key, {}).values())
    ]
    if not queries and not problems:
        problems.append("no query of queries.jsonl has a document with a grade over 0")
    if problems:
        raise _bad(folder, problems)
    known = {q.query_id for q in queries}
    return Collection(
        folder.resolve().name,
        [d for d in documents.values() if d.whole.strip()],
        queries,
        [key for key in asked if key not in known],
        [key for key, d in documents.items() if not d.whole.strip()],
    )


def read_documents(folder: Path) -> tuple[str, list[CollectedDocument], list[str]]:
    """Return name, documents with a text, and ids of those without, of a folder nobody judged.

    Raises:
        BadInput: ``docs.jsonl`` is missing or holds what cannot be used; names every problem.
    """
    problems: list[str] = []
    if not (folder / FILES[0]).is_file():
        raise _bad(folder, [f"{folder / FILES[0]} is not there"])
    documents = _read_documents(folder / FILES[0], problems)
    found = [d for d in documents.values() if d.whole.strip()]
    if not found and not problems:
        problems.append("docs.jsonl holds no document with a text")
    if problems:
        raise _bad(folder, problems)
    empty = [key for key, d in documents.items() if not d.whole.strip()]
    return folder.resolve().name, found, empty


def _bad(folder: Path, problems: Sequence[str]) -> BadInput:
    shown = list(problems[:_SHOWN])
    if len(problems) > _SHOWN:
        shown.append(f"… and {len(problems) - _SHOWN} more")
    return BadInput(
        f"{folder} is no collection that can be judged by:",
        shown,
        remedy="correct these lines; the form is in docs/how-to/compare-search-on-your-own-"
        "corpus.md",
    )


def _read_documents(file: Path, problems: list[str]) -> dict[str, CollectedDocument]:
    found: dict[str, CollectedDocument] = {}
    for where, record in _records(file, problems):
        key = _key(record, where, found, problems)
        title, text = (_text(record, name, where, problems) for name in ("title", "text"))
        if key is None or title is None or text is None:
            continue
        found[key] = CollectedDocument(key, title, text)
    return found


def _read_queries(file: Path, problems: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for where, record in _records(file, problems):
        key, text = _key(record, where, found, problems), _text(record, "text", where, problems)
        if key is None or text is None:
            continue
        if not text.strip():
            problems.append(f"{where}: query {key!r} has no text")
        found[key] = text
    return found


def _records(file: Path, problems: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for where, line in _lines(file, problems):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{where}: no JSON: {error}")
            continue
        if isinstance(record, dict):
            yield where, record
        else:
            problems.append(f"{where}: no JSON object")


def _lines(file: Path, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each line that is not blank with its place; a line that is not UTF-8 is a problem."""
    with file.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            where = f"{file.name}:{number}"
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            except UnicodeDecodeError:
                problems.append(f"{where}: not UTF-8")
                continue
            if line.strip():
                yield where, line


def _key(
    record: Mapping[str, Any], where: str, taken: Mapping[str, object], problems: list[str]
) -> str | None:
    key = record.get("id")
    if isinstance(key, bool) or not isinstance(key, str | int) or key == "":
        problems.append(f"{where}: needs id, a text or a whole number")
        return None
    if (told := _unfit(str(key))) is not None:
        problems.append(f"{where}: id {told}")
        return None
    if str(key) in taken:
        problems.append(f"{where}: id {str(key)!r} is there twice")
        return None
    return str(key)


def _text(record: Mapping[str, Any], name: str, where: str, problems: list[str]) -> str | None:
    text = record.get(name)
    if text is None and (name == "title" or record.get("title")):
        return ""  # a title alone is a document, and a text without title is one
    if not isinstance(text, str):
        problems.append(f"{where}: needs {name}, a text")
        return None
    if (told := _unfit(text)) is not None:
        problems.append(f"{where}: {name} {told}")
        return None
    return text


def _unfit(text: str) -> str | None:
    """Return what keeps a text out of a database; None: nothing."""
    if "\0" in text:
        return "holds the character NUL, which PostgreSQL cannot store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair"
    return None


def _read_grades(
    file: Path,
    queries: Mapping[str, str],
    documents: Mapping[str, CollectedDocument],
    problems: list[str],
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    first = True
    for where, line in _lines(file, problems):
        parts = [p.strip() for p in line.split("\t")]
        heading, first = first, False
        if len(parts) != 3:
            problems.append(f"{where}: needs query, doc and grade with a tab between, not {line!r}")
            continue
        query, document, written = parts
        grade = _grade(written)
        if grade is None and heading and query not in queries:
            continue  # a line of names
        before = len(problems)
        if grade is None:
            problems.append(f"{where}: {written!r} is no grade: a number of at least 0")
        if query not in queries:
            problems.append(f"{where}: query {query!r} is not in queries.jsonl")
        if document not in documents:
            problems.append(f"{where}: document {document!r} is not in docs.jsonl")
        if document in found.get(query, {}):
            problems.append(f"{where}: {query!r} and {document!r} are judged twice")
        if len(problems) == before and grade is not None:
            found.setdefault(query, {})[document] = grade
    return found


def _grade(written: str) -> float | None:
    try:
        grade = float(written)
    except ValueError:
        return None
    return grade if isfinite(grade) and grade >= 0 else None
