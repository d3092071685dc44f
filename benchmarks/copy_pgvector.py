"""Measure the copy of one pgvector table into a new generation against the loader's floor.

    python -m benchmarks.copy_pgvector --rows 100000

Part of ``qafila bench copy``. In every round, in alternation and each into a new empty table with
the same columns: the floor (one stream of prebuilt binary COPY) and the copy as the engine does it
(rows in key order, a digest of every text, batches with fence, checkpoint and commit). Afterwards
every row of both tables is read, and digests over key, number, text and vector are compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.loader import Measure
from benchmarks.rows import load, make_rows, new_store, place
from benchmarks.setting import Setting, setting
from qafila.backfill.plan import batch_rows_for
from qafila.stores.pgvector.store import PgvectorStore
from qafila.workload.corpus import PgvectorSource, PgvectorTarget, WordLlamaEmbedder
from qafila.workload.fingerprint import rows_digest, text_digest

DIMENSIONS = 256
# as large as a backfill makes them by itself
BATCH_ROWS = batch_rows_for(WordLlamaEmbedder(kind="wordllama"))
_FROM, _TO = 11, 12


def main() -> None:
    """Measure in a server of our own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--batch-rows", type=int, default=BATCH_ROWS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    figures = measure(given.rows, given.seed, batch_rows=given.batch_rows, rounds=given.rounds)
    raw, notes = figures.pop("raw_seconds"), figures.pop("notes")
    machine.show("copy-pgvector", figures, seed=given.seed, raw_seconds=raw, notes=notes)


def measure(
    rows: int, seed: int, *, batch_rows: int = BATCH_ROWS, rounds: int = 9
) -> dict[str, Any]:
    """Return the ratio, whether the digests agree, and every timing."""
    made = make_rows(0, rows, DIMENSIONS, seed)
    asked = argparse.Namespace(rows=rows, dim=DIMENSIONS, batch_rows=batch_rows, seed=seed)
    raw: dict[str, list[float]] = {"floor": [], "copy": []}
    with setting() as here, new_store(here, _FROM, DIMENSIONS) as origin:
        load(origin, made, batch_rows)
        with here.target() as target:  # the key alone, as any table to copy has it
            settings = PgvectorTarget(
                kind="pgvector", block="bench", index="none", full_text="none"
            )
            PgvectorStore(target, place(_FROM, DIMENSIONS), settings).build_index()
        floor = Measure(here, made, asked)
        expected = rows_digest(_rows_of(origin))
        equal = True
        for number in range(rounds + 1):
            seconds, digest = _copy(here, batch_rows, rows)
            bare = floor.floor()
            equal = equal and digest == expected
            if number:  # the first one warms files and caches
                raw["copy"].append(seconds)
                raw["floor"].append(bare)
    bare, ours = median(raw["floor"]), median(raw["copy"])
    return {
        "rows": rows,
        "dimensions": DIMENSIONS,
        "batch_rows": batch_rows,
        "ratio": round(median([f / c for f, c in zip(raw["floor"], raw["copy"], strict=True)]), 3),
        "digests_equal": equal,
        "floor_rows_per_s": round(rows / bare),
        "copy_rows_per_s": round(rows / ours),
        "raw_seconds": raw,
        "notes": {
            "copy": "from a table in the same server, by its key, one process; two server "
            "processes and ours share the cores",
            "digests_equal": "over source key, chunk number, text digest made anew, vector bytes",
        },
    }


def _copy(here: Setting, batch_rows: int, rows: int) -> tuple[float, str]:
    """Return the seconds of the copy, and the digest of what arrived."""
    source_settings = PgvectorSource.model_validate(
        {
            "kind": "pgvector",
            "block": "bench",
            "table": f"qafila.{place(_FROM, 1).name}",
            "title": "title",
            "acl": "acl",
            "metadata": ["metadata"],
            "vectors": {"model": "bench"},
        }
    )
    with new_store(here, _TO, DIMENSIONS) as store, here.target() as source:
        begun = time.perf_counter()
        store.copy_from(source, source_settings, None, store.claim(0, 1), batch_rows, _none_is_left)
        seconds = time.perf_counter() - begun
        if store.count() != rows:
            raise machine.NotMeasured(f"{store.count()} rows arrived of {rows}.")
        with here.target() as target:  # a scan pages by key
            settings = PgvectorTarget(
                kind="pgvector", block="bench", index="none", full_text="none"
            )
            PgvectorStore(target, place(_TO, DIMENSIONS), settings).build_index()
        return seconds, rows_digest(_rows_of(store))


def _none_is_left(rejected: object) -> None:
    raise machine.NotMeasured(f"rows could not be copied: {rejected}")


def _rows_of(store: PgvectorStore) -> Iterator[tuple[str, int, bytes, bytes]]:
    for chunks, vectors in store.scan(5_000):
        for chunk, vector in zip(chunks, vectors.astype("<f4"), strict=True):
            yield chunk.source_key, chunk.number, text_digest(chunk.text), vector.tobytes()


if __name__ == "__main__":
    main()
