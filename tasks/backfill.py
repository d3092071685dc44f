"""The steps of a backfill: plan, apply, load one shard, index, compare."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
from prefect import task
from prefect.cache_policies import NO_CACHE
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from qafila.core.chunking import split
from qafila.core.fingerprint import text_digest
from qafila.core.phases import Event
from qafila.core.plan import BackfillPlan, Comparison, Sample, plan_backfill
from qafila.core.workload import Workload
from qafila.errors import BadInput, StaleEpoch
from qafila.sql import statement
from tasks.ledger import (
    Connection,
    Generation,
    move_phase,
    open_ledger,
    put_plan,
    read_workload,
)
from tasks.opening import embedder_of, open_source, open_store
from tasks.sources.port import KeyRange, Source, SourceRow
from tasks.stores.port import Checkpoint, Chunk, VectorStore

CLAIM_TTL_SECONDS = 10.0
_SAMPLE_BATCH, _SAMPLE_BATCHES = 64, 6


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
class Loaded:
    """What one worker did with one shard; ``rows`` counts only this claim's rows."""

    shard: int
    rows: int
    chunks: int
    dead_letters: int
    seconds: float
    resumed_at: int


@task(task_run_name="plan backfill of {name} g{generation.number}", cache_policy=NO_CACHE)
def plan_load(
    name: str, generation: Generation, rows_per_shard: int, workers: int
) -> tuple[BackfillPlan, list[KeyRange]]:
    """Read state and compute the plan; changes nothing.

    Raises:
        BadInput: source or target cannot be used; names every problem.
    """
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
        with (
            open_source(ledger, workload) as source,
            open_store(ledger, workload, generation) as store,
        ):
            problems = [*source.problems(), *store.problems()]
            if problems:
                raise BadInput(
                    f"{name} cannot be backfilled:", problems,
                    remedy=f"mend and apply the file, then: qafila run embedding-backfill {name}",
                )  # fmt: skip
            ranges = source.freeze(rows_per_shard)
            sample = _sample(source, workload)
    plan = plan_backfill(
        rows=sum(r.rows for r in ranges),
        shards=len(ranges),
        rows_per_shard=rows_per_shard,
        workers=workers,
        sample=sample,
        price_per_million_tokens=0.0,  # in process: the machine is paid for already
        currency=workload.budget.currency,
        spend_cap=workload.budget.spend_cap,
    )
    return plan, ranges


def _sample(source: Source, workload: Workload) -> Sample:
    embedder = embedder_of(workload.corpus.embedder)
    embedder.embed(["warm up"])
    rows = chunks = tokens = characters = 0
    seconds = []
    for number, batch in enumerate(source.read(None, None, _SAMPLE_BATCH)):
        if number == _SAMPLE_BATCHES:
            break
        started = time.perf_counter()
        texts = [c.text for c in chunks_of(batch, workload)]
        embedder.embed(texts)
        seconds.append(time.perf_counter() - started)
        rows, chunks = rows + len(batch), chunks + len(texts)
        tokens += embedder.count_tokens(texts)
        characters += sum(map(len, texts))
    return Sample(rows, chunks, tokens, characters, _SAMPLE_BATCH, tuple(seconds))


def chunks_of(rows: Sequence[SourceRow], workload: Workload) -> list[Chunk]:
    """Return the chunks of some rows, in order; a row without text has none."""
    return [
        Chunk(
            source_key=row.key_text,
            number=span.number,
            start=span.start,
            end=span.end,
            title=row.title,
            text=row.text[span.start : span.end],
            digest=text_digest(row.text[span.start : span.end]),
            acl=row.acl,
            metadata=row.metadata,
        )
        for row in rows
        for span in split(row.text, workload.corpus.chunking)
    ]


@task(task_run_name="apply plan of g{generation.number}", cache_policy=NO_CACHE)
def apply_plan(generation: Generation, plan: BackfillPlan, ranges: list[KeyRange]) -> None:
    """Freeze plan and shards in one transaction; the first plan stays. Prepares the target."""
    key = {"workload": generation.workload, "generation": generation.number}
    with open_ledger() as ledger:
        with ledger.transaction():
            body = {"plan": plan.__dict__, "shards": len(ranges)}
            stored = put_plan(ledger, generation, "backfill", body)
            if stored["shards"] == len(ranges):
                for number, r in enumerate(ranges):
                    ledger.execute(
                        statement("backfill", "insert_shard"),
                        {**key, "number": number, "rows": r.rows,
                         "low": None if r.low is None else Jsonb(r.low),
                         "high": None if r.high is None else Jsonb(r.high)},
                    )  # fmt: skip
        workload, _ = read_workload(ledger, generation.workload)
        with open_store(ledger, workload, generation) as store:
            store.prepare()


@task(task_run_name="empty g{generation.number}", cache_policy=NO_CACHE)
def empty_generation(generation: Generation) -> Generation:
    """Delete the generation's rows and checkpoints, so that every shard is loaded anew.

    Nobody reads the rows: the candidate has no traffic. A worker that still runs is fenced off,
    since epochs go on rising. Idempotent; return the generation in its new phase.
    """
    key = {"workload": generation.workload, "generation": generation.number}
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
        with ledger.transaction():
            moved = move_phase(ledger, generation, Event.RELOAD)
            ledger.execute(statement("backfill", "plan_again"), key)
            ledger.execute(statement("backfill", "forget_dead_letters"), key)
        with open_store(ledger, workload, generation) as store:
            store.drop()
            store.prepare()
    return moved


def list_shards(ledger: Connection, generation: Generation) -> list[Shard]:
    """Return the frozen shards in order; none before a plan was applied."""
    key = {"workload": generation.workload, "generation": generation.number}
    with ledger.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement("backfill", "list_shards"), key).fetchall()
    return [Shard(**row) for row in rows]


def let_go_of_the_dead(ledger: Connection, generation: Generation) -> int:
    """Free shards that dead processes of this machine hold; return how many."""
    key = {"workload": generation.workload, "generation": generation.number}
    freed = 0
    rows = ledger.execute(
        statement("backfill", "claimed_here"), {**key, "owner": socket.gethostname()}
    ).fetchall()
    for number, pid in rows:
        if not psutil.pid_exists(pid):
            ledger.execute(statement("backfill", "let_go"), {**key, "number": number, "pid": pid})
            freed += 1
    return freed


@task(task_run_name="load shard {number}/{of}", cache_policy=NO_CACHE)
def load_shard(
    generation: Generation, number: int, of: int, batch_rows: int, run_id: str | None
) -> Loaded | None:
    """Claim one shard and load it from its checkpoint on; None when another worker has it.

    Idempotent by (workload, generation, shard): rows and checkpoint commit together in the
    target, fenced by the claim's epoch, so a second pass starts where the first one ended.

    Raises:
        StaleEpoch: another worker claimed the shard meanwhile; what it committed stays.
    """
    key = {"workload": generation.workload, "generation": generation.number, "number": number}
    with open_ledger() as ledger:
        row = ledger.execute(
            statement("backfill", "claim_shard"),
            {**key, "owner": socket.gethostname(), "pid": os.getpid(), "run": run_id,
             "ttl": CLAIM_TTL_SECONDS},
        ).fetchone()  # fmt: skip
        if row is None:
            return None
        shard = next(s for s in list_shards(ledger, generation) if s.number == number)
        workload, _ = read_workload(ledger, generation.workload)
        with (
            open_source(ledger, workload) as source,
            open_store(ledger, workload, generation) as store,
        ):
            return _load(ledger, workload, generation, shard, source, store, batch_rows)


def _load(
    ledger: Connection,
    workload: Workload,
    generation: Generation,
    shard: Shard,
    source: Source,
    store: VectorStore,
    batch_rows: int,
) -> Loaded:
    started = time.perf_counter()
    embedder = embedder_of(workload.corpus.embedder)
    first = mark = store.claim(shard.number, shard.epoch)
    dead = 0
    if not mark.finished:
        for rows in source.read(mark.last_key or shard.low_key, shard.high_key, batch_rows):
            chunks = chunks_of(rows, workload)
            vectors = embedder.embed([c.text for c in chunks])
            has_vector = np.any(vectors, axis=1)
            kept = [chunks[i] for i in np.flatnonzero(has_vector)]
            lost = [chunks[i] for i in np.flatnonzero(~has_vector)]
            dead += _set_aside(ledger, generation, lost)
            mark = replace(
                mark,
                last_key=rows[-1].key,
                rows=mark.rows + len(rows),
                chunks=mark.chunks + len(kept),
            )
            store.write(kept, vectors[has_vector], mark)
            _beat(ledger, generation, mark)
        mark = replace(mark, last_key=mark.last_key or shard.low_key, finished=True)
        store.write([], embedder.embed([]), mark)
    _beat(ledger, generation, mark)
    return Loaded(
        shard=shard.number,
        rows=mark.rows - first.rows,
        chunks=mark.chunks - first.chunks,
        dead_letters=dead,
        seconds=time.perf_counter() - started,
        resumed_at=first.rows,
    )


def _set_aside(ledger: Connection, generation: Generation, chunks: Sequence[Chunk]) -> int:
    for chunk in chunks:
        ledger.execute(
            statement("backfill", "put_dead_letter"),
            {"workload": generation.workload, "generation": generation.number,
             "source_key": chunk.source_key, "number": chunk.number,
             "reason": "the model knows no token of this text, so it has no vector"},
        )  # fmt: skip
    return len(chunks)


def _beat(ledger: Connection, generation: Generation, mark: Checkpoint) -> None:
    row = ledger.execute(
        statement("backfill", "beat_shard"),
        {"workload": generation.workload, "generation": generation.number, "number": mark.shard,
         "epoch": mark.epoch, "rows": mark.rows, "finished": mark.finished},
    ).fetchone()  # fmt: skip
    if row is None:
        raise StaleEpoch(f"shard {mark.shard} was claimed by another worker.")


@task(task_run_name="build index of g{generation.number}", cache_policy=NO_CACHE)
def build_index(generation: Generation) -> float:
    """Build the indexes after the load; harmless to repeat. Return the seconds it took."""
    started = time.perf_counter()
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
        with open_store(ledger, workload, generation) as store:
            store.build_index()
    return time.perf_counter() - started


@task(task_run_name="compare source with g{generation.number}", cache_policy=NO_CACHE)
def compare(generation: Generation) -> Comparison:
    """Compare every row of the source with the target, by key and digest."""
    with open_ledger() as ledger:
        return verify_generation(ledger, generation)


def verify_generation(
    ledger: Connection, generation: Generation, *, batch_rows: int = 2000
) -> Comparison:
    """Compare source and target by key and text digest; memory does not grow with rows."""
    workload, _ = read_workload(ledger, generation.workload)
    key = {"workload": generation.workload, "generation": generation.number}
    rows = ledger.execute(statement("backfill", "dead_letters"), key).fetchall()
    set_aside = {(r[0], r[1]) for r in rows}
    rows_source = rows_found = missing = stale = extra = matched = 0
    examples: list[str] = []
    with (
        open_source(ledger, workload) as source,
        open_store(ledger, workload, generation) as store,
    ):
        for batch in source.read(None, None, batch_rows):
            expected = {(c.source_key, c.number): c.digest for c in chunks_of(batch, workload)}
            found = store.digests([r.key_text for r in batch])
            rows_source += len(batch)
            gone = [k for k in expected if k not in found and k not in set_aside]
            changed = [
                k for k, (digest, mark) in found.items()
                if k in expected and (digest, mark) != (expected[k], generation.fingerprint)
            ]  # fmt: skip
            beyond = [k for k in found if k not in expected]
            missing, stale, extra = (
                missing + len(gone), stale + len(changed), extra + len(beyond),
            )  # fmt: skip
            matched += len(found)
            rows_found += len(batch) - len({k[0] for k in gone})
            examples += [f"missing {k}" for k in gone] + [f"stale {k}" for k in changed]
            examples = examples[:10]
        chunks_target, repeated = store.count(), store.repeated()
    return Comparison(
        rows_source=rows_source,
        rows_target=rows_found,
        chunks_target=chunks_target,
        missing=missing,
        stale=stale,
        extra=extra + max(0, chunks_target - repeated - matched),
        duplicates=repeated,
        dead_letters=len(set_aside),
        examples=tuple(examples),
    )
