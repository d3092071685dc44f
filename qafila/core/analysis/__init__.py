"""Judge a canary by an exact sequential test on counts of bad answers.

``guardrails`` says what a bad answer is and counts them; ``calibration`` learns from an A/A bake,
and ``tenants`` what it says of single users; ``evidence`` adds look after look to a ``State`` and
``judging`` gives the verdict, and by ``naming`` says for whom; ``objectives`` is what is allowed
without a baseline; ``planning`` says what a proof takes; ``quality`` judges shadow queries;
``e_values`` is the arithmetic.
"""

from qafila.core.analysis.calibration import Calibration, calibrate
from qafila.core.analysis.evidence import State, e_values, update
from qafila.core.analysis.guardrails import (
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
from qafila.core.analysis.judging import judge, judge_alone
from qafila.core.analysis.objectives import SLOW_SHARE, allowed, tolerated
from qafila.core.analysis.planning import Proof, hours_to_prove, plan_proof, requests_to_prove
from qafila.core.analysis.quality import Shadow

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
