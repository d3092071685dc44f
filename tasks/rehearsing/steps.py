"""The rehearsal as a step of a flow: climbed, recorded, shown."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.core.ladder.rehearsal import Trial, judge_rehearsal
from qafila.core.verdict import Judgement
from tasks.artifact_tables import show_table
from tasks.evidence import record_evidence
from tasks.ledger import open_ledger
from tasks.opening import reach_of
from tasks.rehearsing.rehearse import Ladder, Rehearsed, rehearse
from tasks.rehearsing.scratch import drop_leftovers
from tasks.runs import current_run_id
from tasks.validating.climb import Climb


@task(task_run_name="look for copies that were left behind", cache_policy=NO_CACHE)
def clear_leftovers(climb: Climb) -> list[int]:
    """Drop the copies that killed rehearsals left behind; return whose, by generation."""
    with open_ledger() as ledger:
        reach = reach_of(ledger, climb.workload)
        dropped = drop_leftovers(ledger, climb.workload, reach)
    for number in dropped:
        get_run_logger().warning(
            "a rehearsal of generation %d was killed and left its copy behind; it is dropped now",
            number,
        )
    return dropped


@task(task_run_name="rehearse on a copy of g{climb.generation.number}", cache_policy=NO_CACHE)
def rehearse_ladder(climb: Climb, ladder: Ladder) -> Judgement:
    """Plant every known fault in a scratch copy and judge whether the ladder catches it.

    Writes evidence and an artifact; the copy is dropped, whatever happens.

    Raises:
        Refused: another rehearsal of this workload is going on.
    """
    say = get_run_logger().info
    with open_ledger() as ledger:
        rehearsed = rehearse(ledger, climb, ladder, told=lambda line: say("rehearsal: %s", line))
        judged = judge_rehearsal(rehearsed.clean.judgement, rehearsed.trials)
        record_evidence(
            ledger, "rehearsal", judged.sentence, verdict=judged.verdict,
            workload=climb.generation.workload, generation=climb.generation.number,
            run_id=current_run_id(), body=_body(rehearsed, judged),
        )  # fmt: skip
    show_table(
        key="rehearsal",
        rows=trial_rows(rehearsed.trials),
        description=judged.sentence,
    )
    return judged


def trial_rows(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """Return one row a fault, ready to be shown."""
    return [
        {
            "fault": t.fault.name,
            "what was broken": t.fault.what,
            "dose": f"{t.rows} documents" if t.rows else t.fault.dose,
            "caught at": t.skipped or (t.caught_at.value if t.caught_at else "MISSED"),
            "what the ladder said": t.sentence,
        }
        for t in trials
    ]


def _body(rehearsed: Rehearsed, judged: Judgement) -> dict[str, object]:
    return {
        **judged.numbers,
        "documents": rehearsed.documents,
        "clean": rehearsed.clean.judgement.verdict.value,
        "trials": trial_rows(rehearsed.trials),
        "seconds": round(rehearsed.seconds, 1),
    }
