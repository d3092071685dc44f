"""The record of a climb: evidence in the ledger, the phase, artifacts in Prefect."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from qafila.core.foreign_text import markdown_text
from qafila.core.ladder.climb import Outcome
from qafila.core.ladder.rungs import Rung
from qafila.core.phases import Event, Phase
from qafila.core.verdict import Verdict
from tasks.artifact_tables import show_markdown, show_table
from tasks.evidence import record_evidence
from tasks.ledger import Generation, move_phase, open_ledger
from tasks.runs import current_run_id
from tasks.validating.wording import headline, rung_rows, system_rows, verdict_page


@task(task_run_name="record verdict of g{generation.number}", cache_policy=NO_CACHE)
def record_outcome(generation: Generation, outcome: Outcome) -> Generation:
    """Write evidence, then move the phase on PASS; return the generation as it is now.

    Evidence is appended each time; the phase moves once, from ``backfilled`` only.
    """
    name, number, run_id = generation.workload, generation.number, current_run_id()
    with open_ledger() as ledger:
        for arm, judgement in outcome.verdicts.items():
            record_evidence(
                ledger, "validation-arm", judgement.sentence, verdict=judgement.verdict,
                workload=name, generation=number, run_id=run_id,
                body={"arm": arm, **judgement.numbers},
            )  # fmt: skip
        record_evidence(
            ledger, "validation", headline(outcome), verdict=outcome.verdict,
            workload=name, generation=number, run_id=run_id, body=outcome.body(),
        )  # fmt: skip
        if outcome.verdict is Verdict.PASS and generation.phase == Phase.BACKFILLED:
            return move_phase(ledger, generation, Event.LADDER_PASS)
    return generation


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
    quality = outcome.finding(Rung.QUALITY)
    show_table(
        key="worst-queries",
        rows=[dict(r) for d in (quality.details if quality else ())[:1] for r in d.rows],
        description="Where the candidate lost most against the baseline, for a person to judge.",
    )
