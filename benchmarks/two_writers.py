"""Two processes that load half of the rows each, told when to begin: part of the loader's bench."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from benchmarks.machine import NotMeasured
from benchmarks.rows import Rows, load, make_rows, place, target_settings
from benchmarks.setting import ROOT
from qafila.sql import statement
from qafila.stores.pgvector.copy import COLUMNS, Packer
from qafila.stores.pgvector.store import PgvectorStore


class TwoWriters:
    """Both processes, ready; ``run`` says what they do and returns the seconds until both did."""

    def __init__(self, workers: Sequence[subprocess.Popen[str]]) -> None:
        self._workers = workers
        for worker in workers:
            _expect(worker, "ready")

    def run(self, what: str) -> float:
        """Let both do ``ours`` or ``bare`` at once."""
        begun = time.perf_counter()
        for worker in self._workers:
            assert worker.stdin is not None
            worker.stdin.write(f"{what}\n")
            worker.stdin.flush()
        for worker in self._workers:
            _expect(worker, "done")
        return time.perf_counter() - begun


@contextmanager
def two_writers(
    url: str, generation: int, rows: int, dimensions: int, batch_rows: int, seed: int
) -> Iterator[TwoWriters]:
    """Start both processes, and end them."""
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.two_writers",
                url,
                str(generation),
                str(n),
                str(rows),
                str(dimensions),
                str(batch_rows),
                str(seed),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    try:
        yield TwoWriters(workers)
    finally:
        for worker in workers:
            worker.communicate()


def _expect(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout is not None
    if worker.stdout.readline().strip() != word:
        raise NotMeasured("one of the two processes died.")


def packed(rows: Rows, dimensions: int, generation: int) -> list[bytes]:
    """Return a whole COPY stream as one list of pieces."""
    packer = Packer(dimensions, place(generation, dimensions).fingerprint, generation)
    return list(packer.pieces(rows.chunks, rows.vectors))


def copy_statement(generation: int) -> sql.Composed:
    """Return the COPY into the table of a generation."""
    return sql.SQL(statement("pgvector", "copy_chunks")).format(
        table=sql.Identifier("qafila", place(generation, 1).name),
        columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
    )


def main() -> None:
    """Be one of the two: make rows, say when ready, load when told, until there is no more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    for name in ("generation", "number", "rows", "dimensions", "batch_rows", "seed"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    rows = make_rows(given.number * given.rows, given.rows, given.dimensions, given.seed)
    pieces = packed(rows, given.dimensions, given.generation)
    with psycopg.connect(given.url, autocommit=True) as target:
        where = place(given.generation, given.dimensions)
        store = PgvectorStore(target, where, target_settings())
        print("ready", flush=True)
        for told in sys.stdin:
            if told.strip() == "bare":
                with target.cursor().copy(copy_statement(given.generation)) as copy:
                    for piece in pieces:
                        copy.write(piece)
            else:
                load(store, rows, given.batch_rows, shard=given.number)
            print("done", flush=True)


if __name__ == "__main__":
    main()
