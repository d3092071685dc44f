"""A rollout on a router in memory, with a clock that the test moves: no second is waited for.

Users ask while the controller waits: each pause of the clock plays the requests of that time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from qafila.ledger import approvals
from qafila.ledger.approvals import Approval, Question
from qafila.ledger.approvers import approvers_needed
from qafila.ledger.ledger import Generation
from qafila.rollout import steps as canary
from qafila.rollout.plan import Step, plan_steps
from qafila.rollout.session import Trial
from qafila.routers.memory import MemoryRouter
from qafila.workload.model import Rollout, Workload


class Lost:
    """The heart's event, whose wait moves the clock; ``set`` when somebody takes the lease."""

    def __init__(self, world: World) -> None:
        self._world, self._flag = world, threading.Event()

    def wait(self, seconds: float) -> bool:
        self._world.go_on(seconds)
        return self._flag.is_set()

    def set(self) -> None:
        self._flag.set()

    def is_set(self) -> bool:
        return self._flag.is_set()


@dataclass
class Heart:
    epoch: int
    lost: Lost
    marks: int = 0

    def mark(self) -> None:
        self.marks += 1


@dataclass
class World:
    """Time, traffic and what the candidate does; ``at`` runs something once at a look's line."""

    router: MemoryRouter = field(default_factory=MemoryRouter)
    rate: float = 400.0
    seconds: float = 0.0
    day: datetime = datetime(2026, 11, 25, 9, tzinfo=UTC)  # a Wednesday
    slow_ms: float = 0.0
    empty: bool = False
    bad_tenant: str | None = None  # one user in forty, for whom the candidate finds nothing
    lines: list[str] = field(default_factory=list)
    at: dict[str, Callable[[], object]] = field(default_factory=dict)
    answer: str | None = "approve"
    people: tuple[str, ...] = ("Badr", "Chaima")
    sent: int = 0
    written: list[tuple[datetime, int]] = field(default_factory=list)
    _due: float = 0.0

    def __post_init__(self) -> None:
        write = self.router.write

        def noted(percent: int, **more: Any) -> str:
            self.written.append((self.time_of_day(), percent))
            return write(percent, **more)

        self.router.write = noted  # type: ignore[method-assign]

    def clock(self) -> float:
        return self.seconds

    def time_of_day(self) -> datetime:
        return self.day + timedelta(seconds=self.seconds)

    def go_on(self, seconds: float) -> None:
        self.seconds += seconds
        self._due += seconds * self.rate
        while self._due >= 1:
            self._due -= 1
            self.sent += 1
            key = f"t{self.sent * 7919 % 5000}"
            if self.bad_tenant is not None and self.sent % 40 == 0:
                key = self.bad_tenant
            trial = self.router.arm_of(key) == "candidate"
            self.router.send(
                key,
                latency_ms=10.0 + self.sent % 7 + (self.slow_ms if trial else 0.0),
                results=0 if trial and (self.empty or key == self.bad_tenant) else 3,
            )

    def tell(self, line: str) -> None:
        self.lines.append(line)
        for name in [n for n in self.at if n in line]:
            self.at.pop(name)()

    def ask(self, trial: Trial, step: Step, evidence: str) -> Approval:
        asked = approvals.ask(
            trial.ledger,
            Question(
                f"{trial.name}-{step.weight}",
                trial.spec.name,
                1,
                f"above {step.weight} %",
                evidence,
                trial.answer_seconds(),
                needed=approvers_needed(trial.spec.criticality),
                requested_by=trial.requested_by,
            ),
        )
        if "asked" in self.at:
            self.at.pop("asked")()
        if self.answer is None:
            return asked
        return approvals.answer(trial.ledger, asked.id, self.answer, by=self.people[0])  # type: ignore[arg-type]


def trial_in(
    world: World, ledger: psycopg.Connection, spec: Workload, generation: Generation
) -> Trial:
    """Return a rollout of a generation, with the world's clock and router."""
    heart = Heart(1, Lost(world))
    return Trial(
        ledger,
        spec,
        generation,
        world.router,
        heart,
        "r1",  # type: ignore[arg-type]
        clock=world.clock,
        ledger_time=world.time_of_day,
    )


def go_up(trial: Trial, world: World, *, look_seconds: float = 1.0) -> None:
    """Run the whole rollout except the cut-over, which needs a target."""
    first, *steps = plan_steps(trial.spec.rollout)
    canary.bake_aa(trial, first, 8.0, look_seconds, world.tell, world.ask)
    for step in steps:
        canary.judge_step(trial, step, look_seconds, world.tell, world.ask)


def rules(**changes: object) -> Rollout:
    """Return a quick rollout's rules."""
    return Rollout.model_validate(
        {
            "weights": [5, 25, 50, 100],
            "approve_above": 25,
            "minimum_requests": 200,
            "bake_seconds": 5,
            "deadline_minutes": 30,
            "shadow_percent": 0,
            **changes,
        }
    )
