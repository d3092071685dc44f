"""Measure the write path to pgvector against a bare COPY of bytes that were made beforehand.

    qafila bench loader --rows 100000 --dim 256

In every round, in alternation and each into a new empty table with the same columns: the floor (one
stream, one process, prebuilt binary COPY; sent in pieces of 64 kB and of 1 MB, the faster of the
two counts), our write path with one process (packing, fence, checkpoint and commit a batch, all
included), and with two. ``ratio`` is the floor's time over ours, the median of all rounds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from statistics import median

from psycopg import sql

from benchmarks import machine
from benchmarks.rows import Rows, load, make_rows, new_store, place
from benchmarks.setting import ROOT, Setting, setting
from qafila.sql import statement
from tasks.stores.pgvector import PgvectorStore
from tasks.stores.pgvector_copy import COLUMNS, Packer
from tasks.stores.port import Vectors

_FLOOR, _OURS, _TWO, _TEXT, _UPSERT = range(1, 6)  # generations, so that no table is shared
_SMALL = 250  # rows a batch where an embedder is slow
_PIECES = (64 * 1024, 1024 * 1024)


def main() -> None:
    """Measure in a server of our own."""
    parser = argparse.ArgumentParser(prog="qafila bench loader", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch-rows", type=int, default=10_000, help="rows a transaction")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--part", help=argparse.SUPPRESS)  # URL, first row: one of two processes
    given = parser.parse_args()
    if given.part:
        _load_part(given)
        return
    if given.rows < 1_000:
        raise machine.NotMeasured("fewer than 1 000 rows are over before a clock can tell.")
    rows = make_rows(0, given.rows, given.dim, given.seed)
    raw: dict[str, list[float]] = {}
    with setting() as here:
        measure = Measure(here, rows, given)
        for number in range(given.rounds + 1):
            timings = measure.round()
            if number:  # the first one warms files and caches
                for name, seconds in timings.items():
                    raw.setdefault(name, []).append(seconds)
        others = measure.others()
    raw |= others
    figures = _figures(given, raw)
    machine.show(
        "loader", figures, seed=given.seed, raw_seconds=raw,
        notes={
            "floor": "one COPY of prebuilt bytes into a logged table with the same columns and "
            "server settings; the faster of two piece sizes",
            "full_text": "none in ratio and ratio_two, the hard case: with lexemes the server is "
            f"so busy that both are equal (ratio_english, {given.rows // 5} rows)",
            "executemany": f"INSERT … ON CONFLICT DO UPDATE by psycopg's executemany, "
            f"{given.rows // 10} rows in batches of {given.batch_rows}",
        },
    )  # fmt: skip


def _figures(given: argparse.Namespace, raw: dict[str, list[float]]) -> dict[str, object]:
    floors = [min(pair) for pair in zip(*(raw[_floor_name(p)] for p in _PIECES), strict=True)]
    times = {name: median(seconds) for name, seconds in raw.items()}
    upsert = times["executemany"] * 10  # a tenth of the rows
    return {
        "rows": given.rows,
        "dimensions": given.dim,
        "batch_rows": given.batch_rows,
        "ratio": _ratio(floors, raw["ours"]),
        "ratio_two": _ratio(floors, raw["ours_two"]),
        f"ratio_batches_of_{_SMALL}": _ratio(floors, raw["ours_small"]),
        "ratio_english": _ratio(raw["floor_english"], raw["ours_english"]),
        "floor_rows_per_s": round(given.rows / median(floors)),
        "rows_per_s": round(given.rows / times["ours"]),
        "rows_per_s_two": round(given.rows / times["ours_two"]),
        "executemany_rows_per_s": round(given.rows / upsert),
        "times_executemany": round(upsert / times["ours"], 1),
    }


def _ratio(floors: list[float], ours: list[float]) -> float:
    """Return the median of the rounds' ratios: what both met in a round cancels out."""
    return round(median([f / o for f, o in zip(floors, ours, strict=True)]), 3)


def _floor_name(piece: int) -> str:
    return f"floor_{piece // 1024}_kb"


class Measure:
    """All timings of one set of rows on one server."""

    def __init__(self, here: Setting, rows: Rows, given: argparse.Namespace) -> None:
        self._here, self._rows, self._given = here, rows, given
        self._stream = _stream(rows.chunks, rows.vectors, given.dim)

    def round(self) -> dict[str, float]:
        """Time each contender once."""
        timings = {_floor_name(size): self._floor(size) for size in _PIECES}
        timings["ours"] = self._ours(self._given.batch_rows)
        timings["ours_small"] = self._ours(_SMALL)
        timings["ours_two"] = self._ours_two()
        return timings

    def others(self) -> dict[str, list[float]]:
        """Time what takes longer: with lexemes, and the plain way."""
        part = self._given.rows // 5
        rows = Rows(self._rows.chunks[:part], self._rows.vectors[:part])
        stream = _stream(rows.chunks, rows.vectors, self._given.dim)
        floors, ours = [], []
        for _ in range(3):
            with new_store(self._here, _TEXT, self._given.dim, full_text="english") as store:
                ours.append(self._timed_load(store, rows, self._given.batch_rows))
            with new_store(self._here, _TEXT, self._given.dim, full_text="english"):
                floors.append(self._send(stream, _PIECES[1], _TEXT))
        upserts = [self._executemany() for _ in range(3)]
        return {"floor_english": floors, "ours_english": ours, "executemany": upserts}

    def floor(self) -> float:
        """Time a bare COPY once."""
        return self._floor(_PIECES[1])

    def _floor(self, piece: int) -> float:
        with new_store(self._here, _FLOOR, self._given.dim):
            return self._send(self._stream, piece, _FLOOR)

    def _send(self, stream: bytes, piece: int, generation: int) -> float:
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        query = sql.SQL(statement("pgvector", "copy_chunks")).format(
            table=sql.Identifier("qafila", place(generation, 1).name),
            columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)),
        )
        with self._here.target() as target:
            begun = time.perf_counter()
            with target.cursor().copy(query) as copy:
                for part in pieces:
                    copy.write(part)
            return time.perf_counter() - begun

    def _ours(self, batch_rows: int) -> float:
        with new_store(self._here, _OURS, self._given.dim) as store:
            return self._timed_load(store, self._rows, batch_rows)

    def _timed_load(self, store: PgvectorStore, rows: Rows, batch_rows: int) -> float:
        begun = time.perf_counter()
        load(store, rows, batch_rows)
        seconds = time.perf_counter() - begun
        if store.count() != len(rows.chunks):
            raise machine.NotMeasured(f"{store.count()} rows arrived of {len(rows.chunks)}.")
        return seconds

    def _ours_two(self) -> float:
        given, half = self._given, self._given.rows // 2
        with new_store(self._here, _TWO, given.dim) as store, ExitStack() as stack:
            workers = [
                stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-m", "benchmarks.loader", "--rows", str(half),
                         "--dim", str(given.dim), "--batch-rows", str(given.batch_rows),
                         "--seed", str(given.seed), "--part", f"{n}:{self._here.target_url}"],
                        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                    )
                )
                for n in range(2)
            ]  # fmt: skip
            for worker in workers:
                _expect(worker, "ready")
            begun = time.perf_counter()
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            for worker in workers:
                _expect(worker, "done")
            seconds = time.perf_counter() - begun
            if store.count() != 2 * half:
                raise machine.NotMeasured(f"{store.count()} rows arrived of {2 * half}.")
            return seconds

    def _executemany(self) -> float:
        part = self._given.rows // 10
        name = sql.Identifier("qafila", place(_UPSERT, 1).name)
        columns = [c for c in COLUMNS if c != "embedding"]
        query = sql.SQL(
            "INSERT INTO {} ({}, embedding) VALUES ({}) ON CONFLICT (source_key, chunk_number)"
            " DO UPDATE SET text = excluded.text, embedding = excluded.embedding"
        ).format(
            name, sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(COLUMNS)),
        )  # fmt: skip
        values = list(_values(Rows(self._rows.chunks[:part], self._rows.vectors[:part])))
        with new_store(self._here, _UPSERT, self._given.dim), self._here.target() as target:
            from pgvector.psycopg import register_vector

            register_vector(target)
            target.execute(
                sql.SQL("CREATE UNIQUE INDEX ON {} (source_key, chunk_number)").format(name)
            )
            begun = time.perf_counter()
            for at in range(0, part, self._given.batch_rows):
                with target.transaction():
                    target.cursor().executemany(query, values[at : at + self._given.batch_rows])
            return time.perf_counter() - begun


def _values(rows: Rows) -> Iterator[tuple[object, ...]]:
    from psycopg.types.json import Jsonb

    for c, vector in zip(rows.chunks, rows.vectors, strict=True):
        yield (c.digest, _UPSERT, "f" * 16, c.number, c.start, c.end, c.source_key, c.title,
               c.text, list(c.acl), Jsonb(dict(c.metadata)), vector)  # fmt: skip


def _stream(chunks: object, vectors: Vectors, dimensions: int) -> bytes:
    return b"".join(Packer(dimensions, "f" * 16, _FLOOR).pieces(chunks, vectors))  # type: ignore[arg-type]


def _load_part(given: argparse.Namespace) -> None:
    """Be one of two processes: say when ready, load when told, say when done."""
    import psycopg

    from qafila.core.corpus import PgvectorTarget

    number, _, url = given.part.partition(":")
    rows = make_rows(int(number) * given.rows, given.rows, given.dim, given.seed)
    settings = PgvectorTarget(kind="pgvector", block="bench", full_text="none")
    with psycopg.connect(url, autocommit=True) as target:
        store = PgvectorStore(target, place(_TWO, given.dim), settings)
        print("ready", flush=True)
        sys.stdin.readline()
        load(store, rows, given.batch_rows, shard=int(number))
        print("done", flush=True)


def _expect(worker: subprocess.Popen[str], word: str) -> None:
    assert worker.stdout is not None
    if worker.stdout.readline().strip() != word:
        raise machine.NotMeasured("one of the two processes died.")


if __name__ == "__main__":
    main()
