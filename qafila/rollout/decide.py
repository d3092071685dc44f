"""Decide the next move of a rollout after one look. Pure: time is an argument.

Going up needs proof, open hours and, above a weight, a person; coming down needs nothing. A weight
below ``PROVE_FROM`` may be too small to prove anything in reasonable time: it passes on its minimum
exposure without a FAIL, and says that it proved no more. From ``PROVE_FROM`` on, and at 100 % by
the objectives alone, a step passes only on proof; evidence adds up over the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qafila.rollout.plan import Step, StepKind, reasonable_requests
from qafila.workload.model import Rollout
from qafila.workload.timetable import Closed
from qafila.workload.verdict import Judgement, Verdict

MOST_ERRORS_IN_A_ROW = 5


class Action(StrEnum):
    """What to do after a look."""

    HOLD = "hold"
    PASS = "pass"
    ASK = "ask"
    ABORT = "abort"


class Answered(StrEnum):
    """How the question above a weight stands; ``NOT_ASKED`` until it is due."""

    NOT_ASKED = "not asked"
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    LAPSED = "lapsed"


@dataclass(frozen=True)
class Situation:
    """Where the rollout stands in its step: requests, and seconds of a clock that never jumps.

    ``rollout_seconds`` leaves out the time that was only waited for opening hours. ``closed``:
    weights may not rise now.
    """

    step_requests: int
    step_seconds: float
    rollout_seconds: float
    step_canary_requests: int = 0
    errors_in_a_row: int = 0
    answered: Answered = Answered.NOT_ASKED
    closed: Closed | None = None


@dataclass(frozen=True)
class Decision:
    """What to do, and the sentence that says why.

    ``by_timetable``: only the hours stand in the way, so the deadline's clock stands still.
    """

    action: Action
    verdict: Verdict
    sentence: str
    by_timetable: bool = False


def decide(step: Step, situation: Situation, judged: Judgement, rollout: Rollout) -> Decision:
    """Return what to do after one look.

    Order matters: harm first, then blindness, then a person's no, then the clock, then proof, then
    the hours, then a person's yes.
    """
    if judged.verdict is Verdict.FAIL:
        return Decision(Action.ABORT, Verdict.FAIL, judged.sentence)
    if judged.verdict is Verdict.ERROR:
        if situation.errors_in_a_row >= MOST_ERRORS_IN_A_ROW:
            return Decision(
                Action.ABORT,
                Verdict.ERROR,
                f"{situation.errors_in_a_row} looks in a row saw nothing: {judged.sentence}",
            )
        return Decision(Action.HOLD, Verdict.ERROR, judged.sentence)
    if (no := said_no(situation.answered, step)) is not None:
        return no
    missing = _missing(step, situation, judged, rollout)
    only_closed = missing is None and situation.closed is not None and step.weight < 100
    late = situation.rollout_seconds >= rollout.deadline_minutes * 60
    if late and not only_closed:
        return Decision(
            Action.ABORT,
            Verdict.INCONCLUSIVE,
            f"not through after {rollout.deadline_minutes:g} min, at {step.name}: "
            f"{judged.sentence}",
        )
    if missing is not None:
        return Decision(Action.HOLD, Verdict.INCONCLUSIVE, missing)
    proof = judged.sentence if judged.verdict is Verdict.PASS else _exposed(situation)
    if only_closed:
        assert situation.closed is not None
        return Decision(
            Action.HOLD,
            Verdict.INCONCLUSIVE,
            f"holds: {situation.closed.sentence}; {proof}",
            by_timetable=True,
        )
    if step.asks_before_next and situation.answered is not Answered.APPROVED:
        asked = situation.answered is Answered.PENDING
        waiting = f"waits for approval above {step.weight} %; {proof}"
        return Decision(Action.HOLD if asked else Action.ASK, Verdict.INCONCLUSIVE, waiting)
    return Decision(Action.PASS, Verdict.PASS, proof)


def said_no(answered: Answered, step: Step) -> Decision | None:
    """Return the end of a rollout that a person said no to, or that nobody answered in time."""
    if answered is Answered.REJECTED:
        return Decision(Action.ABORT, Verdict.FAIL, f"rejected above {step.weight} %.")
    if answered is Answered.LAPSED:
        return Decision(
            Action.ABORT, Verdict.INCONCLUSIVE, f"nobody answered above {step.weight} % in time."
        )
    return None


def _exposed(situation: Situation) -> str:
    if not situation.step_canary_requests:
        return (
            f"{situation.step_requests} requests, nobody's on the canary: too few users for this "
            "weight; proved nothing."
        )
    return (
        f"{situation.step_requests} requests, {situation.step_canary_requests} on the canary, "
        "without harm; proved nothing more."
    )


def _missing(step: Step, situation: Situation, judged: Judgement, rollout: Rollout) -> str | None:
    """Return what the step still needs before it may pass, if anything."""
    if situation.step_requests < rollout.minimum_requests:
        return (
            f"{situation.step_requests} of at least {rollout.minimum_requests} requests; "
            f"{judged.sentence}"
        )
    if step.weight and not situation.step_canary_requests:
        # Users are sticky: at a small weight perhaps nobody's key is on the canary, ever.
        enough = not step.must_prove and situation.step_requests >= reasonable_requests(rollout)
        if not enough:
            return f"nobody met the canary in {situation.step_requests} requests; {judged.sentence}"
    if step.kind is StepKind.BAKE and situation.step_seconds < rollout.bake_seconds:
        return (
            f"bakes {situation.step_seconds:.0f} of {rollout.bake_seconds:g} s; {judged.sentence}"
        )
    if step.must_prove and judged.verdict is not Verdict.PASS:
        return judged.sentence
    return None
