"""Settle and clean-up against a real ledger and target: what is needed stays, the rest goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from blocks import PostgresDatabase
from qafila.backfill.generations import open_for
from qafila.cli import app
from qafila.endpoints import open_store
from qafila.errors import Refused
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import evidence_of, latest_evidence
from qafila.ledger.ledger import Generation, apply_workload, newest_generation
from qafila.live_sync.outbox import Life, lives
from qafila.rollout.clean_up import clean_up, plan_clean_up, reason_to_keep, settle
from qafila.stores.pointer_row import Alias, move_alias, set_trial
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.columns import LAYOUT, make_item_table
from tests.support.corpus import demo_workload

pytestmark = pytest.mark.usefixtures("ledger_named")

LATER = datetime.now(UTC) + timedelta(days=2)


@pytest.fixture
def target(target_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def applied(ledger: psycopg.Connection[Any], url: str, **corpus: Any) -> Workload:
    workload = demo_workload(**corpus)
    for name in ("demo-source", "demo-target"):
        record_connection(ledger, name, PostgresDatabase(url=url))
    apply_workload(ledger, workload)
    return workload


def stand(ledger: psycopg.Connection[Any], generation: Generation, phase: Phase) -> None:
    ledger.execute(
        "UPDATE qafila.generation SET phase = %s WHERE number = %s",
        [phase.value, generation.number],
    )


def opened(ledger: psycopg.Connection[Any], workload: Workload, phase: Phase) -> Generation:
    generation = open_for(ledger, workload)
    with open_store(ledger, workload, generation) as store:
        store.prepare()
    stand(ledger, generation, phase)
    return generation


def deletable(ledger: psycopg.Connection[Any], workload: Workload) -> list[int]:
    return [one.generation for one in plan_clean_up(ledger, workload.name).leftovers]


def test_a_table_is_deleted_when_its_successor_is_settled_and_not_before(
    ledger: psycopg.Connection[Any], target: psycopg.Connection[Any], target_url: str
) -> None:
    workload = applied(ledger, target_url)
    name = workload.name
    abandoned = opened(ledger, workload, Phase.ABANDONED)
    first = opened(ledger, workload, Phase.PROMOTED)
    move_alias(target, name, first.number, 1)
    second = opened(ledger, workload, Phase.PROMOTED)
    move_alias(target, name, second.number, 2)
    third = opened(ledger, workload, Phase.BACKFILLED)
    set_trial(target, name, third.number, 2)
    assert deletable(ledger, workload) == [abandoned.number]
    with pytest.raises(Refused, match="is held until"):
        settle(ledger, name, "A. Operator")
    with pytest.raises(Refused, match="name of who decides"):
        settle(ledger, name, " ", LATER)
    stand(ledger, third, Phase.ABANDONED)
    with pytest.raises(Refused, match="is held until"):
        settle(ledger, name, "A. Operator", early=" ")
    assert settle(ledger, name, "A. Operator", early="the disk is full").number == second.number
    assert "before its time: the disk is full" in evidence_of(ledger, name)[0].sentence
    assert deletable(ledger, workload) == [abandoned.number, first.number]
    wanted = plan_clean_up(ledger, name)
    assert wanted.leftovers[1].statements[0] == (
        f'DROP TABLE IF EXISTS "qafila"."chunk_aws_docs_search_g{first.number}"'
    )
    clean_up(ledger, name, wanted)
    rows = target.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'chunk_%'")
    assert {t for (t,) in rows.fetchall()} == {
        f"chunk_aws_docs_search_g{n}" for n in (second.number, third.number)
    }
    assert deletable(ledger, workload) == []
    kept = latest_evidence(ledger, name, "clean-up")
    assert kept is not None
    assert kept.generation == first.number
    with pytest.raises(Refused, match="no promoted generation"):
        settle(ledger, name, "A. Operator", LATER)


def test_what_a_rollback_returned_to_can_be_settled(
    ledger: psycopg.Connection[Any], target_url: str
) -> None:
    workload = applied(ledger, target_url)
    first = opened(ledger, workload, Phase.PROMOTED)
    second = opened(ledger, workload, Phase.CANARY)
    with pytest.raises(Refused, match="no promoted generation"):
        settle(ledger, workload.name, "A. Operator", LATER)
    stand(ledger, second, Phase.ROLLED_BACK)
    assert settle(ledger, workload.name, "A. Operator", LATER).number == first.number


def test_what_was_not_shown_is_not_deleted(
    ledger: psycopg.Connection[Any], target_url: str
) -> None:
    workload = applied(ledger, target_url)
    opened(ledger, workload, Phase.ABANDONED)
    shown = plan_clean_up(ledger, workload.name)
    opened(ledger, workload, Phase.ABANDONED)
    with pytest.raises(Refused, match="changed since it was shown"):
        clean_up(ledger, workload.name, shown)
    assert deletable(ledger, workload) == [1, 2]


def test_the_old_column_goes_with_its_indexes_by_the_command(
    ledger: psycopg.Connection[Any], target: psycopg.Connection[Any], target_url: str
) -> None:
    make_item_table(target, 4)
    target.execute("CREATE INDEX item_by_vector ON item USING hnsw (embedding vector_cosine_ops)")
    workload = applied(
        ledger,
        target_url,
        source={
            "kind": "postgres",
            "block": "demo-target",
            "table": "item",
            "key": ["id"],
            "text": ["body"],
        },
        target={"kind": "pgvector", "block": "demo-target", "column": LAYOUT.model_dump()},
        chunking={"method": "whole"},
    )
    name = workload.name
    generation = opened(ledger, workload, Phase.PROMOTED)
    assert plan_clean_up(ledger, name).leftovers == ()
    move_alias(target, name, generation.number, 1)
    assert "a rollback returns to it" in plan_clean_up(ledger, name).kept[0]
    settle(ledger, name, "A. Operator", LATER)

    def command(*options: str) -> str:
        done = CliRunner().invoke(app, ["clean-up", name, *options])
        assert done.exit_code == 0, done.output
        return done.output

    said = command()
    assert 'DROP INDEX CONCURRENTLY IF EXISTS "public"."item_by_vector"' in said
    assert 'DROP COLUMN IF EXISTS "embedding_g0"' in said
    assert "Nothing was deleted" in said
    assert "embedding_g0" in columns(target)
    target.execute("CREATE VIEW shown AS SELECT embedding_g0 FROM item")
    refused = CliRunner().invoke(app, ["clean-up", name, "--yes"])
    assert isinstance(refused.exception, Refused)
    assert "view shown" in refused.exception.what
    indexes = "SELECT FROM pg_indexes WHERE indexname = 'item_by_vector'"
    assert target.execute(indexes).fetchone() is not None
    target.execute("DROP VIEW shown")
    assert json.loads(command("--yes", "--json"))["deleted"]
    assert columns(target) == {"id", "body", "readers", "embedding", "embedding_g1_digest"}
    assert target.execute(indexes).fetchone() is None
    newest = newest_generation(ledger, name)
    assert newest is not None
    assert newest.phase == Phase.CLEANED
    assert "nothing to clean up" in command("--yes")


def columns(target: psycopg.Connection[Any]) -> set[str]:
    rows = target.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0"
        " AND NOT attisdropped"
    ).fetchall()
    return {name for (name,) in rows}


@given(st.data())
def test_what_serves_or_is_returned_to_is_never_deleted(data: st.DataObject) -> None:
    phases = dict(enumerate(data.draw(st.lists(st.sampled_from(Phase), max_size=4)), 1))
    some = st.sampled_from([None, *phases])
    alias = Alias("w", data.draw(some), data.draw(some), data.draw(some), 1)
    life = lives(phases, data.draw(st.sets(st.sampled_from([0, *phases]))))
    settled = alias.generation is not None and phases[alias.generation] in (
        Phase.SETTLED,
        Phase.CLEANED,
    )
    for number in (0, *phases):
        if reason_to_keep("w", number, alias, phases, life.get(number)) is not None:
            continue
        assert number not in (alias.generation, alias.trial)
        assert number != 0 or alias.generation is not None
        if not settled:
            assert number not in (0, alias.previous)
        assert life.get(number, Life.FORGOTTEN) is Life.FORGOTTEN
