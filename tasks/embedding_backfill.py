"""Steps of embedding-backfill that frame the load: find, plan, begin, load, accept."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from typing import Any
from uuid import uuid4

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.backfill.claims import let_go_of_the_dead
from qafila.backfill.control import ask_of_load, holding
from qafila.backfill.generations import meaning_of, preview_for
from qafila.backfill.patience import PatientLedger
from qafila.backfill.plan import BackfillPlan, Comparison, batch_rows_for, render
from qafila.backfill.progress import Progress, read_progress
from qafila.backfill.worker import Assignment
from qafila.connections.settings import PostgresConnection
from qafila.endpoints import Reach, reach_of
from qafila.errors import Refused, VerificationFailed
from qafila.ledger.connections import connection
from qafila.ledger.evidence import evidence_of, record_evidence
from qafila.ledger.ledger import (
    Connection,
    Generation,
    generation_of,
    ledger_identity,
    move_phase,
    open_ledger,
    read_workload,
    require_generation,
)
from qafila.ledger.preflight_record import latest_preflight
from qafila.routers.lookup import router_of
from qafila.stores.pointer_row import set_trial
from qafila.text.foreign_text import markdown_text
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict
from tasks.artifact_tables import show_markdown
from tasks.coordinating import coordinate
from tasks.lasting import Answered, lasting
from tasks.runs import current_run_id
from tasks.workforce import Engine, at_work

MOST_WORKERS = 32


_PHASES = (Phase.DESIGNED, Phase.BACKFILLING, Phase.BACKFILLED)


_RELOADABLE = (Phase.BACKFILLING, Phase.BACKFILLED, Phase.VALIDATED, Phase.DRILLED)


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
    log = get_run_logger()
    log.info(
        "plan: %d rows in %d shards, about %d tokens, %.2f %s, %.0f to %.0f s",
        plan.rows,
        plan.shards,
        plan.tokens_estimated,
        plan.cost_estimated,
        plan.currency,
        plan.seconds_p50,
        plan.seconds_p95,
    )
    for risk in plan.risks:
        log.warning("risk: %s", risk)
    show_markdown(
        key="plan",
        markdown=f"# Backfill of {generation.workload}, generation {generation.number}\n\n"
        f"{render(plan, markdown_text)}\nFingerprint: `{generation.fingerprint}`\n",
    )


@task(task_run_name="begin g{generation.number}", cache_policy=NO_CACHE)
def begin(generation: Generation) -> Generation:
    """Move the phase when it is the first attempt, and note the attempt."""
    name, number = generation.workload, generation.number
    this_attempt = str(uuid4())

    def note_attempt(answered: Answered) -> Generation:
        with open_ledger() as ledger, ledger.transaction():
            answered()
            now = generation_of(ledger, name, number)
            if now.phase == Phase.DESIGNED:
                now = move_phase(ledger, now, Event.PLAN_APPLIED)
            record_evidence(
                ledger,
                "backfill-attempt",
                f"a run loads generation {number}.",
                workload=name,
                generation=number,
                run_id=current_run_id(),
                append_id=this_attempt,
            )
        return now

    return lasting(generation, "begin", note_attempt)


def load_shards(
    generation: Generation, engine: Engine, workers: int, batch_rows: int | None, speed: float
) -> tuple[int, float]:
    """Load every shard that is not loaded; return this run's rows and its seconds of wall time.

    ``speed`` is the share of full speed to begin with, 0 < s <= 1.

    Raises:
        Refused: another run loads this generation; says which.
        BackfillHalted: it was cancelled, or some shards could not be loaded.
        StaleEpoch: another run took the load over.
        Unavailable: a server was away for longer than two minutes.
    """
    run_id, name = current_run_id(), generation.workload

    def look(connection: Connection) -> tuple[Workload, Reach, Progress]:
        let_go_of_the_dead(connection, generation)
        workload = meaning_of(connection, generation)
        return workload, reach_of(connection, workload), read_progress(connection, generation)

    with (
        PatientLedger(name, get_run_logger().warning) as ledger,
        holding(ledger, generation, run_id) as epoch,
    ):
        if speed < 1.0:
            ledger.ask(
                partial(ask_of_load, generation=generation, speed=speed, by="its run", epoch=epoch)
            )
        workload, reach, before = ledger.ask(look)
        rows = batch_rows or batch_rows_for(workload.corpus.embedder)
        assignment = Assignment(name, generation.number, rows, run_id, epoch=epoch)
        begun = time.perf_counter()
        if before.shards_loaded < before.shards:
            with at_work(engine, assignment, workers) as team:
                coordinate(ledger, workload, generation, epoch, reach, team)
                for worker in team:
                    worker.result()
        after = ledger.ask(lambda connection: read_progress(connection, generation))
    return after.rows_loaded - before.rows_loaded, time.perf_counter() - begun


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
    name, number = generation.workload, generation.number
    verdict = Verdict.PASS if comparison.complete else Verdict.FAIL
    this_verdict = str(uuid4())

    def record(answered: Answered) -> dict[str, Any]:
        with open_ledger() as ledger:
            answered()
            attempts = len(evidence_of(ledger, name, "backfill-attempt", generation=number))
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
            record_evidence(
                ledger,
                "backfill",
                comparison.sentence(),
                workload=name,
                generation=number,
                verdict=verdict,
                body=body,
                run_id=current_run_id(),
                append_id=this_verdict,
            )
        return body

    body = lasting(generation, "accept", record)
    show_markdown(
        key="verdict",
        markdown=f"# {verdict}\n\n{markdown_text(comparison.sentence())}\n\n"
        + "".join(f"- {markdown_text(e)}\n" for e in comparison.examples),
    )
    if not comparison.complete:
        raise VerificationFailed(
            comparison.sentence(),
            kept=f"the rows of generation {number}; this run did not put it on trial.",
            remedy=f"when nothing writes to the source, empty generation {number} and load it anew "
            "(refused for what serves or belongs to another ledger): "
            f"qafila run embedding-backfill {name} --set reload=true",
        )
    lasting(generation, "accept", partial(_put_on_trial, name, number))
    return {"verdict": verdict.value, **body}


def _put_on_trial(name: str, number: int, answered: Answered) -> None:
    """Move the pointer row, then the phase; each once, however often it is called."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, name)
        target = workload.corpus.target
        if isinstance(target, PgvectorTarget):
            with connection(ledger, target.block, PostgresConnection).connect() as database:
                answered()
                set_trial(database, name, number, 0, ledger=ledger_identity(ledger))
        generation = generation_of(ledger, name, number)
        if generation.phase == Phase.BACKFILLING:
            move_phase(ledger, generation, Event.ALL_LOADED)
