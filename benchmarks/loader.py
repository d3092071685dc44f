"""Measure the write path to pgvector against a bare COPY of bytes that were made beforehand.

    qafila bench loader --rows 100000 --dim 256

In every round, in alternation and each into a new empty table of the same make: the floor (one
stream, one process, prebuilt binary COPY; sent in pieces of 64 kB and of 1 MB, the faster of the
two counts), our write path with one process (packing, fence, checkpoint and commit a batch, all
included), with two, and two bare streams, which is what two can reach at most. ``ratio`` is the
floor's time over ours, the median of all rounds; ``ratio_two_of_bare_two`` compares our two writers
with the two bare streams. ``times_executemany`` compares like with like (no index on either side);
``times_upsert`` is the customary upsert, whose unique index slows it.

Rows of more than 2 kB, so from some 400 dimensions on, are measured twice: kept whole in the table
(``corpus.target.inline_vectors``), and, under ``toasted``, with their vectors moved out as
PostgreSQL does it by default.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks import machine
from benchmarks.rows import Rows, load, make_rows, new_store, place
from benchmarks.setting import Setting, setting
from benchmarks.two_writers import TwoWriters, copy_statement, packed, two_writers
from qafila.stores.pgvector.copy import COLUMNS
from qafila.stores.pgvector.store import PgvectorStore

Timings = dict[str, list[float]]
_FLOOR, _OURS, _TWO, _TEXT, _UPSERT = range(1, 6)  # generations, so that no table is shared
_SMALL = 250  # rows a batch where an embedder is slow
_PIECES = (64 * 1024, 1024 * 1024)
_LONGEST_WHOLE = 400  # dimensions of a row that stays whole by itself


def main() -> None:
    """Measure in a server of our own."""
    parser = argparse.ArgumentParser(prog="qafila bench loader", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch-rows", type=int, default=10_000, help="rows a transaction")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if given.rows < 1_000:
        raise machine.NotMeasured("fewer than 1 000 rows are over before a clock can tell.")
    rows = make_rows(0, given.rows, given.dim, given.seed)
    long_rows = given.dim > _LONGEST_WHOLE
    with setting() as here:
        measure = Measure(here, rows, given, inline=long_rows)
        with two_writers(
            here.target_url, _TWO, given.rows // 2, given.dim, given.batch_rows, given.seed
        ) as two:
            raw = measure.rounds(two, given.rounds) | measure.others()
            toasted = Measure(here, rows, given, inline=False).rounds(two, 3) if long_rows else {}
    figures = figures_of(given, raw)
    if toasted:
        figures["toasted"] = figures_of(given, toasted)
    machine.show(
        "loader",
        figures,
        seed=given.seed,
        raw_seconds={**raw, **{f"toasted_{k}": v for k, v in toasted.items()}},
        notes={
            "floor": "one COPY of prebuilt bytes into a logged table of the same make; the faster "
            "of two piece sizes",
            "full_text": "none in ratio and ratio_two, the hard case: with lexemes the server is "
            f"so busy that both are equal (ratio_english, {given.rows // 5} rows)",
            "ratio_two_bare": "two bare COPY streams over one: what this machine has to give",
            "ratio_two_of_bare_two": "our two writers over two bare COPY streams",
            "executemany": f"INSERT by psycopg's executemany into a table without an index, as "
            f"ours is while it is loaded, {given.rows // 10} rows in batches of "
            f"{given.batch_rows}",
            "upsert": "the same with ON CONFLICT DO UPDATE, which needs a unique index that ours "
            "builds after the load",
        },
    )


def figures_of(given: argparse.Namespace, raw: Timings) -> dict[str, object]:
    """Return ratios and rates of some timings."""
    floors = [min(pair) for pair in zip(*(raw[_floor_name(p)] for p in _PIECES), strict=True)]
    figures: dict[str, object] = {
        "rows": given.rows,
        "dimensions": given.dim,
        "batch_rows": given.batch_rows,
        "ratio": _ratio(floors, raw["ours"]),
        "ratio_two": _ratio(floors, raw["ours_two"]),
        "ratio_two_bare": _ratio(floors, raw["bare_two"]),
        "ratio_two_of_bare_two": _ratio(raw["bare_two"], raw["ours_two"]),
        f"ratio_batches_of_{_SMALL}": _ratio(floors, raw["ours_small"]),
        "floor_rows_per_s": round(given.rows / median(floors)),
        "rows_per_s": round(given.rows / median(raw["ours"])),
        "rows_per_s_two": round(given.rows / median(raw["ours_two"])),
    }
    if "executemany" in raw:
        figures["ratio_english"] = _ratio(raw["floor_english"], raw["ours_english"])
        for name in ("executemany", "upsert"):
            seconds = median(raw[name]) * 10  # a tenth of the rows
            figures[f"{name}_rows_per_s"] = round(given.rows / seconds)
            figures[f"times_{name}"] = round(seconds / median(raw["ours"]), 1)
    return figures


def _ratio(floors: list[float], ours: list[float]) -> float:
    """Return the median of the rounds' ratios: what both met in a round cancels out."""
    return round(median([f / o for f, o in zip(floors, ours, strict=True)]), 3)


def _floor_name(piece: int) -> str:
    return f"floor_{piece // 1024}_kb"


class Measure:
    """All timings of one set of rows on one server, into tables of one make."""

    def __init__(
        self, here: Setting, rows: Rows, given: argparse.Namespace, *, inline: bool = False
    ) -> None:
        self._here, self._rows, self._given = here, rows, given
        self._how = {"inline_vectors": inline}
        self._stream = b"".join(packed(rows, given.dim, _FLOOR))

    def rounds(self, two: TwoWriters, count: int) -> Timings:
        """Time each contender ``count`` times, and once before that warms files and caches.

        Each round begins with another one, since each leaves the server something to write.
        """
        contenders: dict[str, Callable[[], float]] = {
            **{_floor_name(size): partial(self._floor, size) for size in _PIECES},
            "ours": partial(self._ours, self._given.batch_rows),
            "ours_small": partial(self._ours, _SMALL),
            "ours_two": partial(self._by_two, two, "ours"),
            "bare_two": partial(self._by_two, two, "bare"),
        }
        raw: Timings = {name: [] for name in contenders}
        names = list(contenders)
        for number in range(count + 1):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                seconds = contenders[name]()
                raw[name].extend([seconds] if number else [])
        return raw

    def others(self) -> Timings:
        """Time what takes longer: with lexemes, and the plain way."""
        part = self._given.rows // 5
        rows = Rows(self._rows.chunks[:part], self._rows.vectors[:part])
        stream = b"".join(packed(rows, self._given.dim, _FLOOR))
        how = {**self._how, "full_text": "english"}
        floors, ours = [], []
        for _ in range(3):
            with new_store(self._here, _TEXT, self._given.dim, **how) as store:
                ours.append(self._timed_load(store, rows, self._given.batch_rows))
            with new_store(self._here, _TEXT, self._given.dim, **how):
                floors.append(self._send(stream, _PIECES[1], _TEXT))
        plain = [self._executemany(upsert=False) for _ in range(3)]
        upserts = [self._executemany(upsert=True) for _ in range(3)]
        return {
            "floor_english": floors,
            "ours_english": ours,
            "executemany": plain,
            "upsert": upserts,
        }

    def floor(self) -> float:
        """Time a bare COPY once."""
        return self._floor(_PIECES[1])

    def _floor(self, piece: int) -> float:
        with new_store(self._here, _FLOOR, self._given.dim, **self._how):
            return self._send(self._stream, piece, _FLOOR)

    def _send(self, stream: bytes, piece: int, generation: int) -> float:
        pieces = [stream[at : at + piece] for at in range(0, len(stream), piece)]
        with self._here.target() as target:
            begun = time.perf_counter()
            with target.cursor().copy(copy_statement(generation)) as copy:
                for part in pieces:
                    copy.write(part)
            return time.perf_counter() - begun

    def _ours(self, batch_rows: int) -> float:
        with new_store(self._here, _OURS, self._given.dim, **self._how) as store:
            return self._timed_load(store, self._rows, batch_rows)

    def _timed_load(self, store: PgvectorStore, rows: Rows, batch_rows: int) -> float:
        begun = time.perf_counter()
        load(store, rows, batch_rows)
        seconds = time.perf_counter() - begun
        _require(store, len(rows.chunks))
        return seconds

    def _by_two(self, two: TwoWriters, what: str) -> float:
        with new_store(self._here, _TWO, self._given.dim, **self._how) as store:
            seconds = two.run(what)
            _require(store, self._given.rows // 2 * 2)
            return seconds

    def _executemany(self, *, upsert: bool) -> float:
        part = self._given.rows // 10
        name = sql.Identifier("qafila", place(_UPSERT, 1).name)
        columns = [c for c in COLUMNS if c != "embedding"]
        query = sql.SQL("INSERT INTO {} ({}, embedding) VALUES ({}){}").format(
            name,
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join([sql.Placeholder()] * len(COLUMNS)),
            sql.SQL(
                " ON CONFLICT (source_key, chunk_number)"
                " DO UPDATE SET text = excluded.text, embedding = excluded.embedding"
                if upsert
                else ""
            ),
        )
        values = list(_values(Rows(self._rows.chunks[:part], self._rows.vectors[:part])))
        batch_rows = self._given.batch_rows
        with (
            new_store(self._here, _UPSERT, self._given.dim, **self._how),
            self._here.target() as target,
        ):
            from pgvector.psycopg import register_vector

            register_vector(target)
            if upsert:
                target.execute(
                    sql.SQL("CREATE UNIQUE INDEX ON {} (source_key, chunk_number)").format(name)
                )
            begun = time.perf_counter()
            for at in range(0, part, batch_rows):
                with target.transaction():
                    target.cursor().executemany(query, values[at : at + batch_rows])
            return time.perf_counter() - begun


def _require(store: PgvectorStore, rows: int) -> None:
    found = store.count()
    if found != rows:
        raise machine.NotMeasured(f"{found} rows arrived of {rows}.")


def _values(rows: Rows) -> Iterator[tuple[object, ...]]:
    for c, vector in zip(rows.chunks, rows.vectors, strict=True):
        yield (
            c.digest,
            _UPSERT,
            "f" * 16,
            c.number,
            c.start,
            c.end,
            c.source_key,
            c.title,
            c.text,
            list(c.acl),
            Jsonb(dict(c.metadata)),
            vector,
        )


if __name__ == "__main__":
    main()
