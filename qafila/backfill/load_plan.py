"""The plan of a load: made from source and target, frozen with its shards, replaced on a reload.

Each function may be called again after it was cut off at any point.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from qafila.backfill.claims import forget_shards, put_shards
from qafila.backfill.plan import BackfillPlan, Limits, plan_backfill, shard_rows
from qafila.backfill.supervisor import sample_apart
from qafila.endpoints import Reach, folder_of_one, open_source, open_store, reach_of
from qafila.errors import BadInput
from qafila.inspect.inspection import inspect_source, risks
from qafila.inspect.spread import Sample
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import (
    Connection,
    Generation,
    forget_plan,
    move_phase,
    put_plan,
    read_workload,
)
from qafila.sources.port import KeyRange, Volume
from qafila.sql import statement
from qafila.stores.pointer import open_pointer
from qafila.stores.pointer_row import named_generation
from qafila.stores.port import VectorStore
from qafila.stores.sizes import graph_memory_mb
from qafila.workload.corpus import OpenAIEmbedder, PgvectorSource, PgvectorTarget, QdrantSource
from qafila.workload.model import Workload
from qafila.workload.phases import Event


def check_source_and_target(ledger: Connection, generation: Generation) -> None:
    """Check that source and target answer and can be used as the workload says.

    Raises:
        BadInput: one of them cannot be used; names every problem.
        Unavailable: one of them does not answer.
    """
    name = generation.workload
    workload, _ = read_workload(ledger, name)
    with (
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


def plan_load(
    ledger: Connection, generation: Generation, rows_per_shard: int | None, workers: int
) -> tuple[BackfillPlan, list[KeyRange], str]:
    """Read state and compute the plan, its ranges and the source's shape; changes nothing."""
    workload, _ = read_workload(ledger, generation.workload)
    with open_source(ledger, workload) as source:
        volume = source.volume()
        each = rows_per_shard or shard_rows(volume.rows)
        ranges, shape = source.freeze(each), source.shape()
        promises = source.semantics
    reach = reach_of(ledger, workload)
    folder = folder_of_one(workload, reach)
    able = workers if folder is None else 1
    sample, rate = sample_apart(generation, reach, ranges)
    embedder, rows = workload.corpus.embedder, sum(r.rows for r in ranges)
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
        index_memory_mb=_index_memory_mb(workload, rows, sample),
        promises=(promises.order, promises.snapshot, promises.change),
    )
    further = [*_risks_of_index(workload, reach), *_risks_of_volume(volume)]
    if able < workers:
        further.append(
            f"1 worker loads, not the {workers} asked for: {folder} is a folder of Qdrant's local "
            "mode, which one process opens; a server by url takes more"
        )
    return replace(plan, risks=(*plan.risks, *further)), ranges, shape


def _index_memory_mb(workload: Workload, rows: int, sample: Sample) -> float | None:
    target = workload.corpus.target
    if not isinstance(target, PgvectorTarget) or target.index != "hnsw":
        return None
    chunks = rows * sample.chunks // max(1, sample.rows)
    dimensions = workload.corpus.embedder.dimensions
    return graph_memory_mb(chunks, dimensions, target.m, target.vector_type)


def _risks_of_index(workload: Workload, reach: Reach) -> list[str]:
    """Return what an existing index has against it, as risks of the plan."""
    source = workload.corpus.source
    if not isinstance(source, PgvectorSource | QdrantSource) or reach.source is None:
        return []
    return list(risks(inspect_source(source, reach.source)))


def _risks_of_volume(volume: Volume) -> list[str]:
    if not volume.unreadable:
        return []
    return [
        f"{volume.unreadable:,} of {volume.rows:,} documents cannot be read: each becomes a "
        "dead letter with its reason, and the others are loaded"
    ]


def apply_plan(
    ledger: Connection,
    generation: Generation,
    plan: BackfillPlan,
    ranges: list[KeyRange],
    shape: str,
) -> None:
    """Freeze plan, shards and shape in one transaction; the first stay. Prepare the target."""
    workload, _ = read_workload(ledger, generation.workload)
    with ledger.transaction():
        stored = put_plan(ledger, generation, "backfill", _frozen(plan, ranges, shape))
        if stored["shards"] == len(ranges):
            put_shards(ledger, generation, ranges)
    with open_store(ledger, workload, generation) as store:
        store.prepare()


def _frozen(plan: BackfillPlan, ranges: list[KeyRange], shape: str) -> dict[str, Any]:
    return {"plan": asdict(plan), "shards": len(ranges), "shape": shape}


def empty_generation(
    ledger: Connection,
    generation: Generation,
    plan: BackfillPlan,
    ranges: list[KeyRange],
    shape: str,
) -> Generation:
    """Delete the generation's rows and checkpoints, and freeze this plan instead of the one before.

    Return the generation in its new phase. The candidate has no traffic. Where the generation is
    on trial, the trial ends first: the candidate then answers from what serves. A worker that still
    runs is fenced off: it finds no shard to claim meanwhile, and the epochs of the new ones are
    above all of its own. Stopped in between, the load goes on with the plan of before, from its
    first row.

    Raises:
        Refused: the target's pointer names the generation as more than a trial.
    """
    key = {"workload": generation.workload, "generation": generation.number}
    workload, _ = read_workload(ledger, generation.workload)
    _end_trial(ledger, workload, generation.number)
    with ledger.transaction():
        moved = move_phase(ledger, generation, Event.RELOAD)
        ledger.execute(statement("backfill", "plan_again"), key)
        ledger.execute(statement("backfill", "forget_dead_letters"), key)
    with open_store(ledger, workload, generation) as store, ledger.transaction():
        before = forget_shards(ledger, generation)
        empty_target(store, max(before.shards, len(ranges)), before.epoch + 1)
        forget_plan(ledger, generation, "backfill")
        put_plan(ledger, generation, "backfill", _frozen(plan, ranges, shape))
        put_shards(ledger, generation, ranges, before)
    return moved


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


def empty_target(store: VectorStore, shards: int, epoch: int) -> None:
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
