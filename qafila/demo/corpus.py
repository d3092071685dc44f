"""The demo's corpus: the AWS API documentation that ships with botocore, and its own examples.

A document is one API operation. A query is the hand-written description of one of its examples,
so that the operation it belongs to is the known right answer. Nothing is fetched or made up.
"""

from __future__ import annotations

import gzip
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import psycopg

from qafila.sql import statement
from qafila.workload.corpus import EVERYBODY

FORMAT = 2  # raise it when reading or loading changes: loaded copies are then replaced
SHORTEST_BODY = 41  # characters
SHORTEST_QUERY = 21  # characters
SMALL = 2_500  # documents at most of the sample that tests load: services that have queries

_LOCK = 0x0_C0_4B_05  # one advisory lock: two demos must not load the same database at once
_TAG = re.compile(r"<[^>]*>")
_WORD = re.compile(r"[A-Z]+s?(?![a-z])\d*|[A-Z][a-z]+\d*|[a-z]+\d*|\d+")

Scale = Literal["full", "small"]


@dataclass(frozen=True)
class Operation:
    """One document: an operation of one AWS service."""

    operation_id: str  # "s3.PutObject"
    service: str
    title: str  # "Put Object"
    body: str


@dataclass(frozen=True)
class KnownItemQuery:
    """One example's description and the one operation that it describes."""

    query_id: str
    text: str
    relevant: str


@dataclass(frozen=True)
class CorpusCounts:
    """What the source database holds; ``loaded`` is false when it was there already."""

    documents: int
    queries: int
    loaded: bool


def load_corpus(
    connection: psycopg.Connection[Any],
    *,
    scale: Scale = "full",
    limit_services: int | None = None,
) -> CorpusCounts:
    """Fill ``operation`` and ``known_item_query`` and the baseline's full-text helpers.

    Does nothing when the same corpus (botocore version, scale, format) is loaded and complete.
    All in one transaction under an advisory lock: readers see the old corpus or the new one.
    """
    stamp = f"botocore {version('botocore')}, {scale}, services {limit_services}, format {FORMAT}"
    with connection.transaction():
        connection.execute(statement("demo", "lock_corpus"), {"lock": _LOCK})
        connection.execute(statement("demo", "create_corpus_stamp"))
        found = connection.execute(statement("demo", "read_corpus_stamp")).fetchone()
        if found is not None and found[0] == stamp:
            return CorpusCounts(int(found[1]), int(found[2]), loaded=False)
        operations, queries = read_corpus(scale=scale, limit_services=limit_services)
        connection.execute(statement("demo", "create_corpus"))
        with (
            connection.cursor() as cursor,
            cursor.copy(statement("demo", "copy_operations")) as copy,
        ):
            for o in operations:
                copy.write_row((o.operation_id, o.service, o.title, o.body, [EVERYBODY]))
        with connection.cursor() as cursor, cursor.copy(statement("demo", "copy_queries")) as copy:
            for q in queries:
                copy.write_row((q.query_id, q.text, q.relevant, 1))
        connection.execute(statement("demo", "index_corpus"))
        connection.execute(
            statement("demo", "put_corpus_stamp"),
            {"stamp": stamp, "documents": len(operations), "queries": len(queries)},
        )
    connection.execute(statement("demo", "analyze_corpus"))
    return CorpusCounts(len(operations), len(queries), loaded=True)


def read_corpus(
    *, scale: Scale = "full", limit_services: int | None = None
) -> tuple[list[Operation], list[KnownItemQuery]]:
    """Read documents and queries from botocore's data folder, in the order of the services."""
    operations: list[Operation] = []
    queries: list[KnownItemQuery] = []
    services = sorted(p for p in Path(str(files("botocore") / "data")).iterdir() if p.is_dir())
    for service in services[:limit_services]:
        found = list(_operations(service))
        asked = list(_queries(service, {o.operation_id for o in found}))
        if scale == "small" and (not asked or len(operations) + len(found) > SMALL):
            continue
        operations += found
        queries += asked
    return operations, queries


def split_words(name: str) -> str:
    """Split an operation's name into words: ``ListEC2DBInstances`` is ``List EC2 DB Instances``."""
    # The last capital of a run belongs to the word that follows it, unless that is a plural's "s".
    spaced = re.sub(r"(?<=[A-Z])(?=[A-Z][a-z])(?![A-Z]s(?![a-z]))", " ", name)
    return " ".join(_WORD.findall(spaced)) or name


def strip_html(text: str) -> str:
    """Return the text without tags and entities, its white space collapsed."""
    return " ".join(html.unescape(_TAG.sub(" ", text)).split())


def _newest(service: Path, name: str) -> Path | None:
    """Return the newest version of one file; versions are dates, so the names sort by age."""
    found = [p for end in ("", ".gz") for p in service.glob(f"*/{name}{end}")]
    return max(found, key=lambda p: p.parent.name, default=None)


def _read_json(path: Path) -> dict[str, Any]:
    raw = path.read_bytes()
    content: dict[str, Any] = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return content


def _operations(service: Path) -> Iterator[Operation]:
    file = _newest(service, "service-2.json")
    if file is None:
        return
    for name, operation in _read_json(file)["operations"].items():
        body = strip_html(operation.get("documentation", ""))
        if len(body) >= SHORTEST_BODY:
            yield Operation(f"{service.name}.{name}", service.name, split_words(name), body)


def _queries(service: Path, known: set[str]) -> Iterator[KnownItemQuery]:
    file = _newest(service, "examples-1.json")
    if file is None:
        return
    seen: set[tuple[str, str]] = set()
    for name, examples in _read_json(file)["examples"].items():
        relevant = f"{service.name}.{name}"
        for number, example in enumerate(_dictionaries(examples), 1):
            text = strip_html(example.get("description") or example.get("title") or "")
            if relevant in known and len(text) >= SHORTEST_QUERY and (text, relevant) not in seen:
                seen.add((text, relevant))
                yield KnownItemQuery(f"{relevant}#{number}", text, relevant)


def _dictionaries(examples: Sequence[Any]) -> list[dict[str, Any]]:
    return [e for e in examples if isinstance(e, dict)]
