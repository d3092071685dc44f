"""A rollout as data: its steps, what proof would take, and the next move after a look."""

from qafila.rollout.decide import (
    MOST_ERRORS_IN_A_ROW,
    Action,
    Answered,
    Decision,
    Situation,
    decide,
    said_no,
)
from qafila.rollout.plan import (
    PROVE_FROM,
    Forecast,
    Step,
    StepKind,
    describe_plan,
    forecast,
    has_shadow,
    hours,
    limits_of,
    plan_steps,
    reasonable_requests,
    too_slow,
)

__all__ = [
    "MOST_ERRORS_IN_A_ROW",
    "PROVE_FROM",
    "Action",
    "Answered",
    "Decision",
    "Forecast",
    "Situation",
    "Step",
    "StepKind",
    "decide",
    "describe_plan",
    "forecast",
    "has_shadow",
    "hours",
    "limits_of",
    "plan_steps",
    "reasonable_requests",
    "said_no",
    "too_slow",
]
