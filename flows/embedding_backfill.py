"""Fill the next generation of a workload's index from the rows that exist."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from blocks import PostgresDatabase
from qafila.core.corpus import PgvectorTarget
from qafila.core.parameters import ForWorkload
from qafila.core.phases import Event, Phase
from qafila.core.plan import BackfillPlan, Comparison
from qafila.core.verdict import Verdict
from qafila.errors import BackfillHalted, Refused, VerificationFailed
from tasks import backfill
from tasks.alias import set_trial
from tasks.connections import connection
from tasks.edges import router_of
from tasks.evidence import evidence_of, record_evidence
from tasks.generations import preview_for
from tasks.ledger import (
    Generation,
    move_phase,
    open_ledger,
    read_workload,
    require_generation,
)
from tasks.preflight import latest_preflight
from tasks.runs import about_generation, current_run_id, operator_told

MOST_WORKERS = 32
_PHASES = (Phase.DESIGNED, Phase.BACKFILLING, Phase.BACKFILLED)
_RELOADABLE = (Phase.BACKFILLING, Phase.BACKFILLED, Phase.VALIDATED, Phase.DRILLED)


class EmbeddingBackfill(ForWorkload):
    """What to fill, and how."""

    dry_run: bool = Field(False, description="Only compute and show the plan; change nothing.")
    reload: bool = Field(
        False,
        description="Empty this generation first: when source and target differ. Not while it "
        "is on its way to users.",
    )
    workers: int = Field(
        2, ge=1, le=MOST_WORKERS, description="Shards loaded at the same time in this run."
    )
    rows_per_shard: int = Field(
        1000, ge=100, le=1_000_000, description="Only before a plan is frozen; later ignored."
    )
    batch_rows: int = Field(250, ge=16, le=10_000, description="Rows a transaction writes.")


@flow(
    name="embedding-backfill",
    flow_run_name=about_generation("backfill"),
    task_runner=ThreadPoolTaskRunner(max_workers=MOST_WORKERS),  # type: ignore[arg-type]
)
def embedding_backfill(request: EmbeddingBackfill) -> dict[str, Any]:
    """Fills the next generation of the index: plan, load, index, compare.

    You see the plan, then a task a shard, then the comparison of every row. Only the target is
    changed, in a table that nobody reads yet. Killed or cancelled at any moment, start it again:
    it goes on at its checkpoints, and no row is there twice. To undo, drop the generation.
    """
    with operator_told():
        generation = find_generation(request.workload, request.dry_run, request.reload)
        plan, ranges = backfill.plan_load(
            request.workload, generation, request.rows_per_shard, request.workers
        )
        show_plan(generation, plan)
        if request.dry_run:
            return {"dry_run": True, **asdict(plan)}
        if plan.over_cap:
            raise Refused(
                f"the load would cost {plan.cost_estimated:.2f} {plan.currency}, "
                f"the cap is {plan.spend_cap:.2f}.",
                kept="everything; nothing was loaded.",
                remedy="raise budget.spend_cap in the workload file, then: qafila apply FILE",
            )
        if request.reload:
            generation = backfill.empty_generation(generation)
        if generation.phase != Phase.BACKFILLED:
            backfill.apply_plan(generation, plan, ranges)
            generation = begin(generation)
        rows, seconds = load_shards(generation, request.workers, request.batch_rows)
        index_seconds = backfill.build_index(generation)
        comparison = backfill.compare(generation)
        return accept(generation, comparison, rows, seconds, index_seconds)


@task(task_run_name="find generation of {name}", cache_policy=NO_CACHE)
def find_generation(name: str, dry_run: bool, reload: bool) -> Generation:
    """Return the generation to fill.

    Raises:
        Refused: it is in another phase, preflight has not passed, or the candidate serves users.
    """
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
        if dry_run:
            return preview_for(ledger, workload)
        phases = _RELOADABLE if reload else _PHASES
        generation = require_generation(ledger, name, *phases)
        if generation.phase == Phase.DESIGNED:
            preflight = latest_preflight(ledger, name, generation.number)
            if preflight is None or not preflight.allows:
                raise Refused(
                    f"preflight has not passed for generation {generation.number} of {name}.",
                    kept="everything; nothing was loaded.",
                    remedy=f"qafila run preflight {name}",
                )
        share = router_of(ledger, workload).read().candidate_percent
        if share > 0:
            raise Refused(
                f"the candidate of {name} gets {share} % of the traffic: a new generation would "
                "reach users before it is validated.",
                kept="all weights and the serving generation.",
                remedy=f"qafila rollback {name}",
            )
        return generation


@task(task_run_name="show plan of g{generation.number}", cache_policy=NO_CACHE)
def show_plan(generation: Generation, plan: BackfillPlan) -> None:
    """Log the plan in one line and keep it as an artifact."""
    get_run_logger().info(
        "plan: %d rows in %d shards, about %d tokens, %.2f %s, %.0f to %.0f s",
        plan.rows, plan.shards, plan.tokens_estimated, plan.cost_estimated, plan.currency,
        plan.seconds_p50, plan.seconds_p95,
    )  # fmt: skip
    risks = "".join(f"\n- {r}" for r in plan.risks) or "\n- none found"
    create_markdown_artifact(
        key="plan",
        markdown=f"""# Backfill of {generation.workload}, generation {generation.number}

| | |
|---|---|
| rows | {plan.rows:,} in {plan.shards} shards of {plan.rows_per_shard:,} |
| chunks | about {plan.chunks_estimated:,} |
| tokens | about {plan.tokens_estimated:,} |
| cost | {plan.cost_estimated:.2f} {plan.currency} (the model runs in this process) |
| duration, without the index | {plan.seconds_p50:.0f} s (P50), {plan.seconds_p95:.0f} s (P95) |
| fingerprint | `{generation.fingerprint}` |

Estimated from {plan.sampled_rows} rows that were read and embedded for it.

**Risks**{risks}
""",
    )


@task(task_run_name="begin g{generation.number}", cache_policy=NO_CACHE)
def begin(generation: Generation) -> Generation:
    """Move the phase when it is the first attempt, and note the attempt."""
    with open_ledger() as ledger:
        backfill.let_go_of_the_dead(ledger, generation)
        if generation.phase == Phase.DESIGNED:
            generation = move_phase(ledger, generation, Event.PLAN_APPLIED)
        record_evidence(
            ledger, "backfill-attempt", f"a run loads generation {generation.number}.",
            workload=generation.workload, generation=generation.number, run_id=current_run_id(),
        )  # fmt: skip
    return generation


def load_shards(generation: Generation, workers: int, batch_rows: int) -> tuple[int, float]:
    """Load every shard that is not loaded; return this run's rows and its seconds of wall time.

    Raises:
        BackfillHalted: shards are left: one failed, or another live worker still holds it.
    """
    log, begun = get_run_logger(), time.perf_counter()
    with open_ledger() as ledger:
        shards = backfill.list_shards(ledger, generation)
    left = [s for s in shards if s.state != "loaded"]
    total = sum(s.rows_planned for s in shards)
    at_start = sum(s.rows_loaded for s in shards)
    bar = create_progress_artifact(_percent(at_start, total), key="progress")
    rows = failed = 0
    for done, loaded in enumerate(_at_most(workers, left, generation, len(shards), batch_rows), 1):
        if isinstance(loaded, backfill.Loaded):
            rows += loaded.rows
        else:
            failed += 1
        update_progress_artifact(bar, _percent(at_start + rows, total))  # type: ignore[arg-type]
        rate = rows / (time.perf_counter() - begun)
        log.info("loaded %d/%d rows at %.0f rows/s, shard %d/%d, %d held elsewhere or failed",
                 at_start + rows, total, rate, done, len(left), failed)  # fmt: skip
    seconds = time.perf_counter() - begun
    with open_ledger() as ledger:
        open_shards = [s for s in backfill.list_shards(ledger, generation) if s.state != "loaded"]
    if open_shards:
        raise BackfillHalted(
            f"{len(open_shards)} of {len(shards)} shards of g{generation.number} are not loaded.",
            kept=f"{total - sum(s.rows_planned for s in open_shards)} rows and all checkpoints.",
            remedy=f"qafila run embedding-backfill {generation.workload}",
        )
    return rows, seconds


def _at_most(
    workers: int, shards: Sequence[backfill.Shard], generation: Generation, of: int, batch_rows: int
) -> Iterator[object]:
    """Yield the outcome of each shard's task, never more than ``workers`` of them at work."""
    waiting = list(reversed(shards))
    at_work: list[PrefectFuture[Any]] = []
    while waiting or at_work:
        while waiting and len(at_work) < workers:
            number = waiting.pop().number
            at_work.append(
                backfill.load_shard.submit(generation, number, of, batch_rows, current_run_id())
            )
        ended = next(as_completed(at_work))
        at_work.remove(ended)
        yield ended.result(raise_on_failure=False)


def _percent(rows: int, total: int) -> float:
    return min(100.0, round(100 * rows / total, 1)) if total else 100.0


@task(task_run_name="accept g{generation.number}", cache_policy=NO_CACHE)
def accept(
    generation: Generation,
    comparison: Comparison,
    rows: int,
    seconds: float,
    index_seconds: float,
) -> dict[str, Any]:
    """Write the verdict; when every row arrived, put the generation on trial and move the phase.

    Raises:
        VerificationFailed: source and target differ.
    """
    name = generation.workload
    with open_ledger() as ledger:
        attempts = len(evidence_of(ledger, name, "backfill-attempt", generation=generation.number))
        body = {
            **asdict(comparison),
            "chunks": comparison.chunks_target,
            "digests_equal": comparison.complete,
            "rows_loaded_by_this_run": rows,
            "rows_per_s": round(rows / seconds, 1) if rows and seconds else None,
            "seconds": round(seconds, 3),
            "index_seconds": round(index_seconds, 3),
            "attempts": attempts,
            "resumed": attempts > 1,
        }
        verdict = Verdict.PASS if comparison.complete else Verdict.FAIL
        record_evidence(
            ledger, "backfill", comparison.sentence(), workload=name,
            generation=generation.number, verdict=verdict, body=body, run_id=current_run_id(),
        )  # fmt: skip
        create_markdown_artifact(
            key="verdict",
            markdown=f"# {verdict}\n\n{comparison.sentence()}\n\n"
            + "".join(f"- {e}\n" for e in comparison.examples),
        )
        if not comparison.complete:
            raise VerificationFailed(
                comparison.sentence(),
                kept="the generation as it is; nobody reads it.",
                remedy="when nothing writes to the source: "
                f"qafila run embedding-backfill {name} --set reload=true",
            )
        workload, _ = read_workload(ledger, name)
        target = workload.corpus.target
        if isinstance(target, PgvectorTarget):
            with connection(ledger, target.block, PostgresDatabase).connect() as database:
                set_trial(database, name, generation.number, 0)
        if generation.phase == Phase.BACKFILLING:
            move_phase(ledger, generation, Event.ALL_LOADED)
    return {"verdict": verdict.value, **body}
