"""The gate before any user sees the new generation: the ladder, baseline against candidate."""

from __future__ import annotations

from typing import Any

from prefect import flow
from pydantic import Field

from qafila.validation.ladder import REHEARSED
from qafila.validation.options import LadderOptions
from qafila.validation.outcome import Climbed, Outcome, stops
from qafila.workload.parameters import ForWorkload
from tasks.benchmark_validation import (
    RUNGS,
    clear_leftovers,
    conclude,
    record_outcome,
    rehearse_ladder,
    say,
    show_outcome,
    start_climb,
    trust,
)
from tasks.runs import about_generation, operator_told


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
        for climb_rung in RUNGS:
            climbed.append(climb_rung(climb))
            say(climbed[-1])
            if stops(climbed[-1]):
                break
        outcome = Outcome(climbed)
        show_outcome(climb.generation, outcome)
        record_outcome(climb.generation, outcome)
        return conclude(climb.generation, outcome)
