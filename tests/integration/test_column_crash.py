"""PostgreSQL stops at once while a column is filled: rows and checkpoint stay one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import numpy as np
import psutil
import psycopg
import pytest

from benchmarks.setting import Setting, setting
from qafila.core.fingerprint import text_digest
from tasks.stores.column import ColumnStore
from tasks.stores.port import Checkpoint, Chunk, Place
from tests.columns import HASTY, ITEM, TARGET, make_item_table

ROWS, BATCH_ROWS = 120, 4


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
    os.kill(here.server.pid, signal.SIGQUIT)
    deadline = time.monotonic() + 20
    while _alive(here.server.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
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
