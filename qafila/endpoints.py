"""Open what a load reads and writes, with or without Prefect in the process.

``reach_of`` looks the connections up, once, where Prefect may be asked for secrets; the
rest takes what it found, also in a child process that got it over a pipe.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from pydantic import SecretStr

from qafila.connections.aws import connect_s3
from qafila.connections.postgres import connect_postgres
from qafila.connections.qdrant import connect_qdrant
from qafila.connections.settings import (
    ConnectionSettings,
    LanguageModelConnection,
    PostgresConnection,
)
from qafila.embedders.port import Embedder
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import NEEDED, connection
from qafila.ledger.ledger import Connection, Generation, claimant_of
from qafila.settings import home
from qafila.sources.port import Source, Volume
from qafila.stores.port import Place, VectorStore
from qafila.workload.corpus import Embedder as EmbedderSettings
from qafila.workload.corpus import (
    ObjectSource,
    PgvectorSource,
    PgvectorTarget,
    QdrantSource,
    QdrantTarget,
    WordLlamaEmbedder,
)
from qafila.workload.model import Workload


@dataclass(frozen=True, repr=False)
class Reach:
    """Settings of the connections of one workload, secrets in clear: never stored, never logged."""

    source: Mapping[str, Any] | None
    target: Mapping[str, Any]
    embedder: Mapping[str, Any] | None


def blocks_of(workload: Workload) -> list[tuple[str, type[ConnectionSettings]]]:
    """Return the name and the kind of every connection that a workload needs."""
    corpus = workload.corpus
    parts = (corpus.source, corpus.target, corpus.embedder)
    named = [(b, NEEDED[p.kind]) for p in parts if (b := getattr(p, "block", None))]
    if workload.judged_table is not None and workload.judged_table[0] not in dict(named):
        named.append((workload.judged_table[0], PostgresConnection))
    if workload.inference is not None:
        services = workload.inference.services
        named += [(s.block, LanguageModelConnection) for s in services if s.block is not None]
        if workload.inference.prompts.kind == "table":
            named.append((workload.inference.prompts.block, PostgresConnection))
    router = workload.service.router
    names = (router.block, *getattr(router, "members", ()))
    return [*named, *((name, NEEDED[router.kind]) for name in names)]


def reach_of(ledger: Connection, workload: Workload) -> Reach:
    """Return how to reach source, target and embedder of a workload.

    Raises:
        Refused: a connection was never recorded, or is of another kind.
    """
    corpus = workload.corpus
    target = _settings(ledger, corpus.target)
    assert target is not None
    return Reach(_settings(ledger, corpus.source), target, _settings(ledger, corpus.embedder))


def _settings(ledger: Connection, part: Any) -> Mapping[str, Any] | None:
    """Return the settings of the connection that a part of the workload names, if it does."""
    block = getattr(part, "block", None)
    if block is None:
        return None
    found = connection(ledger, block, NEEDED[part.kind])
    return {name: _clear(getattr(found, name)) for name in type(found).model_fields}


def _clear(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def folder_of_one(workload: Workload, reach: Reach) -> str | None:
    """Return the folder of Qdrant's local mode that a load needs, if any: one process opens it."""
    corpus = workload.corpus
    ends = ((corpus.source, reach.source), (corpus.target, reach.target))
    return next(
        (
            found["path"]
            for part, found in ends
            if isinstance(part, QdrantSource | QdrantTarget) and found and found["url"] is None
        ),
        None,
    )


@contextmanager
def open_source(
    ledger: Connection, workload: Workload, reach: Reach | None = None
) -> Iterator[Source]:
    """Open the workload's source for reading."""
    settings = workload.corpus.source
    found = reach.source if reach else _settings(ledger, settings)
    if isinstance(settings, ObjectSource):
        from qafila.sources.objects import ObjectSource as Objects
        from qafila.sources.objects import files_of

        s3 = connect_s3(**found) if found else None
        objects = Objects(settings, files_of(settings, home(), s3), home())
        try:
            yield objects
        finally:
            objects.close()
        return
    assert found is not None, "every other source names its connection"
    if isinstance(settings, QdrantSource):
        from qafila.sources.qdrant import QdrantSource as Collection

        client = connect_qdrant(**found)
        try:
            yield Collection(client, settings)
        finally:
            client.close()
        return
    with connect_postgres(**found) as source:
        if isinstance(settings, PgvectorSource):
            from qafila.sources.pgvector import PgvectorSource as Chunks

            yield Chunks(source, settings)
        else:
            from qafila.sources.postgres import PostgresSource as PostgresTable

            yield PostgresTable(source, settings)


def volume_of(source: Source, workload: str) -> Volume:
    """Return how much a source holds.

    Raises:
        BadInput: it cannot be read as the workload says; names every problem.
    """
    problems = source.problems()
    if problems:
        raise BadInput(
            f"the corpus of {workload} cannot be measured:",
            problems,
            remedy=f"correct corpus.source in workloads/{workload}.yaml, then: "
            f"qafila apply workloads/{workload}.yaml",
        )
    return source.volume()


@contextmanager
def open_store(
    ledger: Connection, workload: Workload, generation: Generation, reach: Reach | None = None
) -> Iterator[VectorStore]:
    """Open the workload's target for one generation."""
    target = workload.corpus.target
    found = reach.target if reach else _settings(ledger, target)
    assert found is not None
    place = Place(
        workload.name,
        generation.number,
        generation.fingerprint,
        workload.corpus.embedder.dimensions,
        claimant_of(ledger, workload.name),
    )
    if isinstance(target, PgvectorTarget):
        from qafila.stores.column.store import ColumnStore
        from qafila.stores.column.table import table_of
        from qafila.stores.pgvector.store import PgvectorStore

        with connect_postgres(**found) as database:
            if target.column is not None:
                yield ColumnStore(database, place, target, table_of(workload.corpus))
            else:
                yield PgvectorStore(database, place, target)
    else:
        from qafila.stores.qdrant.store import QdrantStore

        client = connect_qdrant(**found)
        try:
            yield QdrantStore(client, place, target)
        finally:
            client.close()


@cache
def embedder_of(settings: EmbedderSettings) -> Embedder:
    """Return an embedder that works in this process alone, loaded once.

    Raises:
        Refused: it is behind a network, so a governor and a connection are needed.
    """
    if not isinstance(settings, WordLlamaEmbedder):
        raise Refused(f"an embedder of kind {settings.kind!r} needs a connection.")
    from qafila.embedders.wordllama import WordLlamaEmbedder as InProcess

    return InProcess(settings.dimensions, lowercase=settings.lowercase)


@contextmanager
def open_embedder(
    ledger_address: str | None,
    workload: Workload,
    reach: Reach,
    wait: Callable[[float], None] = time.sleep,
    *,
    run_id: str | None = None,
    generation: int | None = None,
) -> Iterator[Embedder]:
    """Open the workload's embedder, of any kind; give it to ``embed_carefully``.

    One behind a network shares its limits, its pauses and the spend cap with every other caller
    through the ledger. ``wait`` is asked for every sleep, and for ``wait(0)`` between requests; it
    may raise to stop.
    """
    settings = workload.corpus.embedder
    if isinstance(settings, WordLlamaEmbedder):
        yield embedder_of(settings)
        return
    from qafila.embedders.governor import Purse
    from qafila.embedders.openai_compatible import OpenAIEmbedder

    assert reach.embedder is not None
    purse = Purse(
        workload=workload.name,
        generation=generation,
        run_id=run_id,
        cap=Decimal(str(workload.budget.spend_cap)),
        currency=workload.budget.currency,
        price_per_million=Decimal(str(settings.price_per_million_tokens)),
    )
    embedder = OpenAIEmbedder(settings, reach.embedder, ledger_address, purse, wait)
    try:
        yield embedder
    finally:
        embedder.close()


def token_counter(
    ledger: Connection, workload: Workload, reach: Reach | None = None
) -> Callable[[Sequence[str]], int]:
    """Return what counts the tokens of texts for a plan; it asks no service and costs nothing."""
    settings = workload.corpus.embedder
    if isinstance(settings, WordLlamaEmbedder):
        return embedder_of(settings).count_tokens
    from qafila.embedders.governor import read_token_ratio, service_name
    from qafila.embedders.tokens import estimate_tokens

    connection = reach.embedder if reach else _settings(ledger, settings)
    assert connection is not None
    ratio = read_token_ratio(ledger, service_name(str(connection["url"]), settings.model)) or 1.0
    return lambda texts: round(sum(estimate_tokens(texts)) * ratio)
