"""The steps of a backfill: plan, apply, load one shard, index, compare.

Each waits for servers that go away meanwhile, and is then done from its start: all are harmless to
repeat.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.backfill.claims import claim_shard, forget_shards, put_shards
from qafila.backfill.dead_letters import Replayed, replay_dead_letters
from qafila.backfill.generations import meaning_of
from qafila.backfill.load import Loaded
from qafila.backfill.patience import PatientLedger
from qafila.backfill.plan import BackfillPlan, Comparison, Limits, plan_backfill, shard_rows
from qafila.backfill.pulse import Pulse
from qafila.backfill.supervisor import run_worker, sample_apart
from qafila.backfill.verify import verify_generation
from qafila.backfill.worker import Assignment, load_one, open_desk, work, working_as
from qafila.endpoints import Reach, folder_of_one, open_source, open_store, reach_of
from qafila.errors import BadInput
from qafila.inspect.inspection import inspect_source, risks
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import (
    Connection,
    Generation,
    forget_plan,
    move_phase,
    open_ledger,
    put_plan,
    read_workload,
)
from qafila.live_sync.lifecycle import ensure_capture
from qafila.live_sync.verify import verify_live
from qafila.sources.port import KeyRange
from qafila.sql import statement
from qafila.stores.pointer import open_pointer
from qafila.stores.pointer_row import named_generation
from qafila.stores.port import VectorStore
from qafila.stores.sizes import graph_memory_mb
from qafila.workload.corpus import OpenAIEmbedder, PgvectorSource, PgvectorTarget, QdrantSource
from qafila.workload.model import Workload
from qafila.workload.phases import Event
from tasks.lasting import Answered, lasting, ledger_once_all_answer


@task(task_run_name="plan backfill of {name} g{generation.number}", cache_policy=NO_CACHE)
def plan_load(
    name: str, generation: Generation, rows_per_shard: int | None, workers: int
) -> tuple[BackfillPlan, list[KeyRange], str]:
    """Read state and compute the plan, its ranges and the source's shape; changes nothing.

    Raises:
        BadInput: source or target cannot be used; names every problem.
        Unavailable: one of them never answered, or was away for longer than two minutes.
    """
    return lasting(
        generation,
        "plan",
        lambda answered: _plan(generation, rows_per_shard, workers, answered),
        known=False,
    )


def _plan(
    generation: Generation, rows_per_shard: int | None, workers: int, answered: Answered
) -> tuple[BackfillPlan, list[KeyRange], str]:
    name = generation.workload
    with (
        ledger_once_all_answer(generation, answered) as (ledger, workload),
        open_source(ledger, workload) as source,
        open_store(ledger, workload, generation) as store,
    ):
        problems = [*source.problems(), *store.problems()]
        if problems:
            raise BadInput(
                f"{name} cannot be backfilled:",
                problems,
                remedy=f"mend and apply the file, then: qafila run embedding-backfill {name}",
            )
        volume = source.volume()
        each = rows_per_shard or shard_rows(volume.rows)
        ranges, shape = source.freeze(each), source.shape()
        promises = source.semantics
        reach = reach_of(ledger, workload)
    folder = folder_of_one(workload, reach)
    able = workers if folder is None else 1
    sample, rate = sample_apart(generation, reach, ranges)
    corpus, rows = workload.corpus, sum(r.rows for r in ranges)
    embedder, target = corpus.embedder, corpus.target
    chunks = rows * sample.chunks // max(1, sample.rows)
    paid = embedder if isinstance(embedder, OpenAIEmbedder) else None
    plan = plan_backfill(
        rows=rows,
        shards=len(ranges),
        rows_per_shard=each,
        workers=able,
        sample=sample,
        price_per_million_tokens=paid.price_per_million_tokens if paid else 0.0,
        currency=workload.budget.currency,
        spend_cap=workload.budget.spend_cap,
        limits=Limits(
            tokens_per_minute=paid.tokens_per_minute if paid else None,
            requests_per_minute=paid.requests_per_minute if paid else None,
            texts_per_request=paid.batch_texts if paid else 1,
            source_rows_per_s=rate,
        ),
        index_memory_mb=graph_memory_mb(chunks, embedder.dimensions, target.m, target.vector_type)
        if isinstance(target, PgvectorTarget) and target.index == "hnsw"
        else None,
        promises=(promises.order, promises.snapshot, promises.change),
    )
    found = [*plan.risks, *_look_first(workload, reach)]
    if volume.unreadable:
        found.append(
            f"{volume.unreadable:,} of {volume.rows:,} documents cannot be read: each becomes a "
            "dead letter with its reason, and the others are loaded"
        )
    if able < workers:
        found.append(
            f"1 worker loads, not the {workers} asked for: {folder} is a folder of Qdrant's local "
            "mode, which one process opens; a server by url takes more"
        )
    return replace(plan, risks=tuple(found)), ranges, shape


def _look_first(workload: Workload, reach: Reach) -> list[str]:
    """Return what an existing index has against it, as risks of the plan."""
    source = workload.corpus.source
    if not isinstance(source, PgvectorSource | QdrantSource) or reach.source is None:
        return []
    return list(risks(inspect_source(source, reach.source)))


@task(task_run_name="apply plan of g{generation.number}", cache_policy=NO_CACHE)
def apply_plan(
    generation: Generation, plan: BackfillPlan, ranges: list[KeyRange], shape: str
) -> None:
    """Freeze plan, shards and shape in one transaction; the first stay. Prepares the target."""

    def apply(answered: Answered) -> None:
        with ledger_once_all_answer(generation, answered) as (ledger, workload):
            with ledger.transaction():
                stored = put_plan(ledger, generation, "backfill", _frozen(plan, ranges, shape))
                if stored["shards"] == len(ranges):
                    put_shards(ledger, generation, ranges)
            with open_store(ledger, workload, generation) as store:
                store.prepare()

    lasting(generation, "plan", apply)


def _frozen(plan: BackfillPlan, ranges: list[KeyRange], shape: str) -> dict[str, Any]:
    return {"plan": asdict(plan), "shards": len(ranges), "shape": shape}


@task(task_run_name="empty g{generation.number}", cache_policy=NO_CACHE)
def empty_generation(
    generation: Generation, plan: BackfillPlan, ranges: list[KeyRange], shape: str
) -> Generation:
    """Delete the generation's rows and checkpoints, and freeze this plan instead of the one before.

    The candidate has no traffic. Where the generation is on trial, the trial ends first: the
    candidate then answers from what serves. A worker that still runs is fenced off: it finds no
    shard to claim meanwhile, and the epochs of the new ones are above all of its own. Stopped in
    between, the load goes on with the plan of before, from its first row. Idempotent; return the
    generation in its new phase.

    Raises:
        Refused: the target's pointer names the generation as more than a trial.
    """
    key = {"workload": generation.workload, "generation": generation.number}

    def empty(answered: Answered) -> Generation:
        with ledger_once_all_answer(generation, answered) as (ledger, workload):
            _end_trial(ledger, workload, generation.number)
            with ledger.transaction():
                moved = move_phase(ledger, generation, Event.RELOAD)
                ledger.execute(statement("backfill", "plan_again"), key)
                ledger.execute(statement("backfill", "forget_dead_letters"), key)
            with open_store(ledger, workload, generation) as store, ledger.transaction():
                before = forget_shards(ledger, generation)
                _empty(store, max(before.shards, len(ranges)), before.epoch + 1)
                forget_plan(ledger, generation, "backfill")
                put_plan(ledger, generation, "backfill", _frozen(plan, ranges, shape))
                put_shards(ledger, generation, ranges, before)
        return moved

    return lasting(generation, "empty", empty)


def _end_trial(ledger: Connection, workload: Workload, number: int) -> None:
    with open_pointer(ledger, workload) as pointer:
        now = pointer.read()
        if now is None:
            return
        if number in (now.generation, now.previous):
            raise named_generation(workload.name, number, str(now.role_of(number)))
        if now.trial == number:
            with held_lease(ledger, workload.name, "reload", generation=number):
                pointer.end_trial(number)


def _empty(store: VectorStore, shards: int, epoch: int) -> None:
    """Leave the target empty, with the fence of each shard at ``epoch``.

    A checkpoint means something only beside the range that it was written for. So whatever a worker
    of before has written until its fence stood is emptied again.
    """
    while True:
        store.drop()
        store.prepare()
        marks = [store.claim(number, epoch) for number in range(shards)]
        if not any(mark.last_key or mark.finished for mark in marks):
            return


@task(task_run_name="load shard {number}/{of}", cache_policy=NO_CACHE)
def load_shard(
    generation: Generation, number: int, of: int, batch_rows: int, run_id: str | None
) -> Loaded | None:
    """Claim one shard and load it from its checkpoint on; None when another worker has it.

    Raises:
        StaleEpoch: another worker claimed the shard meanwhile; what it committed stays.
    """
    with open_ledger() as ledger:
        shard = claim_shard(ledger, generation, number=number, run_id=run_id)
        if shard is None:
            return None
        workload = meaning_of(ledger, generation)
        assignment = Assignment(generation.workload, generation.number, batch_rows, run_id, False)
        with (
            Pulse(generation) as pulse,
            open_desk(workload, generation, reach_of(ledger, workload), assignment, pulse) as desk,
        ):
            return load_one(desk, workload, generation, shard, batch_rows, pulse)


@task(task_run_name="load shards, worker {number} of {of}", cache_policy=NO_CACHE)
def load_in_process(assignment: Assignment, number: int, of: int) -> list[Loaded]:
    """Load shards in a process of its own until none is left."""
    log, assignment = get_run_logger(), replace(assignment, number=number)

    def read(ledger: Connection) -> Reach:
        workload, _ = read_workload(ledger, assignment.workload)
        return reach_of(ledger, workload)

    with working_as(assignment), PatientLedger(assignment.workload, log.warning) as patient:
        reach = patient.ask(read)
    return run_worker(assignment, reach, tell=lambda done: _log_loaded(log, done), note=log.warning)


@task(task_run_name="load shards, worker {number} of {of}", cache_policy=NO_CACHE)
def load_here(assignment: Assignment, number: int, of: int) -> list[Loaded]:
    """Load shards in this very process until none is left: in a thread, a Dask or a Ray worker."""
    log = get_run_logger()
    return work(replace(assignment, number=number), tell=lambda done: _log_loaded(log, done))


def _log_loaded(log: Any, done: Loaded) -> None:
    rate = done.rows / done.seconds if done.seconds else 0.0
    resumed = f", resumed at {done.resumed_at}" if done.resumed_at else ""
    log.info("shard %d: %d rows at %.0f rows/s%s", done.shard, done.rows, rate, resumed)


@task(task_run_name="build index of g{generation.number}", cache_policy=NO_CACHE)
def build_index(generation: Generation) -> float:
    """Build the indexes after the load; harmless to repeat. Return the seconds it took.

    A build that a server's end has cut off is cleared away and begun anew.

    Raises:
        BackfillHalted: it does not fit, was cancelled in the server, or the server went away again
            and again.
        Unavailable: a server was away for longer than two minutes.
    """
    started = time.perf_counter()

    def build(answered: Answered) -> None:
        with (
            ledger_once_all_answer(generation, answered) as (ledger, workload),
            open_store(ledger, workload, generation) as store,
        ):
            store.build_index()

    lasting(generation, "index", build)
    return time.perf_counter() - started


@task(task_run_name="capture changes for g{generation.number}", cache_policy=NO_CACHE)
def start_capture(generation: Generation, emptied: bool) -> bool:
    """Start to follow the source before its first row is read; False when it is not asked for.

    Raises:
        BadInput: the table cannot be followed; names every problem.
    """

    def start(answered: Answered) -> bool:
        with ledger_once_all_answer(generation, answered) as (ledger, workload):
            return ensure_capture(ledger, workload, generation, emptied=emptied) is not None

    return lasting(generation, "capture", start)


@task(task_run_name="replay dead letters of g{generation.number}", cache_policy=NO_CACHE)
def replay(generation: Generation) -> Replayed:
    """Give every row that was set aside another chance; idempotent by generation and document.

    Raises:
        SpendCapReached: the next call could cross the cap; what was written stays.
    """

    def give(answered: Answered) -> Replayed:
        with ledger_once_all_answer(generation, answered) as (ledger, _):
            return replay_dead_letters(ledger, generation)

    return lasting(generation, "replay", give)


@task(task_run_name="compare source with g{generation.number}", cache_policy=NO_CACHE)
def compare(generation: Generation) -> Comparison:
    """Compare every row of the source with the target, by key and digest.

    Where changes are followed, what differs is looked at again after they are applied.

    Raises:
        Unavailable: a server was away for longer than two minutes.
    """

    def look(answered: Answered) -> Comparison:
        with ledger_once_all_answer(generation, answered) as (ledger, workload):
            verify = verify_live if workload.corpus.live_sync else verify_generation
            return verify(ledger, generation)

    return lasting(generation, "compare", look)
