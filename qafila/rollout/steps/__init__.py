"""The steps of a canary: the A/A bake, copies, weights, the cut-over, the way back.

``trial`` is one rollout in this process; ``looking`` is one look; ``baking``, ``shadowing`` and
``stepping`` are the steps; ``ending`` is how it ends.
"""

from qafila.rollout.session import Aborted, Ask, StepDone, Tell, Trial
from qafila.rollout.steps.aa_test import bake_aa
from qafila.rollout.steps.end import (
    cut_over,
    error_of,
    go_back,
    judge_way_back,
    looks_of,
    reason_of,
)
from qafila.rollout.steps.shadow import bake_shadow, judged_queries
from qafila.rollout.steps.weight import judge_step, leave_the_ground

__all__ = [
    "Aborted",
    "Ask",
    "StepDone",
    "Tell",
    "Trial",
    "bake_aa",
    "bake_shadow",
    "cut_over",
    "error_of",
    "go_back",
    "judge_step",
    "judge_way_back",
    "judged_queries",
    "leave_the_ground",
    "looks_of",
    "reason_of",
]
