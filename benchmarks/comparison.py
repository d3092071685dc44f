"""Measure the first rung: every key and digest of a source against a pgvector generation.

    qafila bench comparison --rows 400000

A table of real texts, each a document of one chunk, and a generation of it with random vectors in
the same PostgreSQL. ``rows_per_s`` is rows of the source over the seconds of a whole comparison,
the median of the rounds: hashing every text, reading every key and digest of the target, counting
readers. Then differences are planted, a few of each kind, and the comparison must find all of
them: ``planted`` and ``found`` by kind, with the time that takes, since what differs is read twice.

``rows_per_s_read`` is the same where the source cannot hash its texts itself (files, other
chunking, keys of several columns): every text is read, cut and hashed in Python.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from benchmarks import machine
from benchmarks.setting import Setting, fill_source, ready, setting
from qafila.backfill.load import chunks_of
from qafila.backfill.verify import compare_generation
from qafila.endpoints import open_source, open_store
from qafila.ledger.ledger import Generation
from qafila.search.table import place_name
from qafila.sources.postgres import PostgresSource as PostgresTable
from qafila.stores.port import Checkpoint
from qafila.stores.row_sets import KeyComparison
from qafila.workload.corpus import PostgresSource
from qafila.workload.model import Workload

_CHARACTERS = 400
_BATCH_ROWS = 10_000
_EACH = 7  # differences of each kind


def main() -> None:
    """Measure in a server of our own."""
    parser = argparse.ArgumentParser(prog="qafila bench comparison", description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--dim", type=int, default=64, choices=(64, 128, 256))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    figures, raw = measure(given.rows, dimensions=given.dim, rounds=given.rounds, seed=given.seed)
    machine.show(
        "comparison",
        figures,
        seed=given.seed,
        raw_seconds=raw,
        notes={
            "rows_per_s": "both PostgreSQL databases hash and sum up their own rows at once; only "
            "sums travel, and rows of buckets that differ",
            "rows_per_s_read": "texts travel, and are hashed here",
        },
    )


def measure(
    rows: int, *, dimensions: int = 64, rounds: int = 5, seed: int = 7
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Return the figures and the seconds that they were made of.

    Raises:
        NotMeasured: there are too few rows, or the comparison did not find what it should.
    """
    if rows < 10 * _EACH:
        raise machine.NotMeasured(f"{10 * _EACH} rows are the fewest to plant differences in.")
    with setting() as here:
        fill_source(here, rows, _CHARACTERS)
        workload, generation = ready(
            here,
            embedder={"kind": "wordllama", "dimensions": dimensions},
            target={
                "kind": "pgvector",
                "block": "demo-target",
                "index": "none",
                "full_text": "none",
            },
        )
        _fill(here, workload, generation, seed)
        raw: dict[str, list[float]] = {"quick": [], "read": [], "differing": []}
        for number in range(rounds + 1):
            seconds = _timed(here, workload, generation, complete=True)[0]
            raw["quick"] += [seconds] if number else []  # the first warms files and caches
        with _without_hashing():
            for _ in range(max(1, rounds // 2)):
                raw["read"].append(_timed(here, workload, generation, complete=True)[0])
        planted = _plant(here, workload, generation)
        seconds, compared = _timed(here, workload, generation, complete=False)
        raw["differing"].append(seconds)
    found = {str(fault): n for fault, n in compared.differences.counts.items()}
    whole = median(raw["quick"])
    figures = {
        "rows": rows,
        "seconds": round(whole, 3),
        "rows_per_s": round(rows / whole),
        "rows_per_s_read": round(rows / median(raw["read"])),
        "rows_per_s_differing": round(rows / seconds),
        "planted": planted,
        "found": found,
        "all_found": planted == found,
        "dimensions": dimensions,
    }
    return figures, raw


def _fill(here: Setting, workload: Workload, generation: Generation, seed: int) -> None:
    """Write the chunks of every row with random vectors, and the unique key."""
    random = np.random.default_rng(seed)
    dimensions = workload.corpus.embedder.dimensions
    with (
        here.ledger() as ledger,
        open_source(ledger, workload) as source,
        open_store(ledger, workload, generation) as store,
    ):
        store.prepare()
        store.claim(0, 1)
        done = 0
        for rows in source.read(None, None, _BATCH_ROWS):
            chunks = chunks_of(rows, workload)
            vectors = random.standard_normal((len(chunks), dimensions), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            done += len(chunks)
            store.write(chunks, vectors, Checkpoint(0, 1, rows[-1].key, done, done))
        store.build_index()


def _timed(
    here: Setting, workload: Workload, generation: Generation, *, complete: bool
) -> tuple[float, KeyComparison]:
    with here.ledger() as ledger, open_store(ledger, workload, generation) as store:
        begun = time.perf_counter()
        compared = compare_generation(ledger, workload, generation, store)
        seconds = time.perf_counter() - begun
    if compared.complete is not complete:
        counts = dict(compared.differences.counts)
        raise machine.NotMeasured(f"the comparison found {counts} where it should not.")
    return seconds, compared


@contextmanager
def _without_hashing() -> Iterator[None]:
    """Let no source hash its own texts, as most cannot."""
    before = PostgresTable._witness_sql
    PostgresTable._witness_sql = lambda *_: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        PostgresTable._witness_sql = before  # type: ignore[method-assign]


def _plant(here: Setting, workload: Workload, generation: Generation) -> dict[str, int]:
    """Plant some differences of each kind in rows that stand far apart; return how many."""
    assert isinstance(workload.corpus.source, PostgresSource)
    table = sql.Identifier("qafila", place_name(workload.name, generation.number))
    with here.target() as target:
        keys = [
            key
            for (key,) in target.execute(
                sql.SQL("SELECT source_key FROM {} ORDER BY md5(source_key) LIMIT {}").format(
                    table, sql.Literal(5 * _EACH)
                )
            )
        ]
        _drop_unique_key(target, generation, workload)
        some = [keys[n : n + _EACH] for n in range(0, len(keys), _EACH)]
        for change, chosen in zip(
            (
                "DELETE FROM {} WHERE source_key = ANY(%s)",
                "UPDATE {} SET text_digest = sha256('another') WHERE source_key = ANY(%s)",
                "UPDATE {} SET fingerprint = 'another' WHERE source_key = ANY(%s)",
                "UPDATE {} SET source_key = source_key || 'x' WHERE source_key = ANY(%s)",
                "INSERT INTO {0} SELECT * FROM {0} WHERE source_key = ANY(%s)",
            ),
            some,
            strict=True,
        ):
            target.execute(sql.SQL(change).format(table), [chosen])
    return {
        "missing": 2 * _EACH,
        "stale": _EACH,
        "foreign": _EACH,
        "extra": _EACH,
        "repeated": _EACH,
    }


def _drop_unique_key(
    target: psycopg.Connection[Any], generation: Generation, workload: Workload
) -> None:
    """Drop what would refuse a second copy of a row."""
    names = target.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = 'qafila' AND tablename = %s",
        [place_name(workload.name, generation.number)],
    ).fetchall()
    for (name,) in names:
        target.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier("qafila", name)))


if __name__ == "__main__":
    main()
