"""Look at an existing index before anything moves: read-only, and with nothing else running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from qafila.connecting import connect_postgres, connect_qdrant
from qafila.core.corpus import PgvectorSource, QdrantSource
from qafila.core.inspection import Inspection, Layout, Severity
from qafila.core.inspection_rules import inspect

SAMPLE_ROWS = 10_000
SEED = 7


def inspect_source(
    settings: PgvectorSource | QdrantSource,
    reach: Mapping[str, Any],
    *,
    sample_rows: int = SAMPLE_ROWS,
    seed: int = SEED,
) -> Inspection:
    """Look at the source that a workload names, in the columns that it names; ``reach`` opens it.

    Raises:
        BadInput: the table, collection or vector is not there.
        Unavailable: it does not answer, or may not be read.
    """
    layout = Layout(
        maker="as corpus.source says",
        key=tuple(settings.key) if isinstance(settings, PgvectorSource)
        else (settings.key,) if settings.key else (),
        text=settings.text, title=settings.title, acl=settings.acl,
        metadata=tuple(settings.metadata), number=getattr(settings, "number", None),
    )  # fmt: skip
    if isinstance(settings, PgvectorSource):
        from tasks.inspecting.pgvector import PgvectorInspector

        with connect_postgres(**reach) as connection:
            table = PgvectorInspector(connection, sample_rows=sample_rows, seed=seed)
            return inspect(table.inspect(settings.table, settings.embedding, layout)[0])
    with open_qdrant(reach, sample_rows) as collections:
        return inspect(collections.inspect(settings.collection, settings.vector_name, layout)[0])


@contextmanager
def open_qdrant(reach: Mapping[str, Any], sample_rows: int = SAMPLE_ROWS) -> Iterator[Any]:
    """Open a server, or a folder of local mode, for looking."""
    from tasks.inspecting.qdrant import QdrantInspector

    with closing(connect_qdrant(**reach)) as client:
        yield QdrantInspector(client, local=not reach.get("url"), sample_rows=sample_rows)


def risks(inspection: Inspection) -> list[str]:
    """Return what a person should read before a plan is applied: a sentence and its remedy each."""
    return [
        f"{f.severity} in {inspection.facts.name}: {f.sentence} Remedy: {f.remedy}."
        for f in inspection.findings
        if f.severity is not Severity.NOTE
    ]
