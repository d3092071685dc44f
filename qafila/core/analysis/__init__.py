"""Judge a canary by an exact sequential test on counts of bad answers.

``guardrails`` says what a bad answer is and counts them; ``calibration`` learns from an A/A bake;
``judging`` adds look after look to a ``State`` and gives the verdict; ``planning`` says what a
proof takes; ``quality`` judges shadow queries; ``e_values`` is the arithmetic.
"""

from qafila.core.analysis.calibration import Calibration, calibrate
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
from qafila.core.analysis.judging import (
    FINE_GRID,
    HARM_GRID,
    SKEW_MARGIN,
    SLOW_LOOKS,
    SLOW_SHARE,
    State,
    allowed,
    e_values,
    judge,
    judge_alone,
    tolerated,
    update,
)
from qafila.core.analysis.planning import requests_to_prove
from qafila.core.analysis.quality import Shadow

__all__ = [
    "ALWAYS",
    "DECLARED",
    "FINE_GRID",
    "HARM_GRID",
    "SKEW_MARGIN",
    "SLOW_LOOKS",
    "SLOW_SHARE",
    "Answer",
    "ArmCounts",
    "Calibration",
    "Counts",
    "Guardrail",
    "Limits",
    "Shadow",
    "State",
    "allowed",
    "calibrate",
    "count",
    "e_values",
    "judge",
    "judge_alone",
    "of",
    "requests_to_prove",
    "tolerated",
    "update",
]
