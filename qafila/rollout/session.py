"""One rollout in this process: what it holds, what it has seen, and the clocks it goes by.

A ``Trial`` is never resumed: whoever finds a rollout without its process takes everything back, and
the next one starts anew. Durations are of a clock that never jumps; only the timetable asks what
time it is, and it asks the ledger, not this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from qafila import rollout
from qafila.errors import StaleEpoch
from qafila.ledger.approvals import Approval, read_approval
from qafila.ledger.leases import Heart
from qafila.ledger.ledger import Connection, Generation
from qafila.rollout import judge as analysis
from qafila.rollout.decide import Answered, Decision, Situation
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.evidence import State
from qafila.rollout.judge.guardrails import Counts
from qafila.rollout.plan import Step
from qafila.routers.port import Router
from qafila.sql import statement
from qafila.workload.model import Workload
from qafila.workload.timetable import Closed, after_open_time, closed

Tell = Callable[[str], None]
Ask = Callable[["Trial", Step, str], Approval]
_SLICE_S = 0.5  # so that a heart that waits for marks sees them while a look is slept through


@dataclass(frozen=True)
class StepDone:
    """One finished step, as the evidence keeps it."""

    step: str
    weight: int
    verdict: str
    sentence: str
    requests: int


class Aborted(Exception):
    """A step said no; carries the decision. Turned into one of our errors after the way back."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision.sentence)
        self.decision = decision


@dataclass
class Trial:
    """One rollout; ``clock`` is in seconds and only rises, ``ledger_time`` is the time of day.

    ``weighed_at`` is when the router had acknowledged the present weights, ``read_at`` when its log
    was last read, both by ``clock``. ``acknowledged`` is the candidate's weight as the router
    itself reported it at the last look; None when it did not.
    """

    ledger: Connection
    spec: Workload
    generation: Generation
    router: Router
    heart: Heart
    name: str
    requested_by: str | None = None
    clock: Callable[[], float] = time.monotonic
    ledger_time: Callable[[], datetime] | None = None
    state: State = field(default_factory=State)
    seen: Counts = field(default_factory=Counts)
    failed: int = 0  # requests whose user got an error, over all steps
    calibration: Calibration | None = None
    requests_per_s: float = 0.0
    cursor: int = 0
    weighed_at: float = 0.0
    read_at: float = 0.0
    acknowledged: int | None = None
    looks: int = 0
    errors_in_a_row: int = 0
    error_looks: int = 0
    approval_id: str | None = None
    answered: Answered = Answered.NOT_ASKED
    approvals: int = 0  # questions that were approved
    steps: list[StepDone] = field(default_factory=list)
    held_s: float = 0.0
    _held_since: float | None = None

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def limits(self) -> analysis.Limits:
        return rollout.limits_of(self.spec.objectives, self.spec.rollout)

    @property
    def seconds(self) -> float:
        """Return how long the rollout has lasted."""
        return self.clock() - self.started

    @property
    def counted_seconds(self) -> float:
        """Return what of it counts against the deadline: not what was waited for open hours."""
        waiting = 0.0 if self._held_since is None else self.clock() - self._held_since
        return self.seconds - self.held_s - waiting

    def now(self) -> datetime:
        """Return the time of day by the ledger's clock, with its zone."""
        if self.ledger_time is not None:
            return self.ledger_time()
        row = self.ledger.execute(statement("canary", "time_of_day")).fetchone()
        assert row is not None
        moment: datetime = row[0]
        return moment

    def closed(self) -> Closed | None:
        """Return why no weight may rise now; None: it may."""
        rules = self.spec.rollout
        if rules.windows is None and not rules.freezes:
            return None
        return closed(self.now(), rules.windows, rules.freezes)

    def answer_seconds(self) -> float:
        """Return in how many seconds a question asked now lapses: with the deadline.

        Closed hours do not count against the deadline, so that they prolong the question.
        """
        rules = self.spec.rollout
        left = max(5.0, rules.deadline_minutes * 60 - self.counted_seconds)
        if rules.windows is None and not rules.freezes:
            return left
        now = self.now()
        return (after_open_time(now, left, rules.windows, rules.freezes) - now).total_seconds()

    def note(self, decision: Decision) -> None:
        """Let the deadline's clock stand still while only the hours stand in the way."""
        now = self.clock()
        if self._held_since is not None:
            self.held_s += now - self._held_since
        self._held_since = now if decision.by_timetable else None

    def forget_question(self) -> None:
        """Start a step with no question asked; an answer belongs to one weight."""
        self.approval_id, self.answered = None, Answered.NOT_ASKED

    def keep(self, approval: Approval) -> None:
        """Take the state of a question that was asked."""
        if self.answered is not Answered.APPROVED and approval.state == "approved":
            self.approvals += 1
        self.approval_id, self.answered = approval.id, Answered(approval.state)

    def read_answer(self) -> None:
        """Read the answer to a question that is open, if there is one."""
        if self.approval_id is not None and self.answered is Answered.PENDING:
            self.keep(read_approval(self.ledger, self.approval_id))

    def situation(self, so_far: Counts, step_seconds: float) -> Situation:
        """Return where the rollout stands, for a decision."""
        return Situation(
            step_requests=so_far.requests,
            step_seconds=step_seconds,
            rollout_seconds=self.counted_seconds,
            step_canary_requests=so_far.candidate.requests,
            errors_in_a_row=self.errors_in_a_row,
            answered=self.answered,
            closed=self.closed(),
        )

    def pause(self, seconds: float) -> None:
        """Wait, showing the heart that looks go on.

        Raises:
            StaleEpoch: the lease was lost.
        """
        left = seconds
        while True:
            self.heart.mark()
            if self.heart.lost.wait(min(left, _SLICE_S)):
                raise StaleEpoch(
                    f"the lease of {self.spec.name} (epoch {self.heart.epoch}) was lost.",
                    kept="the baseline; whoever took the lease decides.",
                    remedy=f"qafila status {self.spec.name}",
                )
            left -= _SLICE_S
            if left <= 0:
                return
