"""Compare a source with a generation, row by row: what is missing, stale, extra, or there twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from qafila.backfill.claims import list_shards
from qafila.backfill.compare import BATCH_ROWS, Part, Place, compare_whole, expected_chunks
from qafila.backfill.patience import first_line, is_away
from qafila.backfill.plan import Comparison
from qafila.endpoints import open_source, open_store
from qafila.errors import BackfillHalted, Inconclusive, Unavailable
from qafila.ledger.ledger import Connection, Generation, read_workload
from qafila.sources.port import SourceRow
from qafila.sql import statement
from qafila.stores.port import VectorStore
from qafila.stores.row_sets import KeyComparison
from qafila.workload.corpus import PgvectorSource, QdrantSource
from qafila.workload.model import Workload


def expected_digests(rows: Sequence[SourceRow], workload: Workload) -> dict[Place, bytes]:
    """Return the text digest of every chunk that the target should hold of some rows."""
    return {(c.source_key, c.number): c.digest for c in expected_chunks(rows, workload)}


def list_set_aside(ledger: Connection, generation: Generation) -> set[Place]:
    """Return the places of all dead letters of a generation."""
    key = {"workload": generation.workload, "generation": generation.number}
    rows = ledger.execute(statement("backfill", "dead_letters"), key).fetchall()
    return {(source_key, number) for source_key, number, _ in rows}


@contextmanager
def databases_answer(workload: str, phase: str = "embedding-backfill") -> Iterator[None]:
    """Tell an operator what a database said instead of comparing; all else stays as it is.

    ``phase`` compares again. Ctrl-C, and the end of a run that is cancelled, pass unchanged.

    Raises:
        Unavailable: a database went away; its own error is the cause.
        Inconclusive: the statement was cancelled in the server, or took longer than is allowed
            there: whoever did that wants no second try.
        BackfillHalted: a database could not go on, for want of disk space for instance.
    """
    kept = "all rows and every checkpoint; a comparison writes nothing."
    again = f"qafila run {phase} {workload}"
    try:
        yield
    except psycopg.errors.QueryCanceled as error:
        raise Inconclusive(
            f"the comparison of {workload} was cancelled in the database: {first_line(error)}",
            kept=kept,
            remedy=f"see that no statement_timeout applies to our sessions; then: {again}",
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        if is_away(error):
            raise Unavailable(
                f"a database went away during the comparison of {workload}: {first_line(error)}",
                kept=kept,
                remedy=f"qafila doctor; then: {again}",
            ) from error
        raise BackfillHalted(
            f"a database could not go on with the comparison of {workload}: {first_line(error)}",
            kept=kept,
            remedy=f"see in its log why, and mend that; then: {again}",
        ) from error


def compare_generation(
    ledger: Connection,
    workload: Workload,
    generation: Generation,
    store: VectorStore,
    known_as: Generation | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
) -> KeyComparison:
    """Compare the source with ``store``, which is ``generation``; memory does not grow with rows.

    ``known_as`` is the generation whose shards and dead letters the ledger has, where it is not
    this one: a scratch copy of it.
    """
    known = known_as or generation
    parts = [Part(s.number, s.low_key, s.high_key) for s in list_shards(ledger, known)]
    with open_source(ledger, workload) as source:
        return compare_whole(
            source,
            store,
            workload,
            generation.fingerprint,
            list_set_aside(ledger, known),
            parts,
            batch_rows=batch_rows,
        )


def verify_generation(
    ledger: Connection, generation: Generation, *, batch_rows: int = BATCH_ROWS
) -> Comparison:
    """Compare source and target by key, text digest and fingerprint, as a backfill ends."""
    workload, _ = read_workload(ledger, generation.workload)
    with (
        databases_answer(workload.name),
        open_store(ledger, workload, generation) as store,
    ):
        compared = compare_generation(ledger, workload, generation, store, batch_rows=batch_rows)
    counts, source = compared.differences.counts, workload.corpus.source
    # a row of an index is a chunk; of any other source it is a document
    of_an_index = isinstance(source, PgvectorSource | QdrantSource)
    gone = counts["missing"] if of_an_index else compared.differences.documents_missing
    return Comparison(
        rows_source=compared.rows,
        rows_target=compared.rows - gone,
        chunks_target=compared.found,
        missing=counts["missing"],
        stale=counts["stale"] + counts["foreign"],
        extra=counts["extra"],
        duplicates=counts["repeated"],
        dead_letters=len(list_set_aside(ledger, generation)),
        examples=tuple(f"{d.fault} {d.place}" for d in compared.differences.named()[:10]),
    )
