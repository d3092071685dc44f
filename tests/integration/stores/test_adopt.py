"""The application's own column, taken in as a generation whose model is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from pgvector import Vector
from pgvector.psycopg import register_vector

from blocks import PostgresDatabase
from qafila.backfill.adopt import adopt_column
from qafila.backfill.generations import open_for
from qafila.decision.preflight import gather_facts
from qafila.endpoints import embedder_of, open_store
from qafila.errors import BadInput, Refused
from qafila.ledger.connections import record_connection
from qafila.ledger.ledger import apply_workload, generation_of, move_phase, newest_generation
from qafila.live_sync.feeder import feed_all
from qafila.live_sync.lifecycle import ensure_capture
from qafila.stores.pointer_row import Alias, move_alias, read_alias, return_alias
from qafila.workload.corpus import WordLlamaEmbedder
from qafila.workload.model import Workload
from qafila.workload.phases import Event, Phase
from tests.support.columns import LAYOUT, make_item_table
from tests.support.corpus import demo_workload

pytestmark = pytest.mark.usefixtures("ledger_named")

OLD, NEW = 64, 128
NAME = "aws-docs-search"
BODIES = [f"Stores object number {n} in a bucket of its own" for n in range(30)]


@pytest.fixture
def target(target_url: str) -> Iterator[psycopg.Connection[Any]]:
    """The application's table, each row with the old model's vector of its text."""
    with psycopg.connect(target_url, autocommit=True) as connection:
        register_vector(connection)
        make_item_table(connection, OLD)
        made = embedder_of(WordLlamaEmbedder(kind="wordllama", dimensions=OLD)).embed(BODIES)
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO item (id, body, embedding) VALUES (%s, %s, %s)",
                [
                    (f"k{n}", b, Vector(v))
                    for n, (b, v) in enumerate(zip(BODIES, made, strict=True))
                ],
            )
        yield connection


@pytest.fixture
def apply(ledger: psycopg.Connection[Any], target_url: str) -> Callable[..., Workload]:
    def apply_it(dimensions: int = OLD, **corpus: Any) -> Workload:
        workload = demo_workload(
            **{
                "source": {
                    "kind": "postgres",
                    "block": "demo-target",
                    "table": "item",
                    "key": ["id"],
                    "text": ["body"],
                },
                "target": {
                    "kind": "pgvector",
                    "block": "demo-target",
                    "column": LAYOUT.model_dump(),
                },
                "chunking": {"method": "whole"},
                "embedder": {"kind": "wordllama", "dimensions": dimensions},
                "live_sync": True,
                **corpus,
            }
        )
        for name in ("demo-source", "demo-target"):
            record_connection(ledger, name, PostgresDatabase(url=target_url))
        apply_workload(ledger, workload)
        return workload

    return apply_it


def test_a_rollback_to_an_adopted_column_loses_no_write(
    ledger: psycopg.Connection[Any], target: psycopg.Connection[Any], apply: Callable[..., Workload]
) -> None:
    apply()
    adopted = adopt_column(ledger, NAME, "A. Operator")
    assert (adopted.generation.number, adopted.generation.phase) == (1, Phase.SETTLED)
    assert adopted.compared == 20
    assert adopted.likeness is not None
    assert adopted.likeness > 0.9999
    assert read_alias(target, NAME) == Alias(NAME, 1, None, None, 1)
    with pytest.raises(Refused, match="generation 1 of aws-docs-search is settled"):
        adopt_column(ledger, NAME, "A. Operator")

    workload = apply(NEW)
    second = open_for(ledger, workload)
    assert second.number == 2
    assert gather_facts(ledger, NAME, 2).way_back_is_fed
    ensure_capture(ledger, workload, second)
    with open_store(ledger, workload, second) as store:
        store.prepare()
    for event in (
        Event.AUDIT_ACCEPTED,
        Event.DECISION_APPROVED,
        Event.PLAN_APPLIED,
        Event.ALL_LOADED,
        Event.LADDER_PASS,
        Event.DRILL_PASS,
        Event.FIRST_WEIGHT,
        Event.BAKE_PASS,
    ):
        second = move_phase(ledger, second, event)
    move_alias(target, NAME, 2, 2)
    target.execute("INSERT INTO item (id, body) VALUES ('new', 'Deletes a bucket')")
    target.execute("UPDATE item SET body = 'Copies a bucket' WHERE id = 'k1'")
    fed = feed_all(ledger, workload)
    assert {one.generation: one.problem for one in fed} == {1: "", 2: ""}
    return_alias(target, NAME, [2], 3)
    wanted = embedder_of(WordLlamaEmbedder(kind="wordllama", dimensions=OLD)).embed(
        ["Copies a bucket", "Deletes a bucket"]
    )
    rows = target.execute(
        "SELECT embedding <=> %s, embedding <=> %s FROM item WHERE id IN ('new', 'k1') ORDER BY id",
        [Vector(wanted[0]), Vector(wanted[1])],
    ).fetchall()
    assert rows[0][0] == pytest.approx(0, abs=1e-5)
    assert rows[1][1] == pytest.approx(0, abs=1e-5)


def test_another_model_is_found_out_and_nothing_is_changed(
    ledger: psycopg.Connection[Any], target: psycopg.Connection[Any], apply: Callable[..., Workload]
) -> None:
    apply(NEW)
    with pytest.raises(Refused, match=r"is vector\(64\); .* say vector\(128\)"):
        adopt_column(ledger, NAME, "A. Operator")
    apply(OLD)
    target.execute("UPDATE item SET body = 'something else altogether ' || id")
    with pytest.raises(Refused, match="makes other vectors of 20 rows"):
        adopt_column(ledger, NAME, "A. Operator")
    target.execute("CREATE VIEW shown AS SELECT embedding FROM item")
    with pytest.raises(BadInput, match="cannot be adopted"):
        adopt_column(ledger, NAME, "A. Operator")
    with pytest.raises(Refused, match="name of who decides"):
        adopt_column(ledger, NAME, "")
    assert newest_generation(ledger, NAME) is None
    assert read_alias(target, NAME) is None
    apply(OLD, target={"kind": "pgvector", "block": "demo-target"})
    with pytest.raises(Refused, match="no column to adopt"):
        adopt_column(ledger, NAME, "A. Operator")


def test_it_is_adopted_also_after_a_generation_was_begun_and_abandoned(
    ledger: psycopg.Connection[Any], target: psycopg.Connection[Any], apply: Callable[..., Workload]
) -> None:
    """As preflight tells to: the column is known as generation 0 by then, of an unknown model."""
    workload = apply(NEW)
    begun = open_for(ledger, workload)
    assert not gather_facts(ledger, NAME, 1).way_back_is_fed
    with open_store(ledger, workload, begun) as store:
        store.prepare()
    begun = move_phase(ledger, begun, Event.AUDIT_ACCEPTED)
    apply(OLD, live_sync=False)
    with pytest.raises(Refused, match="abandon"):
        adopt_column(ledger, NAME, "A. Operator")
    move_phase(ledger, begun, Event.ABANDON)
    target.execute("UPDATE item SET embedding = NULL")
    adopted = adopt_column(ledger, NAME, "A. Operator")
    assert (adopted.compared, adopted.likeness) == (0, None)
    assert generation_of(ledger, NAME, 2).phase == Phase.SETTLED
    rows = target.execute(
        "SELECT generation, held_as FROM qafila.column_generation ORDER BY generation"
    ).fetchall()
    assert rows == [(1, "embedding_g1"), (2, "embedding")]
