"""Look at an existing index before anything moves: read-only, and with nothing else running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from qafila.connections.postgres import connect_postgres
from qafila.connections.qdrant import connect_qdrant
from qafila.errors import Unavailable
from qafila.inspect.model import Inspection, Layout, Severity
from qafila.inspect.rules import inspect
from qafila.workload.corpus import PgvectorSource, QdrantSource

SAMPLE_ROWS = 10_000
SEED = 7


@dataclass(frozen=True)
class Looking:
    """A database or a Qdrant that is open for looking."""

    inspector: Any

    @classmethod
    @contextmanager
    def at(
        cls, store: str, reach: Mapping[str, Any], sample_rows: int, seed: int, timeout_seconds: int
    ) -> Iterator[Looking]:
        """Open what ``reach`` says; ``store`` is pgvector or qdrant.

        Raises:
            Unavailable: it does not answer.
        """
        if store == "pgvector":
            from qafila.inspect.pgvector import PgvectorInspector

            with connect_postgres(**reach) as connection:
                yield cls(
                    PgvectorInspector(
                        connection,
                        sample_rows=sample_rows,
                        seed=seed,
                        timeout_seconds=timeout_seconds,
                    )
                )
        else:
            from qafila.inspect.qdrant import QdrantInspector

            if reach.get("url"):
                reach = {**reach, "timeout_seconds": timeout_seconds}
            with closing(connect_qdrant(**reach)) as client:
                yield cls(
                    QdrantInspector(client, local=not reach.get("url"), sample_rows=sample_rows)
                )

    def one(self, name: str, vector: str | None = None) -> list[Inspection]:
        """Inspect every vector of one table or collection, or the one that is named."""
        return [inspect(facts) for facts in self.inspector.inspect(name, vector)]

    def everything(self) -> tuple[list[Inspection], list[str]]:
        """Inspect all that has vectors and may be read; return also what could not be looked at."""
        found, problems = [], []
        for name in self.inspector.candidates():
            try:
                found += self.one(name)
            except Unavailable as error:
                problems.append(error.what)
        return found, problems


def inspect_source(
    settings: PgvectorSource | QdrantSource,
    reach: Mapping[str, Any],
    *,
    sample_rows: int = SAMPLE_ROWS,
    seed: int = SEED,
    timeout_seconds: int = 60,
) -> Inspection:
    """Look at the source that a workload names, in the columns that it names; ``reach`` opens it.

    Raises:
        BadInput: the table, collection or vector is not there.
        Unavailable: it does not answer, or may not be read.
    """
    layout = Layout(
        maker="as corpus.source says",
        key=tuple(settings.key)
        if isinstance(settings, PgvectorSource)
        else (settings.key,)
        if settings.key
        else (),
        text=settings.text,
        title=settings.title,
        acl=settings.acl,
        metadata=tuple(settings.metadata),
        number=getattr(settings, "number", None),
    )
    if isinstance(settings, PgvectorSource):
        store, name, vector = "pgvector", settings.table, settings.embedding
    else:
        store, name, vector = "qdrant", settings.collection, settings.vector_name
    with Looking.at(store, reach, sample_rows, seed, timeout_seconds) as looking:
        return inspect(looking.inspector.inspect(name, vector, layout)[0])


def risks(inspection: Inspection) -> list[str]:
    """Return what a person should read before a plan is applied: a sentence and its remedy each."""
    return [
        f"{f.severity} in {inspection.facts.name}: {f.sentence} Remedy: {f.remedy}."
        for f in inspection.findings
        if f.severity is not Severity.NOTE
    ]
