"""Compare a source with a generation, row by row: what is missing, stale, extra, or there twice."""

from __future__ import annotations

from collections.abc import Sequence

from qafila.core.plan import Comparison
from qafila.core.workload import Workload
from qafila.sql import statement
from tasks.engine.loading import chunks_of, without_text
from tasks.ledger import Connection, Generation, read_workload
from tasks.opening import open_source, open_store
from tasks.sources.port import SourceRow

Place = tuple[str, int]
"""Source key and chunk number."""


def expected_digests(rows: Sequence[SourceRow], workload: Workload) -> dict[Place, bytes]:
    """Return the text digest of every chunk that the target should hold of some rows.

    A row without text is expected too, since it must be set aside: it is not just absent.
    """
    chunks = chunks_of(rows, workload)
    return {
        (chunk.source_key, chunk.number): chunk.digest
        for chunk in (*chunks, *without_text(rows, chunks, workload))
    }


def list_set_aside(ledger: Connection, generation: Generation) -> set[Place]:
    """Return the places of all dead letters of a generation."""
    key = {"workload": generation.workload, "generation": generation.number}
    rows = ledger.execute(statement("backfill", "dead_letters"), key).fetchall()
    return {(source_key, number) for source_key, number, _ in rows}


def verify_generation(
    ledger: Connection, generation: Generation, *, batch_rows: int = 2000
) -> Comparison:
    """Compare source and target by key and text digest; memory does not grow with rows."""
    workload, _ = read_workload(ledger, generation.workload)
    set_aside = list_set_aside(ledger, generation)
    rows_source = rows_found = missing = stale = matched = 0
    examples: list[str] = []
    with (
        open_source(ledger, workload) as source,
        open_store(ledger, workload, generation) as store,
    ):
        for batch in source.read(None, None, batch_rows):
            expected = expected_digests(batch, workload)
            found = store.digests([r.key_text for r in batch])
            rows_source += len(batch)
            gone = [k for k in expected if k not in found and k not in set_aside]
            changed = [
                k for k, (digest, mark) in found.items()
                if k in expected and (digest, mark) != (expected[k], generation.fingerprint)
            ]  # fmt: skip
            missing, stale = missing + len(gone), stale + len(changed)
            # chunks of one document may come in several batches of an index, so what is beyond
            # is only known at the end: whatever is there and was never expected
            matched += sum(k in found for k in expected)
            of_an_index = any(r.piece for r in batch)
            rows_found += len(batch) - len(set(gone) if of_an_index else {k[0] for k in gone})
            examples += [f"missing {k}" for k in gone] + [f"stale {k}" for k in changed]
            examples = examples[:10]
        chunks_target, repeated = store.count(), store.repeated()
    return Comparison(
        rows_source=rows_source,
        rows_target=rows_found,
        chunks_target=chunks_target,
        missing=missing,
        stale=stale,
        extra=max(0, chunks_target - repeated - matched),
        duplicates=repeated,
        dead_letters=len(set_aside),
        examples=tuple(examples),
    )
