"""Claims: who loads which shard, with an epoch that rises and a sign of life.

A claim that lapsed is taken by somebody else. It proves nothing by itself, since a slow worker and
a dead one look alike: the fence in the target does (``VectorStore.claim``).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import psutil
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from qafila.ledger.ledger import Connection, Generation
from qafila.sources.port import KeyRange
from qafila.sql import statement
from qafila.stores.port import Checkpoint
from qafila.text.masking import mask_text

CLAIM_TTL_SECONDS = 10.0


@dataclass(frozen=True)
class Shard:
    """One frozen key range as the ledger has it."""

    number: int
    low_key: list[Any] | None
    high_key: list[Any] | None
    rows_planned: int
    rows_loaded: int
    state: str
    owner: str | None
    owner_pid: int | None
    epoch: int


@dataclass(frozen=True)
class Spent:
    """What one batch took: chunks by mode, tokens, and money in the budget's currency."""

    copied: int = 0
    reused: int = 0
    embedded: int = 0
    tokens: int = 0
    cost: Decimal = field(default_factory=Decimal)

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.copied + other.copied,
            self.reused + other.reused,
            self.embedded + other.embedded,
            self.tokens + other.tokens,
            self.cost + other.cost,
        )


@dataclass(frozen=True)
class Forgotten:
    """Shards that a reload put away: how many, the highest epoch, and what they have cost."""

    shards: int = 0
    epoch: int = -1
    spent: Spent = field(default_factory=Spent)


def put_shards(
    ledger: Connection,
    generation: Generation,
    ranges: Sequence[KeyRange],
    before: Forgotten = Forgotten(),
) -> None:
    """Store the ranges of a plan as shards to be claimed; those that are there stay.

    They begin above the epochs of ``before``. What those took stays counted, at the first shard.
    """
    for number, r in enumerate(ranges):
        spent = before.spent if number == 0 else Spent()
        ledger.execute(
            statement("backfill", "insert_shard"),
            {
                **_key(generation),
                "number": number,
                "rows": r.rows,
                "epoch": before.epoch + 1,
                "tokens": spent.tokens,
                "cost": spent.cost,
                "low": None if r.low is None else Jsonb(r.low),
                "high": None if r.high is None else Jsonb(r.high),
            },
        )


def forget_shards(ledger: Connection, generation: Generation) -> Forgotten:
    """Delete the shards of a plan, which nobody can claim until the transaction ends."""
    gone = ledger.execute(statement("backfill", "forget_shards"), _key(generation)).fetchall()
    return Forgotten(
        shards=len(gone),
        epoch=max((epoch for epoch, _, _ in gone), default=-1),
        spent=Spent(
            tokens=sum(tokens for _, tokens, _ in gone),
            cost=sum((cost for _, _, cost in gone), Decimal(0)),
        ),
    )


def list_shards(ledger: Connection, generation: Generation) -> list[Shard]:
    """Return the frozen shards in order; none before a plan was applied."""
    with ledger.cursor(row_factory=class_row(Shard)) as cursor:
        return cursor.execute(statement("backfill", "list_shards"), _key(generation)).fetchall()


def claim_shard(
    ledger: Connection,
    generation: Generation,
    *,
    number: int | None = None,
    except_for: Sequence[int] = (),
    run_id: str | None = None,
    ttl_seconds: float = CLAIM_TTL_SECONDS,
) -> Shard | None:
    """Claim a shard that is free or whose claim lapsed, the first one unless ``number`` says which;
    never one of ``except_for``.

    Return None when there is none; others may still be at work on theirs.
    """
    with ledger.cursor(row_factory=class_row(Shard)) as cursor:
        return cursor.execute(
            statement("backfill", "claim_shard"),
            {
                **_key(generation),
                "number": number,
                "except": list(except_for),
                "owner": socket.gethostname(),
                "pid": os.getpid(),
                "run": run_id,
                "ttl": ttl_seconds,
            },
        ).fetchone()


def left_to_load(ledger: Connection, generation: Generation) -> int:
    """Return how many shards are not loaded, whoever holds them."""
    row = ledger.execute(statement("backfill", "left_to_load"), _key(generation)).fetchone()
    assert row is not None
    return int(row[0])


def beat_shard(ledger: Connection, generation: Generation, mark: Checkpoint, spent: Spent) -> bool:
    """Note how far a shard is; False when somebody else has claimed it."""
    row = ledger.execute(
        statement("backfill", "beat_shard"),
        {
            **_key(generation),
            "number": mark.shard,
            "epoch": mark.epoch,
            "rows": mark.rows,
            "chunks": mark.chunks,
            "finished": mark.finished,
            "copied": spent.copied,
            "reused": spent.reused,
            "embedded": spent.embedded,
            "tokens": spent.tokens,
            "cost": spent.cost,
        },
    ).fetchone()
    return row is not None


def release_shard(
    ledger: Connection, generation: Generation, shard: Shard, error: str | None = None
) -> None:
    """Give a shard back, with the reason when it failed; harmless when it is not ours any more."""
    ledger.execute(
        statement("backfill", "release_shard"),
        {
            **_key(generation),
            "number": shard.number,
            "epoch": shard.epoch,
            "error": None if error is None else mask_text(error),
        },
    )


def let_go_of_the_dead(ledger: Connection, generation: Generation) -> int:
    """Free shards that dead processes of this machine hold; return how many."""
    freed = 0
    for number, pid in _claimed_here(ledger, generation):
        if not psutil.pid_exists(pid):
            ledger.execute(
                statement("backfill", "let_go"),
                {**_key(generation), "number": number, "pid": pid},
            )
            freed += 1
    return freed


def _claimed_here(ledger: Connection, generation: Generation) -> Sequence[tuple[int, int]]:
    return ledger.execute(
        statement("backfill", "claimed_here"),
        {**_key(generation), "owner": socket.gethostname()},
    ).fetchall()


def _key(generation: Generation) -> dict[str, Any]:
    return {"workload": generation.workload, "generation": generation.number}
