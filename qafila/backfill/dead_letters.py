"""Dead letters: chunks that have no vector, with the reason; and how they get another chance.

A replay reads the documents again, as they are now, and puts all their chunks in the place of what
the target holds of them: right however often it is done, so nothing is there twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from qafila.backfill.generations import meaning_of
from qafila.backfill.load import made_of
from qafila.backfill.vectors import open_vectorise
from qafila.endpoints import Reach, open_source, open_store, reach_of
from qafila.errors import Refused, StaleEpoch
from qafila.ledger.ledger import Connection, Generation
from qafila.live_sync.feeds import FedElsewhere, Held, holding_feed, list_feeds
from qafila.sql import statement
from qafila.stores.port import Chunk, SyncMark, VectorStore
from qafila.text.masking import mask_text

BATCH_DOCUMENTS = 50


@dataclass(frozen=True)
class DeadLetter:
    """One chunk that was set aside; ``replayed_at`` is set when it got in (or is gone) since."""

    source_key: str
    chunk_number: int
    reason: str
    attempts: int
    recorded_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True)
class Replayed:
    """What a replay did: documents read again or gone from the source, chunks written, refused."""

    documents: int = 0
    gone: int = 0
    chunks: int = 0
    set_aside: int = 0

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(
            self.documents + other.documents,
            self.gone + other.gone,
            self.chunks + other.chunks,
            self.set_aside + other.set_aside,
        )

    def sentence(self) -> str:
        """Return what was done as an operator reads it."""
        return (
            f"{self.documents} documents with dead letters were read again, {self.gone} of them "
            f"are gone from the source; {self.chunks} chunks were written, {self.set_aside} are "
            "dead letters again."
        )


def list_dead_letters(
    ledger: Connection, generation: Generation, *, replayed: bool = False
) -> list[DeadLetter]:
    """Return what is set aside in a generation, by key; with ``replayed``, also what was."""
    with ledger.cursor(row_factory=class_row(DeadLetter)) as cursor:
        return cursor.execute(
            statement("dead_letter", "list_dead_letters"),
            {**_key(generation), "replayed": replayed},
        ).fetchall()


def replay_dead_letters(
    ledger: Connection,
    generation: Generation,
    *,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    run_id: str | None = None,
    batch_documents: int = BATCH_DOCUMENTS,
) -> Replayed:
    """Give every dead letter of a loaded generation another chance.

    Idempotent: a document is written whole, fenced like live sync, before its letters are marked;
    what is refused again keeps its letter, with the reason of this time. ``wait`` may raise.

    Raises:
        Refused: the workload means something else by now, or shards are not loaded.
        FedElsewhere: live sync applies changes to this generation right now.
        StaleEpoch: another replay or live sync took over; what was written stays.
        SpendCapReached: the next call could cross the cap.
    """
    workload = meaning_of(ledger, generation)
    _require_loaded(ledger, generation)
    reach = reach or reach_of(ledger, workload)
    total, after = Replayed(), ""
    with (
        open_source(ledger, workload, reach) as source,
        open_store(ledger, workload, generation, reach) as store,
        open_vectorise(workload, generation, reach, wait=wait, run_id=run_id) as vectorise,
        _fence(ledger, generation, store, wait, run_id) as (mark, check),
    ):
        while keys := _next_documents(ledger, generation, after, batch_documents):
            wait(0)
            check()
            rows = source.fetch(keys)
            made = made_of(rows, workload, vectorise)
            _set_aside_again(ledger, generation, made.rejected)
            # the place of a line that gave no key now has a document with a key of its own
            replaced = list(dict.fromkeys([*keys, *(row.key_text for row in rows)]))
            store.replace(replaced, made.chunks, made.vectors, mark)
            _mark_replayed(ledger, generation, keys, made.rejected)
            there = len({row.key_text for row in rows})
            total += Replayed(
                len(keys), max(0, len(keys) - there), len(made.chunks), len(made.rejected)
            )
            after = keys[-1]
    return total


@contextmanager
def _fence(
    ledger: Connection,
    generation: Generation,
    store: VectorStore,
    wait: Callable[[float], None],
    run_id: str | None,
) -> Iterator[tuple[SyncMark, Callable[[], None]]]:
    """Hold the right to replace documents; with live sync in place, by holding its feed."""
    if generation.number in list_feeds(ledger, generation.workload):
        with _feed(ledger, generation, run_id) as held:
            yield store.claim_sync(held.epoch), held.check
    else:
        try:
            mark = store.claim_sync(_epoch_now(ledger))
        except StaleEpoch:  # somebody claimed it within this second
            wait(1.0)
            mark = store.claim_sync(_epoch_now(ledger))
        yield mark, lambda: None


@contextmanager
def _feed(ledger: Connection, generation: Generation, run_id: str | None) -> Iterator[Held]:
    with ExitStack() as stack:
        try:
            held = stack.enter_context(holding_feed(ledger, generation, run_id))
        except FedElsewhere as error:
            name = generation.workload
            raise FedElsewhere(
                error.what,
                kept="every dead letter; that one goes on.",
                remedy=f"stop that run for a moment (qafila live-sync status {name}), then: "
                f"qafila run embedding-backfill {name} --set replay_dead_letters=true",
            ) from error
        yield held


def _epoch_now(ledger: Connection) -> int:
    row = ledger.execute(statement("dead_letter", "epoch_now")).fetchone()
    assert row is not None
    return int(row[0])


def _require_loaded(ledger: Connection, generation: Generation) -> None:
    row = ledger.execute(statement("dead_letter", "not_loaded"), _key(generation)).fetchone()
    assert row is not None
    left, shards = row
    if left or not shards:
        raise Refused(
            f"generation {generation.number} of {generation.workload} is not loaded: "
            f"{left} of {shards} shards are left.",
            kept="its dead letters as they are.",
            remedy=f"qafila run embedding-backfill {generation.workload}",
        )


def _next_documents(
    ledger: Connection, generation: Generation, after: str, limit: int
) -> list[str]:
    rows = ledger.execute(
        statement("dead_letter", "documents_to_replay"),
        {**_key(generation), "after": after, "limit": limit},
    ).fetchall()
    return [row[0] for row in rows]


def _set_aside_again(
    ledger: Connection, generation: Generation, rejected: Sequence[tuple[Chunk, str]]
) -> None:
    for chunk, reason in rejected:
        ledger.execute(
            statement("dead_letter", "set_aside_again"),
            {
                **_key(generation),
                "source_key": chunk.source_key,
                "number": chunk.number,
                "reason": mask_text(reason),
            },
        )


def _mark_replayed(
    ledger: Connection,
    generation: Generation,
    keys: Sequence[str],
    rejected: Sequence[tuple[Chunk, str]],
) -> None:
    ledger.execute(
        statement("dead_letter", "mark_replayed"),
        {
            **_key(generation),
            "keys": list(keys),
            "again_keys": [chunk.source_key for chunk, _ in rejected],
            "again_numbers": [chunk.number for chunk, _ in rejected],
        },
    )


def _key(generation: Generation) -> dict[str, Any]:
    return {"workload": generation.workload, "generation": generation.number}
