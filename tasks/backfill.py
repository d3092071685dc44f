"""The steps of a backfill: plan, apply, load one shard, index, compare."""

from __future__ import annotations

import time
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from psycopg.types.json import Jsonb

from qafila.core.phases import Event
from qafila.core.plan import BackfillPlan, Comparison, Sample, plan_backfill, shard_rows
from qafila.core.workload import Workload
from qafila.errors import BadInput
from qafila.sql import statement
from tasks.engine.claims import claim_shard
from tasks.engine.loading import Loaded, chunks_of
from tasks.engine.pulse import Pulse
from tasks.engine.supervisor import run_worker
from tasks.engine.worker import Assignment, load_one, open_desk, work
from tasks.generations import meaning_of
from tasks.ledger import Generation, move_phase, open_ledger, put_plan, read_workload
from tasks.opening import embedder_of, open_source, open_store, reach_of
from tasks.sources.port import KeyRange, Source
from tasks.verifying import verify_generation

_SAMPLE_BATCH, _SAMPLE_BATCHES = 64, 6


@task(task_run_name="plan backfill of {name} g{generation.number}", cache_policy=NO_CACHE)
def plan_load(
    name: str, generation: Generation, rows_per_shard: int | None, workers: int
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
            if rows_per_shard is None:
                rows_per_shard = shard_rows(source.volume().rows)
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
    log = get_run_logger()
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, assignment.workload)
        reach = reach_of(ledger, workload)
    return run_worker(assignment, reach, tell=lambda done: _log_loaded(log, done), note=log.warning)


@task(task_run_name="load shards, worker {number} of {of}", cache_policy=NO_CACHE)
def load_here(assignment: Assignment, number: int, of: int) -> list[Loaded]:
    """Load shards in this very process until none is left: in a thread, a Dask or a Ray worker."""
    log = get_run_logger()
    return work(assignment, tell=lambda done: _log_loaded(log, done))


def _log_loaded(log: Any, done: Loaded) -> None:
    rate = done.rows / done.seconds if done.seconds else 0.0
    resumed = f", resumed at {done.resumed_at}" if done.resumed_at else ""
    log.info("shard %d: %d rows at %.0f rows/s%s", done.shard, done.rows, rate, resumed)


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
