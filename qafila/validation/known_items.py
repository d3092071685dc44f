"""Known-item queries out of the workload's own corpus, and which judged documents it holds."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import psycopg

from qafila.endpoints import open_source
from qafila.errors import BackfillHalted, BadInput
from qafila.ledger.ledger import Connection
from qafila.sources.port import Source, SourceRow
from qafila.validation.judged import JudgedQuery
from qafila.validation.known_item_rules import known_item_queries, sample_of
from qafila.workload.model import GeneratedQueries, Workload

_READ_ROWS, _ASKED = 1000, 500
_TEXT = 4000  # characters of a text that words are taken from: a sample is held in memory


def make_known_items(ledger: Connection, workload: Workload) -> list[JudgedQuery]:
    """Return queries that each ask for one document, a sample of the source; it is read once.

    Raises:
        BadInput: no document has words enough to ask for it.
    """
    settings = workload.queries.judged
    assert isinstance(settings, GeneratedQueries)
    generator = random.Random(settings.seed)
    with open_source(ledger, workload) as source:
        rows = sample_of(_rows(source), settings.queries, generator)
    found = known_item_queries(rows, generator)
    if not found:
        raise BadInput(
            "no known-item query can be made:",
            [f"of {len(rows)} documents none has a title or six words of text"],
            remedy="judge some queries and name their table in queries.judged",
        )
    return found


def _rows(source: Source) -> Iterator[tuple[str, str, str]]:
    for batch in source.read(None, None, _READ_ROWS):
        for row in batch:
            if row.piece is None or row.piece.number == 0:  # a document once, by its first chunk
                yield row.key_text, row.title, row.text[:_TEXT]


def fetch_documents(source: Source, keys: Sequence[str]) -> dict[str, SourceRow]:
    """Return the documents of these keys that there are; of several chunks the first.

    A key that is not of the form that the source's keys have is one that it does not have.
    """
    found: dict[str, SourceRow] = {}
    for row in fetch_rows(source, keys):
        found.setdefault(row.key_text, row)
    return found


def fetch_rows(source: Source, keys: Sequence[str]) -> Iterator[SourceRow]:
    """Yield all rows of these documents, where there are several chunks each of them."""
    for start in range(0, len(keys), _ASKED):
        yield from _fetch(source, keys[start : start + _ASKED])


def _fetch(source: Source, keys: Sequence[str]) -> Sequence[SourceRow]:
    try:
        return source.fetch(keys)
    except (psycopg.DataError, BackfillHalted, ValueError, TypeError, IndexError) as error:
        if isinstance(error, BackfillHalted) and not isinstance(error.__cause__, psycopg.DataError):
            raise
        if len(keys) == 1:
            return []
        middle = len(keys) // 2
        return [*_fetch(source, keys[:middle]), *_fetch(source, keys[middle:])]
