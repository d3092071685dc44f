"""Two ledgers, one target, one workload name: what the pointer names keeps its rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from blocks import PostgresDatabase, QdrantServer
from qafila.backfill.abandon import abandon_generation
from qafila.backfill.adopt_target import adopt_target, look_at_target
from qafila.backfill.generations import open_for
from qafila.backfill.load_plan import empty_target
from qafila.cli import app
from qafila.endpoints import open_store
from qafila.errors import QafilaError, Refused, StaleEpoch
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.ledger import (
    Generation,
    apply_workload,
    claimant_of,
    ledger_identity,
    newest_generation,
)
from qafila.rollout.clean_up import clean_up, plan_clean_up, settle
from qafila.stores.pointer import open_pointer
from qafila.stores.pointer_row import move_alias, read_alias, return_alias, set_trial
from qafila.stores.port import Checkpoint, Chunk, VectorStore
from qafila.stores.qdrant import alias as qdrant_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from tests.support.columns import LAYOUT, make_item_table
from tests.support.corpus import demo_workload

Ledger = psycopg.Connection[Any]
ROWS = 8
COLUMN = PgvectorTarget(kind="pgvector", block="demo-target", column=LAYOUT).model_dump()
QDRANT = {"kind": "qdrant", "block": "demo-target"}


@dataclass
class TwoLedgers:
    """Production and staging; ``use`` makes one the ledger that commands open."""

    production: Ledger
    staging: Ledger
    target_url: str
    workload: Workload
    use: Callable[[Ledger], None]

    @property
    def name(self) -> str:
        return self.workload.name

    def begun(self, ledger: Ledger) -> Generation:
        """Open the generation of a ledger as its flows would, up to the first row."""
        generation = open_for(ledger, self.workload)
        if generation.phase == Phase.REGISTERED:
            stand(ledger, generation, Phase.BACKFILLING)
        return generation

    def filled(self, ledger: Ledger, generation: Generation) -> None:
        with open_store(ledger, self.workload, generation) as store:
            store.prepare()
            write(store, "t1")
        stand(ledger, generation, Phase.BACKFILLED)


def stand(ledger: Ledger, generation: Generation, phase: Phase) -> None:
    ledger.execute(
        "UPDATE qafila.generation SET phase = %s WHERE number = %s",
        [phase.value, generation.number],
    )


def write(store: VectorStore, text: str) -> None:
    epoch = 1
    while True:
        try:
            mark = store.claim(0, epoch)
            break
        except StaleEpoch:
            epoch += 1
    chunks = [
        Chunk(f"k{n}", 0, 0, len(text), "", text, text_digest(text), ["public"])
        for n in range(ROWS)
    ]
    vectors = np.eye(ROWS, 256, dtype=np.float32)
    store.write(chunks, vectors, Checkpoint(mark.shard, epoch, ["k7"], ROWS, ROWS, True))


@pytest.fixture(params=["table", "column"])
def both(
    request: pytest.FixtureRequest,
    fresh: Callable[[str], str],
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TwoLedgers]:
    workload = demo_workload()
    if request.param == "column":
        source = {
            "kind": "postgres",
            "block": "demo-target",
            "table": "item",
            "key": ["id"],
            "text": ["body"],
            "acl": "readers",
        }
        workload = demo_workload(target=COLUMN, source=source)
        with psycopg.connect(target_url, autocommit=True) as target:
            make_item_table(target, 256)
            for n in range(ROWS):
                target.execute("INSERT INTO item VALUES (%s, 't1', '{public}')", [f"k{n}"])
    with ExitStack() as stack:
        urls = [fresh("ledger"), fresh("ledger")]
        ledgers = [stack.enter_context(psycopg.connect(u, autocommit=True)) for u in urls]
        for ledger in ledgers:
            for block in ("demo-source", "demo-target"):
                record_connection(ledger, block, PostgresDatabase(url=target_url))
            apply_workload(ledger, workload)
        at = dict(zip(map(id, ledgers), urls, strict=True))
        use = lambda ledger: monkeypatch.setenv("QAFILA_LEDGER_URL", at[id(ledger)])  # noqa: E731
        yield TwoLedgers(*ledgers, target_url, workload, use)


def count_in(both: TwoLedgers, target: Ledger, number: int) -> int | None:
    """Return how many vectors a generation has; None when it is not there."""
    query = f"SELECT count(*) FROM qafila.chunk_aws_docs_search_g{number}"
    if both.workload.corpus.target.column is not None:  # type: ignore[union-attr]
        row = target.execute(
            "SELECT held_as FROM qafila.column_generation WHERE generation = %s", [number]
        ).fetchone()
        if row is None:
            return None
        query = f"SELECT count({row[0]}) FROM item"
    try:
        found = target.execute(query).fetchone()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        return None
    assert found is not None
    return int(found[0])


def test_a_second_ledger_cannot_empty_what_serves(both: TwoLedgers) -> None:
    """Staging has opened its generation 1 before production's was there: the numbers are equal."""
    staged = both.begun(both.staging)
    first = both.begun(both.production)
    assert (first.number, staged.number) == (1, 1)
    both.filled(both.production, first)
    with psycopg.connect(both.target_url, autocommit=True) as target:
        move_alias(target, both.name, 1, 1)
        stand(both.production, first, Phase.PROMOTED)
        with open_store(both.staging, both.workload, staged) as store:
            assert "belongs to ledger" in store.problems()[0]
            for change in (
                store.prepare,
                lambda: store.claim(0, 9),
                lambda: store.claim_sync(9),
                lambda: empty_target(store, 1, 9),
                store.build_index,
                store.drop,
            ):
                with pytest.raises(Refused, match=r"generation 1 \(it serves\) belongs to ledger"):
                    change()
        ours = ledger_identity(both.staging)
        with pytest.raises(Refused, match="that another ledger owns"):
            set_trial(target, both.name, 1, 9, ledger=ours)
        with pytest.raises(Refused, match="that another ledger owns"):
            move_alias(target, both.name, 1, 9, ledger=ours)
        with pytest.raises(Refused, match="that another ledger owns"):
            return_alias(target, both.name, [1], 9, ledger=ours)
        now = read_alias(target, both.name)
        assert now is not None
        assert (now.generation, now.epoch) == (1, 1)
        assert count_in(both, target, 1) == ROWS
    stand(both.staging, staged, Phase.ABANDONED)
    assert open_for(both.staging, both.workload).number == 2


def test_the_next_number_is_above_the_targets(both: TwoLedgers) -> None:
    for _ in range(3):
        generation = both.begun(both.production)
        both.filled(both.production, generation)
        stand(both.production, generation, Phase.ABANDONED)
    assert open_for(both.staging, both.workload).number == 4


def test_what_was_there_before_owners_is_claimed_by_the_ledger_that_loaded_it(
    both: TwoLedgers,
) -> None:
    first, staged = both.begun(both.production), both.begun(both.staging)
    both.filled(both.production, first)
    with psycopg.connect(both.target_url, autocommit=True) as target:
        move_alias(target, both.name, 1, 1)
        stand(both.production, first, Phase.PROMOTED)
        target.execute("TRUNCATE qafila.generation_owner")
        with (
            open_store(both.staging, both.workload, staged) as store,
            pytest.raises(Refused, match="no owner in the target, and this ledger has it as"),
        ):
            store.claim_sync(1)
        with open_store(both.production, both.workload, first) as store:
            store.claim_sync(1)
        owned = target.execute("SELECT generation, ledger::text FROM qafila.generation_owner")
        assert owned.fetchall() == [(1, ledger_identity(both.production))]


def test_a_collection_of_another_ledger_is_refused(
    fresh: Callable[[str], str], tmp_path: Path
) -> None:
    workload = demo_workload(target=QDRANT)
    with ExitStack() as stack:
        production, staging = (
            stack.enter_context(psycopg.connect(fresh("ledger"), autocommit=True)) for _ in range(2)
        )
        for ledger in (production, staging):
            record_connection(ledger, "demo-target", QdrantServer(path=str(tmp_path)))
            record_connection(ledger, "demo-source", PostgresDatabase(url="postgresql://x/y"))
            apply_workload(ledger, workload)
        staged, first = open_for(staging, workload), open_for(production, workload)
        assert (first.number, staged.number) == (1, 1)
        with open_store(production, workload, first) as store:
            store.prepare()
            write(store, "t")
        stand(staging, staged, Phase.BACKFILLING)
        with open_store(staging, workload, staged) as store:
            for change in (store.prepare, lambda: store.claim(0, 9), store.drop):
                with pytest.raises(Refused, match="belongs to ledger"):
                    change()
            assert store.count() == ROWS
            qdrant_alias.move_alias(store._client, workload.name, 1, 1)  # type: ignore[attr-defined]
        stand(staging, staged, Phase.ABANDONED)
        second = open_for(staging, workload)
        assert second.number == 2
        with (
            open_store(staging, workload, second) as store,
            pytest.raises(Refused, match=r"generation 1 \(it serves\) belongs to ledger"),
        ):
            store.prepare()


def test_a_lost_ledger_is_adopted(both: TwoLedgers) -> None:
    """Generation 1 came before, 2 serves, 3 is on trial; then only the target is left."""
    generations = []
    with psycopg.connect(both.target_url, autocommit=True) as target:
        for phase in (Phase.PROMOTED, Phase.PROMOTED, Phase.BACKFILLED):
            generation = both.begun(both.production)
            both.filled(both.production, generation)
            if phase is Phase.PROMOTED:
                move_alias(target, both.name, generation.number, 7)
            else:
                set_trial(target, both.name, generation.number, 7)
            stand(both.production, generation, phase)
            generations.append(generation)
        both.use(both.staging)
        runner = CliRunner()
        shown = runner.invoke(app, ["adopt-target", both.name])
        assert shown.exit_code == 0, shown.output
        owner = ledger_identity(both.production)
        assert f"g2  {ROWS} rows; it serves; owner {owner}; becomes promoted" in shown.output
        assert f"g3  {ROWS} rows; it is on trial; owner {owner}; becomes abandoned" in shown.output
        assert "Nothing was changed." in shown.output
        assert newest_generation(both.staging, both.name) is None
        unnamed = runner.invoke(app, ["adopt-target", both.name, "--yes"])
        assert unnamed.exit_code != 0
        done = runner.invoke(app, ["adopt-target", both.name, "--by", "operator", "--yes"])
        assert done.exit_code == 0, done.output
        now = read_alias(target, both.name)
        assert now is not None
        assert (now.generation, now.trial, now.previous, now.epoch) == (2, None, 1, 8)
        assert [count_in(both, target, n) for n in (1, 2, 3)] == [ROWS] * 3
        phases = claimant_of(both.staging, both.name).phases
        assert phases == {1: "promoted", 2: "promoted", 3: "abandoned"}
        kept = latest_evidence(both.staging, both.name, "adopt-target")
        assert kept is not None
        assert kept.body["generations"][1]["owner"] == owner
        assert open_for(both.staging, both.workload).number == 4
        with open_store(both.staging, both.workload, generations[1]) as store:
            store.claim_sync(1)
        with (
            open_store(both.production, both.workload, generations[2]) as store,
            pytest.raises(Refused, match="belongs to ledger"),
        ):
            store.claim(0, 99)
    with pytest.raises(Refused, match="nothing to adopt"):
        adopt_target(both.staging, both.name, "operator", look_at_target(both.staging, both.name))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_two_ledgers_do_what_the_pointer_names_keeps_its_rows(
    both: TwoLedgers, seed: int
) -> None:
    chance = random.Random(seed)
    done: list[str] = []
    refused = 0
    with psycopg.connect(both.target_url, autocommit=True) as target:
        for _ in range(30):
            before = named(both, target)
            ledger = chance.choice([both.production, both.staging])
            both.use(ledger)
            command = chance.choice(COMMANDS)
            done.append(f"{'production' if ledger is both.production else 'staging'} {command}")
            try:
                command(both, ledger, target, chance)
            except QafilaError:
                refused += 1
            after = named(both, target)
            for number, rows in after.items():
                assert rows == ROWS, done
                assert before.get(number, rows) == rows, done
            gone = [n for n in before if n not in after and count_in(both, target, n) is None]
            assert not [n for n in gone if not command.__name__.startswith("clean")], done
    assert refused
    assert len(done) == 30


def named(both: TwoLedgers, target: Ledger) -> dict[int, int | None]:
    now = read_alias(target, both.name)
    return {n: count_in(both, target, n) for n in now.roles()} if now is not None else {}


def adopt(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    if chance.random() < 0.3:
        adopt_target(ledger, both.name, "operator", look_at_target(ledger, both.name))


def newest(both: TwoLedgers, ledger: Ledger) -> Generation:
    found = newest_generation(ledger, both.name)
    if found is None:
        raise Refused("nothing is there yet.")
    return found


def load(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    generation = both.begun(ledger)
    if generation.phase == Phase.BACKFILLING:
        both.filled(ledger, generation)


def reload(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    generation = newest(both, ledger)
    with open_pointer(ledger, both.workload) as pointer:
        pointer.end_trial(generation.number)
    with open_store(ledger, both.workload, generation) as store:
        empty_target(store, 1, 1)
    both.filled(ledger, generation)


def just_drop(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    generation = newest(both, ledger)
    if not generation.ended:
        stand(ledger, generation, Phase.ABANDONED)
    with open_store(ledger, both.workload, generation) as store:
        store.drop()


def trial(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    generation = newest(both, ledger)
    if generation.phase == Phase.BACKFILLED:
        set_trial(target, both.name, generation.number, 0, ledger=ledger_identity(ledger))


def promote(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    generation, now = newest(both, ledger), read_alias(target, both.name)
    if generation.phase == Phase.BACKFILLED and now is not None and now.trial is not None:
        epoch = now.epoch + chance.randrange(2)
        move_alias(target, both.name, generation.number, epoch, ledger=ledger_identity(ledger))
        stand(ledger, generation, Phase.PROMOTED)


def go_back(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    generation, now = newest(both, ledger), read_alias(target, both.name)
    if generation.phase == Phase.PROMOTED and now is not None:
        return_alias(
            target, both.name, [generation.number], now.epoch, ledger=ledger_identity(ledger)
        )
        stand(ledger, generation, Phase.ROLLED_BACK)


def abandon(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    with suppress(StaleEpoch):
        abandon_generation(ledger, both.name, "no longer wanted")


def clean(both: TwoLedgers, ledger: Ledger, target: Ledger, chance: random.Random) -> None:
    with suppress(Refused):
        settle(ledger, both.name, "operator", early="to make room")
    clean_up(ledger, both.name, plan_clean_up(ledger, both.name))


COMMANDS = [load, load, reload, just_drop, trial, promote, promote, go_back, abandon, clean, adopt]
