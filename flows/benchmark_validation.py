"""The gate before any user sees the new generation: the ladder, baseline against candidate."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from qafila.core.ladder.climb import Climbed, Outcome, stops
from qafila.core.ladder.options import LadderOptions
from qafila.core.ladder.rungs import Finding
from qafila.core.parameters import ForWorkload
from qafila.core.verdict import Judgement, Verdict
from qafila.errors import Inconclusive, Refused, Unavailable
from tasks.ledger import Generation
from tasks.rehearsing.steps import clear_leftovers, rehearse_ladder
from tasks.runs import about_generation, operator_told
from tasks.validating.access import measure_access
from tasks.validating.answers import judge_answers
from tasks.validating.change import measure_change
from tasks.validating.climb import start_climb
from tasks.validating.content import compare_content
from tasks.validating.cost import judge_cost
from tasks.validating.index import measure_index
from tasks.validating.keys import compare_keys
from tasks.validating.latency import measure_latency
from tasks.validating.meaning import compare_meaning
from tasks.validating.neighbours import compare_neighbours
from tasks.validating.quality import judge_quality
from tasks.validating.recording import record_outcome, show_outcome

LADDER = (
    compare_keys,
    compare_content,
    compare_meaning,
    compare_neighbours,
    measure_index,
    judge_quality,
    measure_change,
    measure_latency,
    judge_cost,
    measure_access,
    judge_answers,
)
# a copy of rows says nothing about a language model, whose answers cost money
REHEARSED = tuple(r for r in LADDER if r is not judge_answers)


class BenchmarkValidation(LadderOptions, ForWorkload):
    """How thoroughly to look. The defaults look at everything."""

    rehearse: bool = Field(
        False,
        description="First plant every known fault in a scratch copy and see each one caught; "
        "takes as long as twenty climbs.",
    )


@flow(name="benchmark-validation", flow_run_name=about_generation("validate"))
def benchmark_validation(request: BenchmarkValidation) -> dict[str, Any]:
    """Judges the new generation against what serves now; a FAIL stops the migration here.

    You see one task a rung, each with its artifact `rung-…`: rows and digests, recall of the index
    against exact search, then every judged query through the baseline, vectors alone and the
    candidate; artifacts `verdict`, `rungs`, `validation` and `worst-queries`. Changes the ledger
    only: no user meets the new generation. May be repeated. A FAIL or an INCONCLUSIVE leaves the
    phase as it is; there is nothing to undo. With `rehearse`, a scratch copy is made in the target,
    broken in twenty ways and dropped: artifact `rehearsal`.
    """
    with operator_told():
        climb = start_climb(request.workload, request)
        clear_leftovers(climb)
        if request.rehearse:
            trust(climb.generation, rehearse_ladder(climb, REHEARSED))
        climbed: list[Climbed] = []
        for climb_rung in LADDER:
            climbed.append(climb_rung(climb))
            say(climbed[-1])
            if stops(climbed[-1]):
                break
        outcome = Outcome(climbed)
        show_outcome(climb.generation, outcome)
        record_outcome(climb.generation, outcome)
        return conclude(climb.generation, outcome)


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
