"""The gate before any user sees the new generation: the ladder, baseline against candidate."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from pydantic import Field

from qafila.core.parameters import ForWorkload
from qafila.core.verdict import Judgement, Verdict
from qafila.errors import Inconclusive, Refused, Unavailable
from tasks import validation
from tasks.ledger import Generation, open_ledger, read_workload
from tasks.runs import about_generation, operator_told
from tasks.validation import Result


class BenchmarkValidation(ForWorkload):
    """How thoroughly to look. The defaults look at everything."""

    max_queries: int | None = Field(
        None, ge=1, description="Judge a random sample of this many queries; empty: all of them."
    )
    concurrency: int = Field(2, ge=1, le=64, description="Users who ask at the same time.")
    recall_queries: int = Field(
        120, ge=10, le=10_000, description="Queries on which the index meets exact search."
    )
    machine: str = Field(
        "aws-m6i-large-paris",
        description="Item of the price book that the cost of a query is computed from.",
    )
    seed: int = Field(7, ge=0, description="Same seed, same samples and same intervals.")


@flow(name="benchmark-validation", flow_run_name=about_generation("validate"))
def benchmark_validation(request: BenchmarkValidation) -> dict[str, Any]:
    """Judges the new generation against what serves now; a FAIL stops the migration here.

    You see one task a rung: rows and digests, recall of the index against exact search, then every
    judged query through the baseline, vectors alone and the candidate; artifacts `verdict`,
    `validation` and `worst-queries`. Changes the ledger only: no user meets the new generation.
    May be repeated. A FAIL or an INCONCLUSIVE leaves the phase as it is; there is nothing to undo.
    """
    with operator_told():
        generation = validation.find_generation(request.workload)
        queries = validation.read_queries(request.workload, request.max_queries, request.seed)
        rows = validation.judge_rows(generation)
        say("rows", rows)
        recall = answers = None
        if rows.verdict is Verdict.PASS:
            recall = validation.measure_recall(
                generation, queries, request.recall_queries, request.seed
            )
            if recall_allows(generation, recall):
                answers = validation.ask_services(request.workload, queries, request.concurrency)
        result = validation.judge_climb(
            generation, rows, recall, queries, answers, request.machine, request.seed
        )
        validation.show_result(generation, result)
        validation.record_result(generation, result)
        return conclude(generation, result)


def say(rung: str, judgement: Judgement) -> None:
    """Log one rung in one line."""
    get_run_logger().info("%s %s: %s", rung, judgement.verdict, judgement.sentence)


def recall_allows(generation: Generation, recall: validation.Recall) -> bool:
    """Say whether the climb goes on after the index met exact search."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
    judgement = validation.judge_recall(workload, recall)
    say("recall", judgement)
    return judgement.verdict is not Verdict.FAIL


def conclude(generation: Generation, result: Result) -> dict[str, Any]:
    """End the run as the verdict says.

    Raises:
        Refused: FAIL.
        Inconclusive: there was too little to say yes or no.
        Unavailable: a system answered with errors, so it was not measured.
    """
    for name, judgement in result.verdicts.items():
        say(name, judgement)
    kept = "all traffic on the baseline, the generation and its phase; the evidence is written."
    what = f"generation {generation.number} of {generation.workload}: {result.sentence}"
    again = f"qafila run benchmark-validation {generation.workload}"
    if result.verdict is Verdict.FAIL:
        raise Refused(what, kept=kept, remedy=f"mend what the artifact `verdict` names; {again}")
    if result.verdict is Verdict.INCONCLUSIVE:
        raise Inconclusive(what, kept=kept, remedy=f"judge more queries, then: {again}")
    if result.verdict is Verdict.ERROR:
        raise Unavailable(what, kept=kept, remedy=f"mend the service, then: {again}")
    return {"verdict": result.verdict.value, **result.body()}
