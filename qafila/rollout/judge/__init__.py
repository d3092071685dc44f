"""Judge a canary by an exact sequential test on counts of bad answers.

``guardrails`` says what a bad answer is and counts them; ``calibration`` learns from an A/A bake,
and ``tenants`` what it says of single users; ``evidence`` adds look after look to a ``State`` and
``judging`` gives the verdict, and by ``naming`` says for whom; ``objectives`` is what is allowed
without a baseline; ``planning`` says what a proof takes; ``quality`` judges shadow queries;
``e_values`` is the arithmetic.
"""

from qafila.rollout.judge.calibration import Calibration, calibrate
from qafila.rollout.judge.evidence import State, e_values, update
from qafila.rollout.judge.guardrails import (
    ALWAYS,
    DECLARED,
    Answer,
    ArmCounts,
    Counts,
    Guardrail,
    Limits,
    count,
    of,
)
from qafila.rollout.judge.judgement import judge, judge_alone
from qafila.rollout.judge.objectives import SLOW_SHARE, allowed, tolerated
from qafila.rollout.judge.quality import Shadow
from qafila.rollout.judge.sample_plan import Proof, hours_to_prove, plan_proof, requests_to_prove

__all__ = [
    "ALWAYS",
    "DECLARED",
    "SLOW_SHARE",
    "Answer",
    "ArmCounts",
    "Calibration",
    "Counts",
    "Guardrail",
    "Limits",
    "Proof",
    "Shadow",
    "State",
    "allowed",
    "calibrate",
    "count",
    "e_values",
    "hours_to_prove",
    "judge",
    "judge_alone",
    "of",
    "plan_proof",
    "requests_to_prove",
    "tolerated",
    "update",
]
