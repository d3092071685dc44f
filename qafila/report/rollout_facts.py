"""What the page of one rollout is made of: plain data, as the ledger had it at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from qafila.report.canary_chart import Span
from qafila.report.facts import ChainState, EvidenceRow
from qafila.rollout.judge.guardrails import Limits


@dataclass(frozen=True)
class Answer:
    """One person's answer to a question."""

    name: str
    decision: str
    notes: str
    answered_at: datetime


@dataclass(frozen=True)
class Asked:
    """One question to a person, or to several, with every answer to it."""

    id: str
    subject: str
    question: str
    state: str
    decided_by: str | None
    notes: str
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    needed: int = 1
    requested_by: str | None = None
    answers: Sequence[Answer] = ()


@dataclass(frozen=True)
class RolloutFacts:
    """Everything that is known of one rollout.

    ``ended`` is the row that the rollout wrote at its end: None while it runs, and when its process
    died. ``rows`` are the rows that the page rests on, in the chain's order: the validation and the
    drill before it, the answers, its end, the ways back until the next rollout. ``looks`` are as
    stored, in order. ``certificate`` is the one that was valid when it began. ``limits`` are the
    judge's, from the workload file at that revision; ``holds`` are the times that its hours and
    freezes closed.
    """

    rollout: str
    workload: str
    generation: int
    phase: str
    owner: str
    criticality: str
    revision: int
    limits: Limits
    looks: Sequence[Mapping[str, Any]]
    ended: EvidenceRow | None
    rows: Sequence[EvidenceRow]
    approvals: Sequence[Asked]
    certificate: Mapping[str, Any] | None
    costs: Sequence[Mapping[str, Any]]
    holds: Sequence[Span]
    chain: ChainState
    made_at: datetime
    others: Sequence[str] = field(default_factory=tuple)

    @property
    def body(self) -> Mapping[str, Any]:
        """Return what the rollout's own row holds; empty without one."""
        return {} if self.ended is None else self.ended.body

    @property
    def backs(self) -> list[EvidenceRow]:
        """Return the ways back since it began, oldest first."""
        return [row for row in self.rows if row.kind == "rollback"]

    @property
    def began_at(self) -> datetime | None:
        """Return when the judge looked first."""
        return self.looks[0]["looked_at"] if self.looks else None

    def latest(self, kind: str) -> EvidenceRow | None:
        """Return the newest of the rows of one kind."""
        return next((row for row in reversed(self.rows) if row.kind == kind), None)
