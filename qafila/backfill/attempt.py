"""One attempt to fill a generation: which one it is, how it begins, its index and its verdict.

Each function may be called again after it was cut off at any point. Evidence is then written once,
since each entry has an ``append_id`` that its caller keeps.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from qafila.backfill.generations import preview_for
from qafila.backfill.plan import Comparison
from qafila.backfill.verify import verify_generation
from qafila.connections.settings import PostgresConnection
from qafila.endpoints import open_store
from qafila.errors import Refused, VerificationFailed
from qafila.ledger.connections import connection
from qafila.ledger.evidence import evidence_of, record_evidence
from qafila.ledger.ledger import (
    Connection,
    Generation,
    generation_of,
    ledger_identity,
    move_phase,
    read_workload,
    require_generation,
)
from qafila.ledger.preflight_record import latest_preflight
from qafila.live_sync.verify import verify_live
from qafila.routers.lookup import router_of
from qafila.stores.pointer_row import set_trial
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict

_PHASES = (Phase.DESIGNED, Phase.BACKFILLING, Phase.BACKFILLED)
_RELOADABLE = (Phase.BACKFILLING, Phase.BACKFILLED, Phase.VALIDATED, Phase.DRILLED)


def generation_to_fill(ledger: Connection, name: str, *, dry_run: bool, reload: bool) -> Generation:
    """Return the generation to fill; with ``dry_run``, the one that would be filled.

    Raises:
        Refused: it is in another phase, preflight has not passed, or the candidate serves users.
    """
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


def begin_attempt(
    ledger: Connection, generation: Generation, *, run_id: str | None, append_id: str
) -> Generation:
    """Note the attempt, and move the phase when it is the first one; return the generation."""
    name, number = generation.workload, generation.number
    with ledger.transaction():
        now = generation_of(ledger, name, number)
        if now.phase == Phase.DESIGNED:
            now = move_phase(ledger, now, Event.PLAN_APPLIED)
        record_evidence(
            ledger,
            "backfill-attempt",
            f"a run loads generation {number}.",
            workload=name,
            generation=number,
            run_id=run_id,
            append_id=append_id,
        )
    return now


def build_index(ledger: Connection, generation: Generation) -> None:
    """Build the indexes after the load; what a build that was cut off left behind goes first.

    Raises:
        BackfillHalted: it does not fit, or the server ended it.
    """
    workload, _ = read_workload(ledger, generation.workload)
    with open_store(ledger, workload, generation) as store:
        store.build_index()


def compare_with_source(ledger: Connection, generation: Generation) -> Comparison:
    """Compare every row of the source with the target, by key and digest.

    Where changes are followed, what differs is compared again after they are applied.
    """
    workload, _ = read_workload(ledger, generation.workload)
    verify = verify_live if workload.corpus.live_sync else verify_generation
    return verify(ledger, generation)


def record_verdict(
    ledger: Connection,
    generation: Generation,
    comparison: Comparison,
    *,
    rows: int,
    seconds: float,
    index_seconds: float,
    run_id: str | None,
    append_id: str,
) -> dict[str, Any]:
    """Write the verdict on what this attempt loaded as evidence; return the body of the entry."""
    name, number = generation.workload, generation.number
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
        verdict=verdict_on(comparison),
        body=body,
        run_id=run_id,
        append_id=append_id,
    )
    return body


def verdict_on(comparison: Comparison) -> Verdict:
    """Return the verdict on a load: it passes when every row arrived, and no other is there."""
    return Verdict.PASS if comparison.complete else Verdict.FAIL


def put_on_trial(ledger: Connection, generation: Generation, comparison: Comparison) -> None:
    """Move the pointer row, then the phase; each once, however often it is called.

    Raises:
        VerificationFailed: source and target differ.
    """
    name, number = generation.workload, generation.number
    if not comparison.complete:
        raise VerificationFailed(
            comparison.sentence(),
            kept=f"the rows of generation {number}; this run did not put it on trial.",
            remedy=f"when nothing writes to the source, empty generation {number} and load it anew "
            "(refused for what serves or belongs to another ledger): "
            f"qafila run embedding-backfill {name} --set reload=true",
        )
    workload, _ = read_workload(ledger, name)
    target = workload.corpus.target
    if isinstance(target, PgvectorTarget):
        with connection(ledger, target.block, PostgresConnection).connect() as database:
            set_trial(database, name, number, 0, ledger=ledger_identity(ledger))
    now = generation_of(ledger, name, number)
    if now.phase == Phase.BACKFILLING:
        move_phase(ledger, now, Event.ALL_LOADED)
