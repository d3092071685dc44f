"""The ladder: what climbs each rung, from the lowest."""

from __future__ import annotations

from collections.abc import Sequence

from qafila.validation.checks.access import measure_access
from qafila.validation.checks.answers import judge_answers
from qafila.validation.checks.change import measure_change
from qafila.validation.checks.content import compare_content
from qafila.validation.checks.cost import judge_cost
from qafila.validation.checks.index import measure_index
from qafila.validation.checks.keys import compare_keys
from qafila.validation.checks.latency import measure_latency
from qafila.validation.checks.meaning import compare_meaning
from qafila.validation.checks.neighbours import compare_neighbours
from qafila.validation.checks.quality import judge_quality
from qafila.validation.suite import Check

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
