"""What every router can do: a weight is what it acknowledges and the traffic shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    mirror_percent: int = 0


@dataclass(frozen=True)
class Abilities:
    """What a router can do beyond moving weights, and what it cannot show.

    ``requests``: ``observed`` shows single user requests. ``twin``: the baseline has a second name
    for an A/A bake. ``mirror``: copies of user requests can go to the candidate, whose answers
    nobody sees. ``slowest_s``: a weight that was acknowledged holds for every client after that
    many seconds (a DNS record's time to live); 0 where each new request meets it. ``blind``: one
    sentence for each thing that it cannot show, for evidence and screens.
    """

    requests: bool = True
    twin: bool = True
    mirror: bool = True
    slowest_s: float = 0.0
    blind: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One finished user request as the router logged it.

    ``arm`` is where the route's weights sent it, also when a retry was answered by the other arm.
    ``started_at`` is Unix time in seconds; ``latency_ms`` is the router's whole duration.
    ``results`` is what the service said in ``x-qafila-results``; None when it did not say.
    ``tenant`` is a digest of the sticky key: users are told apart, never named. ``flags`` is what
    the service said against its own answer in ``x-qafila-bad``, a list with commas of
    ``ungrounded``, ``over_budget`` and ``flagged`` (a guardrail of its own was hit).
    """

    started_at: float
    arm: str  # "baseline", "candidate", or in an A/A bake "twin": the baseline once more
    status: int
    latency_ms: float
    attempts: int
    results: int | None
    tenant: str | None = None
    flags: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Shadowed:
    """What the candidate did with copies of user requests; nobody waited for its answers.

    Of ``requests`` that came to an end, ``errors`` were answered 5xx or met a dead candidate, and
    ``unanswered`` had no answer in time (or a 504). ``left_out`` copies were not sent: too many
    were open. ``open`` ones wait for an answer now.
    """

    requests: int
    errors: int
    unanswered: int
    left_out: int = 0
    open: int = 0


class Router(Protocol):
    """A router that splits traffic between a baseline and a candidate."""

    @property
    def name(self) -> str: ...

    @property
    def abilities(self) -> Abilities: ...

    @property
    def listen_url(self) -> str:
        """Where users reach the service through this router."""

    def close(self) -> None:
        """Give up connections; harmless when there are none."""

    def software_version(self) -> str | None:
        """Return the version of what routes, for a certificate; None when it does not answer."""

    def read(self) -> RouterState:
        """Return the weights as configured now.

        Raises:
            Unavailable: nothing is configured, or it cannot be read.
        """

    def write(
        self,
        candidate_percent: int,
        *,
        epoch: int,
        why: str,
        twin_percent: int = 0,
        mirror_percent: int = 0,
    ) -> str:
        """Set the weights; return the version to wait for.

        ``mirror_percent`` of the user requests that may be asked twice are also sent to the
        candidate, whose answer is thrown away.

        Raises:
            BadInput: a weight outside 0 … 100, or both arms of a trial at once.
            StaleEpoch: a newer epoch has written already.
        """

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        """Wait until the router itself reports ``version``; return the seconds it took.

        Raises:
            Unavailable: it did not within the time.
        """

    def reported(self) -> RouterState | None:
        """Return what the router itself works with now; None when it does not say.

        ``read`` is what was written, this is what was taken. Where the two differ, or the ledger
        says a third thing, somebody else moved weights or the router refused them. None also where
        it reports a version that Qafila did not write.

        Raises:
            Disagreement: the members of a fleet work with different weights.
        """

    def shadowed(self) -> Shadowed | None:
        """Return what the candidate did with the copies since the last write.

        None: that write asked for no copies, or the router cannot make or count them.
        """

    def probe_headers(self, arm: str) -> Mapping[str, str]:
        """Return the headers that send a request of Qafila's own to ``arm`` while copies are made.

        Empty for a router that knows no such rule: there no request chooses its arm.
        """

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        """Return requests that finished after ``cursor`` and the next cursor; None: from now.

        A cursor is opaque: callers only pass it back to the same router.
        """
