"""What is embedded: every document that answers a sampled question, and random others.

Fewer others compete in a sample than in the whole, so its scores are higher; who is better by it
is better on the whole, as far as the questions can tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qafila.backfill.load import chunks_of
from qafila.compare.collection import FILES, CollectedDocument, read_collection, read_documents
from qafila.endpoints import open_source, volume_of
from qafila.errors import BadInput
from qafila.ledger.ledger import Connection
from qafila.sources.port import Source
from qafila.stores.port import Chunk
from qafila.validation.judged import JudgedQuery
from qafila.validation.known_item_rules import LABEL, known_item_queries, sample_of
from qafila.validation.known_items import fetch_rows
from qafila.validation.language import common_language
from qafila.validation.suite import read_queries
from qafila.workload.corpus import EVERYBODY, PgvectorTarget
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload

JUDGED = "judged queries"
_READ_ROWS = 1000


@dataclass(frozen=True)
class Sample:
    """Chunks in the order of their documents' keys, and questions that each have an answer.

    ``relevant`` are the sampled documents that answer one, ``of_documents`` and ``of_chunks`` are
    the whole corpus, the latter reckoned from the sample. ``unjudged`` and ``unknown`` are ids of
    questions without a relevant document and of judged documents that are not in the corpus.
    ``full_text`` is the language of keyword search, "none" where it is not served.
    """

    name: str
    chunks: Sequence[Chunk]
    queries: Sequence[JudgedQuery]
    judged_by: str
    documents: int
    relevant: int
    of_documents: int
    of_chunks: int
    unjudged: Sequence[str]
    unknown: Sequence[str]
    full_text: str

    @property
    def texts(self) -> list[str]:
        """Return the text of every chunk."""
        return [c.text for c in self.chunks]

    @property
    def questions(self) -> list[str]:
        """Return the text of every question."""
        return [q.text for q in self.queries]


def sample_collection(folder: Path, *, queries: int, documents: int, seed: int) -> Sample:
    """Return a sample of a folder; without queries.jsonl and qrels.tsv its questions are generated.

    Raises:
        BadInput: the folder cannot be used; names every problem.
    """
    generator = random.Random(seed)
    if any((folder / name).is_file() for name in FILES[1:]):
        collection = read_collection(folder)
        name, found, empty = collection.name, list(collection.documents), list(collection.empty)
        asked, unjudged, by = list(collection.queries), list(collection.unjudged), JUDGED
    else:
        name, found, empty = read_documents(folder)
        some = sample_of(found, queries, generator)
        asked = known_item_queries([(d.key, d.title, d.text) for d in some], generator)
        unjudged, by = [], LABEL
        if not asked:
            raise BadInput(
                f"no question can be made from {folder}:",
                ["no document has a title or six words of text"],
                remedy="add queries.jsonl and qrels.tsv",
            )
    asked = _some(asked, queries, generator)
    by_key = {d.key: d for d in found}
    relevant = _relevant(asked)
    chosen = _fill_up([k for k in relevant if k in by_key], list(by_key), documents, generator)
    chunks = [_whole(by_key[k]) for k in sorted(chosen)]
    return Sample(
        name,
        chunks,
        asked,
        by,
        len(chunks),
        sum(k in by_key for k in relevant),
        len(found),
        len(found),
        unjudged,
        [k for k in relevant if k in set(empty)],
        common_language(c.text for c in chunks) or "simple",
    )


def _whole(document: CollectedDocument) -> Chunk:
    text = document.whole
    return Chunk(
        document.key, 0, 0, len(text), document.title, text, text_digest(text), [EVERYBODY]
    )


def sample_workload(
    ledger: Connection, workload: Workload, *, queries: int, documents: int, seed: int
) -> Sample:
    """Return a sample of a workload's corpus, cut as its load cuts it. The source is read once.

    Raises:
        BadInput: source or judged queries cannot be read, or no judged document is in the source.
    """
    generator = random.Random(seed)
    every = read_queries(ledger, workload, None, seed)
    asked = _some([q for q in every if q.judged], queries, generator)
    relevant = _relevant(asked)
    with open_source(ledger, workload) as source:
        volume = volume_of(source, workload.name)
        others = sample_of(_keys(source), documents, generator)
        rows = list(fetch_rows(source, list(dict.fromkeys([*relevant, *others]))))
    there = {row.key_text for row in rows}
    if not there & set(relevant):
        raise BadInput(
            f"the embedders of {workload.name} cannot be compared:",
            [
                f"of {len(relevant)} documents that {len(asked)} questions are judged by, the "
                "source has none"
            ],
            remedy="give documents in the judged queries the keys that the source has",
        )
    chosen = set(_fill_up([k for k in relevant if k in there], others, documents, generator))
    kept = sorted((r for r in rows if r.key_text in chosen), key=lambda r: r.key_text)
    chunks = [c for c in chunks_of(kept, workload) if _storable(c)]
    chunks.sort(key=lambda c: (c.source_key, c.number))
    target, known = workload.corpus.target, {c.source_key for c in chunks}
    return Sample(
        workload.name,
        chunks,
        asked,
        LABEL if workload.judged_table is None else JUDGED,
        len(known),
        sum(k in known for k in relevant),
        volume.rows,
        round(volume.rows * len(chunks) / max(1, len(kept))),
        [q.query_id for q in every if not q.judged],
        [k for k in relevant if k not in there],
        target.full_text
        if isinstance(target, PgvectorTarget)
        else common_language(c.text for c in chunks) or "simple",
    )


def _some(
    queries: Sequence[JudgedQuery], at_most: int, generator: random.Random
) -> list[JudgedQuery]:
    if len(queries) <= at_most:
        return list(queries)
    return sorted(generator.sample(queries, at_most), key=lambda q: q.query_id)


def _relevant(queries: Sequence[JudgedQuery]) -> list[str]:
    return sorted({key for q in queries for key, grade in q.grades.items() if grade > 0})


def _fill_up(
    relevant: Sequence[str], others: Sequence[str], size: int, generator: random.Random
) -> list[str]:
    """Return all that are relevant, and random others until there are so many."""
    needed = set(relevant)
    rest = sorted(set(others) - needed)
    more = max(0, size - len(needed))
    return [*relevant, *(rest if len(rest) <= more else generator.sample(rest, more))]


def _keys(source: Source) -> Iterator[str]:
    for batch in source.read(None, None, _READ_ROWS):
        for row in batch:
            if row.piece is None or row.piece.number == 0:  # a document once, by its first chunk
                yield row.key_text


def _storable(chunk: Chunk) -> bool:
    """Say whether the database takes it; a load makes a dead letter of one that it does not."""
    try:
        return bool(chunk.text.encode() + chunk.title.encode()) and "\0" not in (
            chunk.text + chunk.title
        )
    except UnicodeEncodeError:
        return False
