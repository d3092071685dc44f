"""What every router can do: a weight is what it acknowledges and the traffic shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class RouterState:
    """Weights as the router's own configuration has them; both percents are 0 … 100.

    ``twin_percent`` is the share of the baseline's second name, used only in an A/A bake.
    """

    candidate_percent: int
    epoch: int
    version: str
    twin_percent: int = 0


@dataclass(frozen=True)
class Request:
    """One finished user request as the router logged it.

    ``arm`` is where the route's weights sent it, also when a retry was answered by the other arm.
    ``started_at`` is Unix time in seconds; ``latency_ms`` is the router's whole duration.
    ``results`` is what the service said in ``x-qafila-results``; None when it did not say.
    """

    started_at: float
    arm: str  # "baseline", "candidate", or in an A/A bake "twin": the baseline once more
    status: int
    latency_ms: float
    attempts: int
    results: int | None


class Router(Protocol):
    """A router that splits traffic between a baseline and a candidate."""

    @property
    def name(self) -> str: ...

    def read(self) -> RouterState:
        """Return the weights as configured now.

        Raises:
            Unavailable: nothing is configured, or it cannot be read.
        """

    def write(self, candidate_percent: int, *, epoch: int, why: str, twin_percent: int = 0) -> str:
        """Set the weights; return the version to wait for.

        Raises:
            BadInput: a weight outside 0 … 100, or both arms of a trial at once.
            StaleEpoch: a newer epoch has written already.
        """

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait until the router itself reports ``version``; return the seconds it took.

        Raises:
            Unavailable: it did not within the time.
        """

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return requests that finished after ``cursor`` and the next cursor; None: from now."""
