"""The way back where generations are columns of the application's own table."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector import Vector
from pgvector.psycopg import register_vector

from qafila.errors import Unavailable
from qafila.ledger.ledger import apply_workload, open_generation
from qafila.rollback.rollback import RolledBack, roll_back
from qafila.stores.column.store import ColumnStore
from qafila.stores.pointer_row import move_alias, read_alias
from qafila.stores.port import Place
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.support.columns import ITEM, TARGET, make_item_table
from tests.support.edges import Edge
from tests.support.routed_workload import FINGERPRINT

NAME = "aws-docs-search"
OLD, NEW = 4, 8


@pytest.fixture
def connect(target_url: str) -> Iterator[Callable[[], psycopg.Connection[Any]]]:
    opened: list[psycopg.Connection[Any]] = []

    def open_one() -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(target_url, autocommit=True))
        register_vector(opened[-1])
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def promoted(
    ledger: psycopg.Connection[Any],
    workload: Workload,
    connect: Callable[[], psycopg.Connection[Any]],
) -> Workload:
    """Generation 1 serves under the application's name; the application's own is ``_g0``."""
    block = workload.corpus.target.block
    spec = Workload.model_validate(
        {
            **workload.model_dump(),
            "name": NAME,
            "corpus": {
                **workload.corpus.model_dump(),
                "source": {
                    "kind": "postgres",
                    "block": block,
                    "table": "item",
                    "key": ["id"],
                    "text": ["body"],
                },
                "chunking": {"method": "whole"},
                "target": {**TARGET.model_dump(), "block": block},
            },
        }
    )
    apply_workload(ledger, spec)
    target = connect()
    make_item_table(target, OLD)
    target.execute("INSERT INTO item SELECT 'k' || n, 'text' FROM generate_series(1, 50) AS n")
    ColumnStore(target, Place(NAME, 1, FINGERPRINT.digest, NEW), TARGET, ITEM).prepare()
    move_alias(target, NAME, 1, 1)
    ledger.execute("UPDATE qafila.generation SET phase = 'promoted'")
    return spec


def dimensions(target: psycopg.Connection[Any]) -> str:
    """Return the type under the application's name; asks the catalog, so it waits for nobody."""
    row = target.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'item'::regclass AND attname = 'embedding'"
    ).fetchone()
    assert row is not None
    return str(row[0])


def phases(ledger: psycopg.Connection[Any]) -> dict[int, str]:
    return dict(ledger.execute("SELECT number, phase FROM qafila.generation").fetchall())


def in_the_background(ledger_url: str, **options: Any) -> tuple[threading.Thread, list[RolledBack]]:
    ended: list[RolledBack] = []

    def run() -> None:
        with psycopg.connect(ledger_url, autocommit=True) as own:
            ended.append(roll_back(own, NAME, "quality fell", **options))

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


@pytest.mark.parametrize("router_down", [False, True])
def test_the_names_are_back_while_the_proof_still_goes_on(
    edge: Edge,
    promoted: Workload,
    ledger_url: str,
    connect: Callable[[], psycopg.Connection[Any]],
    router_down: bool,
) -> None:
    target = connect()
    assert dimensions(target) == f"vector({NEW})"
    if router_down:  # its acknowledgement is then waited for, three seconds long
        edge.process.kill()
        edge.process.wait()
    begun = time.monotonic()
    thread, ended = in_the_background(ledger_url, proof_seconds=2.5)
    while dimensions(target) != f"vector({OLD})" and thread.is_alive():
        time.sleep(0.005)
    waited, still = time.monotonic() - begun, thread.is_alive()
    thread.join()
    if router_down:
        edge.restart()
    assert still
    assert waited < 2.0
    wanted = Verdict.INCONCLUSIVE if router_down else Verdict.PASS
    assert ended[0].verdict is wanted, ended[0].sentence


def test_with_a_reader_in_the_way_the_swap_is_brief_and_no_write_is_lost(
    edge: Edge,
    promoted: Workload,
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    connect: Callable[[], psycopg.Connection[Any]],
) -> None:
    """A transaction holds the table for a second; the application goes on reading and writing."""
    long, application, stop = connect(), connect(), threading.Event()
    waits: list[float] = []
    written: dict[str, int | None] = {}

    def write_on() -> None:
        while not stop.is_set():
            begun, key = time.perf_counter(), f"w{len(written)}"
            with application.transaction():
                row = application.execute(
                    "SELECT (SELECT generation FROM qafila.alias WHERE workload = %s)"
                    " FROM item LIMIT 1",
                    [NAME],
                ).fetchone()
                assert row is not None
                vector = np.full(NEW if row[0] == 1 else OLD, 0.5, np.float32)
                application.execute(
                    "INSERT INTO item (id, body, embedding) VALUES (%s, 'x', %s)",
                    [key, Vector(vector)],
                )
            written[key] = row[0]
            waits.append(time.perf_counter() - begun)
            time.sleep(0.002)

    writing = threading.Thread(target=write_on)
    writing.start()
    with long.transaction():
        long.execute("SELECT count(*) FROM item").fetchone()
        thread, ended = in_the_background(ledger_url, proof_seconds=0.1)
        time.sleep(1.0)
        assert dimensions(long) == f"vector({NEW})"
        assert edge.router.read().candidate_percent == 0  # nothing waits for the reader but names
    thread.join()
    time.sleep(0.2)
    stop.set()
    writing.join()
    assert ended[0].verdict is Verdict.PASS, ended[0].sentence
    assert dimensions(long) == f"vector({OLD})"
    assert max(waits) < 0.3  # 25 ms behind an attempt, and a busy machine's share
    rows = long.execute(
        "SELECT id, embedding IS NOT NULL, embedding_g1 IS NOT NULL FROM item WHERE body = 'x'"
    ).fetchall()
    held = {key: 1 if new else None for key, old, new in rows if old != new}
    assert held == written
    assert set(written.values()) == {1, None}


def test_a_swap_that_fails_leaves_something_to_take_back(
    edge: Edge,
    promoted: Workload,
    ledger: psycopg.Connection[Any],
    connect: Callable[[], psycopg.Connection[Any]],
) -> None:
    target = connect()
    target.execute("ALTER TABLE item RENAME COLUMN embedding_g0 TO hidden")
    outcome = roll_back(ledger, NAME, "quality fell", proof_seconds=0.1)
    assert outcome.verdict is Verdict.ERROR
    assert "no column embedding_g0 any more" in outcome.sentence
    assert phases(ledger) == {1: Phase.PROMOTED}
    target.execute("ALTER TABLE item RENAME COLUMN hidden TO embedding_g0")
    assert roll_back(ledger, NAME, "again", proof_seconds=0.1).verdict is Verdict.PASS
    assert dimensions(target) == f"vector({OLD})"
    assert roll_back(ledger, NAME, "once more").already


def test_without_a_readable_router_the_names_are_swapped_back_all_the_same(
    edge: Edge,
    promoted: Workload,
    ledger: psycopg.Connection[Any],
    connect: Callable[[], psycopg.Connection[Any]],
) -> None:
    target, routes = connect(), edge.folder / "rds.json"
    aside = routes.rename(edge.folder / "aside.json")
    try:
        with pytest.raises(Unavailable, match="no routes"):
            roll_back(ledger, NAME, "quality fell")
    finally:
        aside.rename(routes)
    assert dimensions(target) == f"vector({OLD})"
    assert roll_back(ledger, NAME, "again", proof_seconds=0.1).verdict is Verdict.PASS


@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.PROMOTED])
def test_only_the_newest_generation_is_taken_back_and_what_served_before_serves_on(
    edge: Edge,
    promoted: Workload,
    ledger: psycopg.Connection[Any],
    connect: Callable[[], psycopg.Connection[Any]],
    phase: Phase,
) -> None:
    target = connect()
    second = open_generation(ledger, promoted, FINGERPRINT)
    assert second.number == 2
    ColumnStore(target, Place(NAME, 2, FINGERPRINT.digest, 6), TARGET, ITEM).prepare()
    ledger.execute("UPDATE qafila.generation SET phase = %s WHERE number = 2", [phase.value])
    if phase is Phase.PROMOTED:
        move_alias(target, NAME, 2, 2)
        assert dimensions(target) == "vector(6)"
    for n in range(2):
        outcome = roll_back(ledger, NAME, "quality fell", proof_seconds=0.1)
        assert outcome.already == bool(n)
        alias = read_alias(target, NAME)
        assert alias is not None
        assert (alias.generation, alias.trial) == (1, None)
        assert dimensions(target) == f"vector({NEW})"
        assert phases(ledger) == {1: Phase.PROMOTED, 2: Phase.ROLLED_BACK}
