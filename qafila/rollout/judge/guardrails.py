"""What makes an answer bad, what the judge holds a canary to, and the counts by arm.

A guardrail is a question about one answer that is said yes or no to. Three are always watched. The
others are what a service says against its own answer; they are counted when it does, and judged
when the workload has an objective for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

BASELINE, CANDIDATE = "baseline", "candidate"


class Guardrail(StrEnum):
    """What makes an answer bad. Each is judged by itself; promotion looks at any of them."""

    ERRORS = "errors"
    LATENCY = "latency"
    EMPTY = "empty"
    UNGROUNDED = "ungrounded"  # says what its sources do not
    OVER_BUDGET = "over_budget"  # took more tokens than an answer may
    FLAGGED = "flagged"  # a guardrail of the service's own was hit


ALWAYS = (Guardrail.ERRORS, Guardrail.LATENCY, Guardrail.EMPTY)
DECLARED = (Guardrail.UNGROUNDED, Guardrail.OVER_BUDGET, Guardrail.FLAGGED)
TENANT = "tenant"  # the e-value "one tenant alone gets wrong answers"


class Answer(Protocol):
    """One finished request, as a router's port tells it."""

    @property
    def arm(self) -> str: ...
    @property
    def status(self) -> int: ...
    @property
    def latency_ms(self) -> float: ...
    @property
    def attempts(self) -> int: ...
    @property
    def results(self) -> int | None: ...
    @property
    def tenant(self) -> str | None: ...
    @property
    def flags(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class Limits:
    """What the judge holds a canary to.

    ``alpha`` bounds a false abort, beside the baseline and anew where all traffic is the canary's;
    it is shared by the guardrails that are watched and by the search for one tenant who fares
    badly. ``beta`` bounds a false promotion at ``harm_ratio`` times the baseline's bad rate.
    ``at_most`` is the share of answers that may be bad in a way that the service declares; a
    guardrail without one is not watched.
    """

    harm_ratio: float = 2.0
    error_rate: float = 0.001
    latency_ratio: float = 1.25
    blast_radius: int = 100
    alpha: float = 0.01
    beta: float = 0.05
    at_most: Mapping[Guardrail, float] = field(default_factory=dict)

    @property
    def guardrails(self) -> tuple[Guardrail, ...]:
        """Return what is watched: errors, latency and empty answers, and what has an objective."""
        return (*ALWAYS, *(g for g in DECLARED if g in self.at_most))

    @property
    def abort_at(self) -> float:
        return (len(self.guardrails) + 1) / self.alpha

    @property
    def promote_at(self) -> float:
        return 1 / self.beta


@dataclass(frozen=True)
class ArmCounts:
    """Requests of one arm, and how many were bad in which way; ``bad`` counts each once.

    What the service declared is counted also where nobody watches it; then it is not ``bad``.
    """

    requests: int = 0
    errors: int = 0
    latency: int = 0
    empty: int = 0
    bad: int = 0
    ungrounded: int = 0
    over_budget: int = 0
    flagged: int = 0

    def __add__(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            self.requests + other.requests,
            self.errors + other.errors,
            self.latency + other.latency,
            self.empty + other.empty,
            self.bad + other.bad,
            self.ungrounded + other.ungrounded,
            self.over_budget + other.over_budget,
            self.flagged + other.flagged,
        )

    def of(self, guardrail: Guardrail) -> int:
        """Return the answers that were bad in one way."""
        count: int = getattr(self, guardrail.value)
        return count

    def wrong(self, guardrails: Sequence[Guardrail]) -> int:
        """Return the answers that were worth nothing to a user: all that was bad but slowness.

        One that was wrong in two declared ways counts twice, within the number that were ``bad``:
        twice the same answer is not twice the evidence. ``guardrails`` are those of ``bad``.
        """
        ways = (self.of(g) for g in guardrails if g is not Guardrail.LATENCY)
        return min(self.bad, sum(ways))


def of(stored: Mapping[str, Any], guardrail: Guardrail) -> int:
    """Return the answers that were bad in one way, of an arm's counts as a look was stored.

    0 where an older look has no such key.
    """
    return int(stored.get(guardrail.value, 0))


ByTenant = Mapping[str, ArmCounts]


@dataclass(frozen=True)
class Counts:
    """One look, or all of them so far.

    ``of_baseline`` and ``of_candidate`` tell the same requests apart by the tenant's digest, as far
    as the router names one; they are for the judge and are neither added up nor stored.
    """

    baseline: ArmCounts = ArmCounts()
    candidate: ArmCounts = ArmCounts()
    of_baseline: ByTenant = field(default_factory=dict, compare=False, repr=False)
    of_candidate: ByTenant = field(default_factory=dict, compare=False, repr=False)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.baseline + other.baseline, self.candidate + other.candidate)

    @property
    def requests(self) -> int:
        return self.baseline.requests + self.candidate.requests

    @property
    def share(self) -> float | None:
        """Return the candidate's share of the requests; None without a request."""
        return self.candidate.requests / self.requests if self.requests else None

    def stored(self) -> dict[str, dict[str, int]]:
        """Return what a look keeps of it: an object an arm, with a key a guardrail."""
        return {BASELINE: asdict(self.baseline), CANDIDATE: asdict(self.candidate)}


def count(
    answers: Iterable[Answer],
    slow_ms: float,
    *,
    trial: str = CANDIDATE,
    guardrails: Sequence[Guardrail] = ALWAYS,
) -> Counts:
    """Count answers by arm and tenant: ``trial`` is on trial, anything else is the baseline.

    ``guardrails`` are what is watched (``Limits.guardrails``): only these make an answer ``bad``.
    """
    tallies: tuple[dict[str | None, list[int]], ...] = ({}, {})
    for answer in answers:
        error = answer.status >= 500 or answer.status == 0 or answer.attempts > 1
        happened = {
            Guardrail.ERRORS: error,
            Guardrail.LATENCY: answer.latency_ms > slow_ms,
            Guardrail.EMPTY: not error and answer.results == 0,
            **{g: g.value in answer.flags for g in DECLARED},
        }
        arm = tallies[answer.arm == trial]
        tally = arm.setdefault(answer.tenant, [0] * 8)
        bad = any(happened[g] for g in guardrails)
        for place, one in enumerate(
            (True, *(happened[g] for g in ALWAYS), bad, *(happened[g] for g in DECLARED))
        ):
            tally[place] += one
    arms = [{tenant: ArmCounts(*tally) for tenant, tally in arm.items()} for arm in tallies]
    whole = [sum(arm.values(), ArmCounts()) for arm in arms]
    named = [{t: counts for t, counts in arm.items() if t is not None} for arm in arms]
    return Counts(whole[0], whole[1], named[0], named[1])
