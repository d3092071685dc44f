"""Steps of embedding-backfill.

A step during which a server goes away is done again from its start, by Prefect's retries, and the
run shows it as awaiting its retry. Each step is therefore harmless to repeat. The load itself is no
step: its workers wait for servers themselves, since they hold a shard meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from qafila.backfill import attempt, load_plan
from qafila.backfill.claims import let_go_of_the_dead
from qafila.backfill.control import ask_of_load, holding
from qafila.backfill.coordinator import coordinate
from qafila.backfill.dead_letters import Replayed, replay_dead_letters
from qafila.backfill.generations import meaning_of
from qafila.backfill.patience import PatientLedger, first_line, is_away, outage_error
from qafila.backfill.plan import BackfillPlan, Comparison, batch_rows_for, render
from qafila.backfill.progress import Progress, read_progress
from qafila.backfill.worker import Assignment
from qafila.endpoints import Reach, reach_of
from qafila.ledger.ledger import Connection, Generation, open_ledger, read_workload
from qafila.live_sync.lifecycle import ensure_capture
from qafila.session_name import working_on
from qafila.sources.port import KeyRange
from qafila.text.foreign_text import markdown_text
from qafila.workload.model import Workload
from tasks.artifact_tables import show_markdown
from tasks.backfill_workers import Engine, at_work
from tasks.runs import current_run_id, progress_bar

MOST_WORKERS = 32
DELAY_SECONDS: list[float] = [1, 2, 4, 8, 15, 30, 30, 30]  # together two minutes
# A server that falls over the build of an index would do so for ever: four builds at most.
BUILD_DELAY_SECONDS: list[float] = [5, 25, 90]


def server_is_away(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    """Say whether a step failed since a server went away, and so is to be done again."""
    error = state.data
    if not isinstance(error, BaseException) or not is_away(error):
        return False
    get_run_logger().warning("a server is away, this step is done again: %s", first_line(error))
    return True


@contextmanager
def _ledger(generation: Generation, step: str) -> Iterator[Connection]:
    """Open the ledger for a step; name its sessions after it.

    Raises:
        Unavailable: a server went away meanwhile; says how to go on once no retry is left.
    """
    with working_on(step, workload=generation.workload, generation=generation.number):
        try:
            with open_ledger() as ledger:
                yield ledger
        except Exception as error:
            if is_away(error):
                outage = outage_error(error, generation.workload)
                raise outage from outage.__cause__
            raise


@task(task_run_name="find generation of {name}", cache_policy=NO_CACHE)
def find_generation(name: str, dry_run: bool, reload: bool) -> Generation:
    """Return the generation to fill.

    Raises:
        Refused: it is in another phase, preflight has not passed, or the candidate serves users.
    """
    with open_ledger() as ledger:
        return attempt.generation_to_fill(ledger, name, dry_run=dry_run, reload=reload)


@task(
    task_run_name="check source and target of {generation.workload} g{generation.number}",
    cache_policy=NO_CACHE,
)
def check_source_and_target(generation: Generation) -> None:
    """Check that source and target can be used.

    It is not done again when one of them is silent: its address may be wrong.

    Raises:
        BadInput: source or target cannot be used; names every problem.
        Unavailable: one of them does not answer.
    """
    name, number = generation.workload, generation.number
    with working_on("plan", workload=name, generation=number), open_ledger() as ledger:
        load_plan.check_source_and_target(ledger, generation)


@task(
    task_run_name="plan backfill of {generation.workload} g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def plan_load(
    generation: Generation, rows_per_shard: int | None, workers: int
) -> tuple[BackfillPlan, list[KeyRange], str]:
    """Read state and compute the plan, its ranges and the source's shape; changes nothing."""
    with _ledger(generation, "plan") as ledger:
        return load_plan.plan_load(ledger, generation, rows_per_shard, workers)


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


@task(
    task_run_name="empty g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def empty_generation(
    generation: Generation, plan: BackfillPlan, ranges: list[KeyRange], shape: str
) -> Generation:
    """Delete the generation's rows and checkpoints, and freeze this plan instead of the one before.

    Return the generation in its new phase. Done again, it empties the target again.

    Raises:
        Refused: the target's pointer names the generation as more than a trial.
    """
    with _ledger(generation, "empty") as ledger:
        return load_plan.empty_generation(ledger, generation, plan, ranges, shape)


@task(
    task_run_name="capture changes for g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def start_capture(generation: Generation, emptied: bool) -> bool:
    """Start to follow the source before its first row is read; False when it is not asked for.

    Done again, it finds what it has installed.

    Raises:
        BadInput: the table cannot be followed; names every problem.
    """
    with _ledger(generation, "capture") as ledger:
        workload, _ = read_workload(ledger, generation.workload)
        return ensure_capture(ledger, workload, generation, emptied=emptied) is not None


@task(
    task_run_name="apply plan of g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def apply_plan(
    generation: Generation, plan: BackfillPlan, ranges: list[KeyRange], shape: str
) -> None:
    """Freeze plan, shards and shape, and prepare the target. Done again, the first ones stay."""
    with _ledger(generation, "plan") as ledger:
        load_plan.apply_plan(ledger, generation, plan, ranges, shape)


@task(
    task_run_name="begin g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def begin(generation: Generation, append_id: str) -> Generation:
    """Note the attempt, and move the phase when it is the first; once for an ``append_id``."""
    with _ledger(generation, "begin") as ledger:
        return attempt.begin_attempt(
            ledger, generation, run_id=current_run_id(), append_id=append_id
        )


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
    run_id, name, log = current_run_id(), generation.workload, get_run_logger()

    def look(connection: Connection) -> tuple[Workload, Reach, Progress]:
        let_go_of_the_dead(connection, generation)
        workload = meaning_of(connection, generation)
        return workload, reach_of(connection, workload), read_progress(connection, generation)

    with (
        PatientLedger(name, log.warning) as ledger,
        holding(ledger, generation, run_id) as epoch,
    ):
        if speed < 1.0:
            ledger.ask(
                partial(ask_of_load, generation=generation, speed=speed, by="its run", epoch=epoch)
            )
        workload, reach, before = ledger.ask(look)
        rows = batch_rows or batch_rows_for(workload.corpus.embedder)
        assignment = Assignment(name, generation.number, rows, run_id, epoch=epoch)
        begun, after = time.perf_counter(), before
        if before.shards_loaded < before.shards:
            move_bar = progress_bar(before.percent)
            with at_work(engine, assignment, workers) as team:
                after = coordinate(
                    ledger, workload, generation, epoch, reach, team, note=log.info, show=move_bar
                )
                for worker in team:
                    worker.result()
    return after.rows_loaded - before.rows_loaded, time.perf_counter() - begun


@task(
    task_run_name="build index of g{generation.number}",
    retries=len(BUILD_DELAY_SECONDS),
    retry_delay_seconds=BUILD_DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def build_index(generation: Generation) -> float:
    """Build the indexes after the load; return the seconds it took.

    Done again, it clears away what was cut off and builds what is missing.

    Raises:
        BackfillHalted: it does not fit, was cancelled in the server, or the server ended it four
            times.
    """
    started = time.perf_counter()
    with _ledger(generation, "index") as ledger:
        attempt.build_index(ledger, generation)
    return time.perf_counter() - started


@task(
    task_run_name="replay dead letters of g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def replay(generation: Generation) -> Replayed:
    """Try every dead letter again; idempotent by generation and document.

    Raises:
        SpendCapReached: the next call could cross the cap; what was written stays.
    """
    with _ledger(generation, "replay") as ledger:
        return replay_dead_letters(ledger, generation)


@task(
    task_run_name="compare source with g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def compare(generation: Generation) -> Comparison:
    """Compare every row of the source with the target, by key and digest."""
    with _ledger(generation, "compare") as ledger:
        return attempt.compare_with_source(ledger, generation)


@task(
    task_run_name="accept g{generation.number}",
    retries=len(DELAY_SECONDS),
    retry_delay_seconds=DELAY_SECONDS,
    retry_condition_fn=server_is_away,
    cache_policy=NO_CACHE,
)
def accept(
    generation: Generation,
    comparison: Comparison,
    rows: int,
    seconds: float,
    index_seconds: float,
    append_id: str,
) -> dict[str, Any]:
    """Write the verdict, once for an ``append_id``; put the generation on trial when it passed.

    Raises:
        VerificationFailed: source and target differ.
    """
    verdict = attempt.verdict_on(comparison)
    with _ledger(generation, "accept") as ledger:
        body = attempt.record_verdict(
            ledger,
            generation,
            comparison,
            rows=rows,
            seconds=seconds,
            index_seconds=index_seconds,
            run_id=current_run_id(),
            append_id=append_id,
        )
        show_markdown(
            key="verdict",
            markdown=f"# {verdict}\n\n{markdown_text(comparison.sentence())}\n\n"
            + "".join(f"- {markdown_text(e)}\n" for e in comparison.examples),
        )
        attempt.put_on_trial(ledger, generation, comparison)
    return {"verdict": verdict.value, **body}
