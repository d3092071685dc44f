"""Steps of benchmark-validation: what is on trial, rung after rung, what is said and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from prefect import Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from qafila.endpoints import reach_of
from qafila.errors import Inconclusive, Refused, Unavailable
from qafila.ledger.ledger import Generation, open_ledger
from qafila.text.foreign_text import markdown_text
from qafila.validation import record as recording
from qafila.validation.ladder import LADDER
from qafila.validation.model import Finding
from qafila.validation.options import LadderOptions
from qafila.validation.outcome import Climbed, Outcome
from qafila.validation.phrases import (
    finding_page,
    headline,
    rung_rows,
    system_rows,
    verdict_page,
    worst_rows,
)
from qafila.validation.rehearsal.record import record_rehearsal, trial_rows
from qafila.validation.rehearsal.rehearsal import rehearse
from qafila.validation.rehearsal.scratch import drop_leftovers
from qafila.validation.suite import Check, Climb, begin_climb
from qafila.workload.verdict import Judgement, Verdict
from tasks.artifact_tables import show_markdown, show_table
from tasks.runs import current_run_id


@task(task_run_name="find what is on trial of {name}", cache_policy=NO_CACHE)
def start_climb(name: str, options: LadderOptions) -> Climb:
    """Return the climb of the generation to validate; its services must be up and serve it.

    Raises:
        BadInput: the judged queries cannot be read.
        Refused: it is in another phase, or the candidate serves another generation.
        Unavailable: a service does not answer.
    """
    return begin_climb(name, options, run_id=current_run_id())


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
def rehearse_ladder(climb: Climb, ladder: Sequence[Check]) -> Judgement:
    """Plant every known fault in a scratch copy and judge whether the ladder catches it.

    Writes evidence and an artifact; the copy is dropped, whatever happens.

    Raises:
        Refused: another rehearsal of this workload is going on.
    """
    say = get_run_logger().info
    with open_ledger() as ledger:
        rehearsed = rehearse(
            ledger,
            climb,
            ladder,
            told=lambda line: say("rehearsal: %s", line),
            seen=show_finding,
        )
        judged = record_rehearsal(ledger, climb.generation, rehearsed, current_run_id())
    show_table(
        key="rehearsal",
        rows=trial_rows(rehearsed.trials),
        description=judged.sentence,
    )
    return judged


def rung_task(check: Check) -> Task[[Climb], Climbed]:
    """Make a task of a check: named, never cached, with its own artifact."""
    rung = check.rung

    @task(
        name=f"rung {rung.number} {rung.value}",
        task_run_name=f"{rung.number} {rung.value}: {check.doing} of g{{climb.generation.number}}",
        cache_policy=NO_CACHE,
    )
    @wraps(check.measure)
    def climb_rung(climb: Climb) -> Climbed:
        found = check(climb)
        show_finding(check, found)
        return found

    return climb_rung


def show_finding(check: Check, found: Climbed) -> None:
    """Publish what was found on a rung."""
    show_markdown(key=check.rung.artifact, markdown=finding_page(found), description=check.doing)


# from the lowest
RUNGS = tuple(rung_task(check) for check in LADDER)


@task(task_run_name="record verdict of g{generation.number}", cache_policy=NO_CACHE)
def record_outcome(generation: Generation, outcome: Outcome) -> Generation:
    """Write evidence, then move the phase on PASS; return the generation as it is now.

    Evidence is appended each time; the phase moves once, from ``backfilled`` only.
    """
    with open_ledger() as ledger:
        return recording.record_outcome(ledger, generation, outcome, current_run_id())


@task(task_run_name="show verdict of g{generation.number}", cache_policy=NO_CACHE)
def show_outcome(generation: Generation, outcome: Outcome) -> None:
    """Publish the sentence, the rungs, the systems and the queries that lost most."""
    show_markdown(
        key="verdict",
        markdown=verdict_page(generation, outcome),
        description=markdown_text(headline(outcome)),
    )
    show_table(key="rungs", rows=rung_rows(outcome), description="Every rung, from the lowest.")
    show_table(key="validation", rows=system_rows(outcome), description="What each system reached.")
    show_table(
        key="worst-queries",
        rows=worst_rows(outcome),
        description="Where the candidate lost most against the baseline, for a person to judge.",
    )


# --- what the run says ------------------------------------------------------------------------


def trust(generation: Generation, rehearsed: Judgement) -> None:
    """End the run when the ladder did not show that it can be trusted.

    Raises:
        Refused: it missed a planted fault.
        Inconclusive: nothing was proven.
    """
    say_verdict("rehearsal", rehearsed)
    kept = "everything: the copy is dropped, the generation was not touched."
    again = f"qafila run benchmark-validation {generation.workload} --set rehearse=true"
    if rehearsed.verdict is Verdict.FAIL:
        raise Refused(
            rehearsed.sentence,
            kept=kept,
            remedy=f"raise the sample sizes, or see in the artifact `rehearsal` why; then: {again}",
        )
    if rehearsed.verdict is not Verdict.PASS:
        raise Inconclusive(
            rehearsed.sentence, kept=kept, remedy=f"mend what the sentence names; then: {again}"
        )


def say(found: Climbed) -> None:
    """Log one rung in one line."""
    if isinstance(found, Finding):
        say_verdict(found.rung, found.judgement)
    else:
        get_run_logger().info("%s does not apply: %s", found.rung, found.because)


def say_verdict(what: str, judgement: Judgement) -> None:
    """Log one verdict in one line."""
    get_run_logger().info("%s %s: %s", what, judgement.verdict, judgement.sentence)


def conclude(generation: Generation, outcome: Outcome) -> dict[str, Any]:
    """End the run as the verdict says.

    Raises:
        Refused: FAIL.
        Inconclusive: there was too little to say yes or no.
        Unavailable: a system answered with errors, so it was not measured.
    """
    for name, judgement in outcome.verdicts.items():
        say_verdict(name, judgement)
    kept = "all traffic on the baseline, the generation and its phase; the evidence is written."
    what = f"generation {generation.number} of {generation.workload}: {outcome.sentence}"
    again = f"qafila run benchmark-validation {generation.workload}"
    if outcome.verdict is Verdict.FAIL:
        raise Refused(what, kept=kept, remedy=f"mend what the artifact `verdict` names; {again}")
    if outcome.verdict is Verdict.INCONCLUSIVE:
        raise Inconclusive(what, kept=kept, remedy=f"do as it says, then: {again}")
    if outcome.verdict is Verdict.ERROR:
        raise Unavailable(what, kept=kept, remedy=f"mend the service, then: {again}")
    return {"verdict": outcome.verdict.value, **outcome.body()}
