"""A plan for tests of what comes after it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qafila.backfill import load_plan
from qafila.backfill.plan import BackfillPlan
from qafila.backfill.source_sample import as_told, from_told, take_sample
from qafila.endpoints import Reach
from qafila.inspect.spread import Sample
from qafila.ledger.ledger import Generation, open_ledger, read_workload
from qafila.sources.port import KeyRange
from tasks import embedding_backfill as steps


def plan_here(
    generation: Generation, rows_per_shard: int, workers: int
) -> tuple[BackfillPlan, list[KeyRange], str]:
    """Plan a load where the plan itself is not looked at: the sample is taken in this process.

    What is sampled is the same; starting a process for it costs each test a second. That process
    is met by the tests of the plan, of the flow and of what it does while servers restart.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(load_plan, "sample_apart", _sample_here)
        return steps.plan_load.fn(generation, rows_per_shard, workers)


def _sample_here(
    generation: Generation, reach: Reach, ranges: Sequence[KeyRange]
) -> tuple[Sample, float | None]:
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
    return from_told(as_told(*take_sample(workload, generation, reach, ranges)))
