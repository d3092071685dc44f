"""What a report is made of: plain data, as the ledger had it at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qafila.report.rollout_facts import RolloutFacts


@dataclass(frozen=True)
class EvidenceRow:
    """One row of the chain. ``generation`` is None when the row is about the workload alone."""

    number: int
    recorded_at: datetime
    kind: str
    generation: int | None
    verdict: str | None
    sentence: str
    digest: str
    body: Mapping[str, Any]

    @property
    def holds(self) -> bool:
        """Tell whether a migration may go on from here: PASS, or a person overrode it."""
        return self.verdict == "PASS" or bool((self.body.get("override") or {}).get("by"))


@dataclass(frozen=True)
class ApprovalRow:
    """One question to a person with its answer, if there is one."""

    subject: str
    question: str
    state: str
    decided_by: str | None
    notes: str
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True)
class ChainState:
    """The whole ledger's chain: its rows, what is wrong with it, and its last digest."""

    rows: int
    problems: tuple[str, ...]
    head_number: int
    head_digest: str

    @property
    def intact(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Facts:
    """Everything the report of one generation says.

    ``spec`` is the workload file as it was meant when the generation was opened; ``evidence`` is
    in the chain's order, ``left_off`` older rows are not in it. ``rollout`` is the newest of this
    generation; None when there was none.
    """

    workload: str
    spec: Mapping[str, Any]
    revision: int
    generation: int
    fingerprint: str
    phase: str
    phase_since: datetime
    next_step: str | None
    generations: tuple[tuple[int, str], ...]
    evidence: tuple[EvidenceRow, ...]
    left_off: int
    approvals: tuple[ApprovalRow, ...]
    certificates: tuple[Mapping[str, Any], ...]
    outcomes: tuple[Mapping[str, Any], ...]
    rollout: RolloutFacts | None
    chain: ChainState
    made_at: datetime

    def latest(self, kind: str) -> EvidenceRow | None:
        """Return the newest row of one kind; one about this generation before any other."""
        rows = [row for row in self.evidence if row.kind == kind]
        own = [row for row in rows if row.generation == self.generation]
        found = own or rows
        return found[-1] if found else None

    def body(self, kind: str) -> Mapping[str, Any]:
        """Return what the newest row of one kind measured; empty when there is none."""
        row = self.latest(kind)
        return {} if row is None else row.body
