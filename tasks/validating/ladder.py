"""The ladder: what climbs each rung, from the lowest."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.validating.access import measure_access
from tasks.validating.answers import judge_answers
from tasks.validating.change import measure_change
from tasks.validating.climb import Check
from tasks.validating.content import compare_content
from tasks.validating.cost import judge_cost
from tasks.validating.index import measure_index
from tasks.validating.keys import compare_keys
from tasks.validating.latency import measure_latency
from tasks.validating.meaning import compare_meaning
from tasks.validating.neighbours import compare_neighbours
from tasks.validating.quality import judge_quality

LADDER: Sequence[Check] = (
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
REHEARSED: Sequence[Check] = tuple(c for c in LADDER if c is not judge_answers)
