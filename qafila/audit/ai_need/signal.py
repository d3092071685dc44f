"""A question with its answer, and a candidate: what all its answers say together.

A score is the weighted share of the signals that speak for a need, among those that were
answered. Below 80 % answered it is withheld, and says what to ask whom: a number made of gaps
would be read as a finding.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from qafila.audit.ai_need.demand import Takes

LEAST_COVERAGE = 0.8
HORIZON_MONTHS = 12


class Need(StrEnum):
    """What a model would do. Among equally well founded ones the later in this list counts."""

    NONE = "none"
    CLASSIFICATION = "classification"
    SEARCH = "search"
    GENERATION = "generation"
    ASSISTANT = "assistant"


_ORDER = tuple(Need)


@dataclass(frozen=True)
class Signal:
    """One question. ``found`` None: nobody answered it; then ``ask`` says whom to ask.

    ``speaks_for``: the need that a yes points to, if it points to one. ``within_months``: when a
    yes becomes true; 0: today; None: it does not say.
    """

    name: str
    weight: int
    found: bool | None
    evidence: str
    ask: str = ""
    speaks_for: Need | None = None
    within_months: int | None = None


@dataclass(frozen=True)
class Candidate:
    """One workload or group of resources, and how much speaks for a need of AI.

    No figure depends on the order of the signals.
    """

    subject: str
    owner: str
    signals: tuple[Signal, ...]
    takes: Takes | None = None

    @property
    def coverage(self) -> float:
        """Return the weighted share of the questions that were answered."""
        total = sum(s.weight for s in self.signals)
        return sum(s.weight for s in self.signals if s.found is not None) / total if total else 0.0

    @property
    def score(self) -> float | None:
        """Return the weighted share of answered signals that are true; None when withheld."""
        answered = sum(s.weight for s in self.signals if s.found is not None)
        if not answered or self.coverage < LEAST_COVERAGE:
            return None
        return sum(s.weight for s in self.signals if s.found) / answered

    @property
    def points_to(self) -> Need:
        """Return the need that most of what was found points to, whether enough was answered."""
        weights: Counter[Need] = Counter()
        for signal in self.signals:
            if signal.found and signal.speaks_for is not None:
                weights[signal.speaks_for] += signal.weight
        return max(weights, key=lambda n: (weights[n], _ORDER.index(n)), default=Need.NONE)

    @property
    def need(self) -> Need | None:
        """Return the need; None when the score is withheld, since a gap is not a "none"."""
        return None if self.score is None else self.points_to

    @property
    def horizon_months(self) -> int | None:
        """Return in how many months it is needed; 0: it is in use. None: withheld, or not said."""
        if self.need in (None, Need.NONE):
            return None
        said = [s.within_months for s in self.signals if s.found and s.within_months is not None]
        return min(said, default=None)

    @property
    def questions(self) -> tuple[str, ...]:
        """Return what to ask whom, for what nobody answered."""
        return tuple(f"{self.owner}: {s.ask}" for s in self.signals if s.found is None)

    def as_row(self) -> dict[str, Any]:
        """Return everything JSON-able: what evidence and report show."""
        score = self.score
        return {
            "subject": self.subject,
            "owner": self.owner,
            "need": None if self.need is None else self.need.value,
            "points_to": self.points_to.value,
            "horizon_months": self.horizon_months,
            "score": None if score is None else round(score, 4),
            "coverage": round(self.coverage, 4),
            "ask": list(self.questions),
            "signals": [
                {"name": s.name, "found": s.found, "evidence": s.evidence} for s in self.signals
            ],
            "takes": None if self.takes is None else self.takes.as_row(),
        }
