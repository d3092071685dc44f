"""PostgreSQL stops at once while a column is filled: rows and checkpoint stay one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from benchmarks.setting import Setting, setting
from qafila.backfill.patience import is_away
from qafila.errors import BackfillHalted
from qafila.stores.column.store import ColumnStore
from qafila.stores.port import Checkpoint, Chunk, Place
from qafila.workload.fingerprint import text_digest
from tests.integration.backfill.restarting import stop_at_once, until
from tests.support.columns import HASTY, ITEM, TARGET, make_item_table

ROWS, BATCH_ROWS = 120, 4


@pytest.fixture(scope="module")
def here() -> Iterator[Setting]:
    """A PostgreSQL of its own, which by itself writes its log to the disk as seldom as it can."""
    with setting() as here:
        with here.target() as database:
            database.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            database.execute("SELECT pg_reload_conf()")
            make_item_table(database)
            database.execute(
                "INSERT INTO item (id, body) SELECT 'k' || lpad(n::text, 4, '0'), 'text ' || n"
                " FROM generate_series(0, %s) AS n",
                [ROWS - 1],
            )
        yield here


def stop_at_once_and_start(here: Setting) -> None:
    """As when the power goes: no checkpoint, and what is not on the disk is gone."""
    stop_at_once(here)
    here.restart()


def opened(database: psycopg.Connection, generation: int) -> ColumnStore:
    place = Place("live", generation, "f" * 16, 8)
    return ColumnStore(database, place, TARGET, ITEM, patience=HASTY)


def fill(store: ColumnStore, mark: Checkpoint, *, finished: bool) -> None:
    """Write from the checkpoint on to the last row, batch by batch."""
    for begin in range(mark.rows, ROWS, BATCH_ROWS):
        rows = range(begin, begin + BATCH_ROWS)
        batch = [
            Chunk(f"k{n:04}", 0, 0, 1, "", f"text {n}", text_digest(f"text {n}"), ["everyone"])
            for n in rows
        ]
        mark = Checkpoint(0, mark.epoch, [f"k{rows[-1]:04}"], rows[-1] + 1, rows[-1] + 1)
        store.write(batch, np.eye(8, dtype=np.float32)[[n % 8 for n in rows]], mark)
    if finished:
        done = Checkpoint(0, mark.epoch, mark.last_key, mark.rows, mark.chunks, True)
        store.write([], np.zeros((0, 8), np.float32), done)


def test_a_batch_is_lost_with_its_checkpoint_or_not_at_all(here: Setting) -> None:
    kept = []
    for generation in (1, 2):
        with here.target() as database:
            store = opened(database, generation)
            store.prepare()
            fill(store, store.claim(0, 1), finished=False)
            assert store.count() == ROWS
            stop_at_once_and_start(here)  # before the session ends, which would write to the disk
        with here.target() as database:
            store = opened(database, generation)
            mark = store.claim(0, 2)
            assert mark.rows == mark.chunks == store.count()
            kept.append(mark.rows)
            fill(store, mark, finished=True)
            assert store.count() == ROWS
    assert min(kept) < ROWS  # else the stop came too late to show anything


@pytest.mark.parametrize(("generation", "waits"), [(3, "on"), (4, "off")])
def test_a_finished_shard_is_on_the_disk_with_all_its_batches(
    here: Setting, generation: int, waits: str
) -> None:
    """Also where the database says that no commit need wait: the ledger relies on this one."""
    with here.target() as database:
        database.execute(f"SET synchronous_commit = {waits}")
        store = opened(database, generation)
        store.prepare()
        fill(store, store.claim(0, 1), finished=True)
        stop_at_once_and_start(here)  # before the session ends, which would write to the disk
    with here.target() as database:
        store = opened(database, generation)
        mark = store.claim(0, 2)
        assert mark.finished
        assert mark.rows == store.count() == ROWS


def indexes(here: Setting, generation: int) -> list[bool]:
    """Return of each HNSW index on the generation's column whether it is valid."""
    with here.target() as database:
        rows = database.execute(
            "SELECT i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
            " JOIN pg_am AS m ON m.oid = c.relam"
            " WHERE i.indrelid = 'item'::regclass AND m.amname = 'hnsw'"
            " AND pg_get_indexdef(i.indexrelid) LIKE %s",
            [f"%g{generation}%"],
        ).fetchall()
    return [bool(valid) for (valid,) in rows]


def hold_up(here: Setting) -> psycopg.Connection:
    """Begin a transaction of the application that any build waits for; closing ends it."""
    application = here.target()
    application.execute("BEGIN")
    application.execute("UPDATE item SET body = body WHERE id = 'k0000'")
    return application


def filled(here: Setting, generation: int) -> None:
    with here.target() as database:
        store = opened(database, generation)
        store.prepare()
        fill(store, store.claim(0, 1), finished=True)


def build_waits(here: Setting) -> bool:
    """Say whether a build has its index in the catalogue and waits for others."""
    with here.target() as database:
        row = database.execute(
            "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for writers%'"
        ).fetchone()
    return row is not None


def test_an_index_that_a_stop_left_invalid_is_dropped_and_built_again(here: Setting) -> None:
    filled(here, 5)
    found: list[list[bool]] = []

    def stop_while_it_waits() -> None:
        until(lambda: build_waits(here))
        stop_at_once_and_start(here)

    def build() -> None:
        with here.target() as database:
            found.append(indexes(here, 5))
            opened(database, 5).build_index()

    application = hold_up(here)
    stopping = threading.Thread(target=stop_while_it_waits)
    stopping.start()
    with pytest.raises((BackfillHalted, psycopg.OperationalError)) as halted:
        build()
    assert is_away(halted.value)
    stopping.join()
    application.close()
    build()
    assert found == [[], [False]]
    assert indexes(here, 5) == [True]


def test_a_build_that_somebody_cancels_leaves_nothing_and_is_not_begun_again(
    here: Setting,
) -> None:
    filled(here, 6)
    application = hold_up(here)

    def cancel() -> None:
        until(lambda: build_waits(here))
        with here.target() as operator:
            operator.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")
        application.close()  # also dropping what is left waits for open transactions

    cancelling = threading.Thread(target=cancel)
    cancelling.start()

    with (
        here.target() as database,
        pytest.raises(BackfillHalted, match="somebody cancelled the build") as halted,
    ):
        opened(database, 6).build_index()
    assert not is_away(halted.value)
    cancelling.join()
    assert indexes(here, 6) == []
    with here.target() as database:
        opened(database, 6).build_index()
    assert indexes(here, 6) == [True]


def test_a_build_ends_soon_after_the_process_that_asked_for_it(here: Setting) -> None:
    """Else it would go on for hours, and hold up the one that is begun after it."""
    filled(here, 7)
    application = hold_up(here)
    with here.target() as database:

        def vanish() -> None:
            until(lambda: build_waits(here))
            line = socket.socket(fileno=database.pgconn.socket)
            line.shutdown(socket.SHUT_RDWR)
            line.detach()

        vanishing = threading.Thread(target=vanish)
        vanishing.start()
        with pytest.raises(psycopg.OperationalError):
            opened(database, 7).build_index()
        vanishing.join()
    until(lambda: not build_waits(here), 20)
    application.close()
    with here.target() as database:
        opened(database, 7).build_index()
    assert indexes(here, 7) == [True]
