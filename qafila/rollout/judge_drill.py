"""Judge a rollback drill: how fast users left the side that was drilled, and whether any failed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from qafila.workload.verdict import Judgement, Verdict

ENOUGH_FOR_P99 = 100  # with fewer flips the 99th percentile is the slowest, or nearly


@dataclass(frozen=True)
class Flip:
    """One way to the drill weight and back.

    ``seconds_to_zero`` is from the decision to the moment a client had the answer of the side that
    serves and never the drilled one's again: an upper bound, as fine as the probes are dense. The
    drilled side is the candidate; after a promotion it is the baseline. ``canary_before`` and
    ``canary_after`` count probes that it answered, ``log_after`` user requests on it, by the
    router's log, that started after the router had acknowledged the way back, which was at
    ``settled_at``; the last of them started at ``last_after_at`` (Unix times).
    """

    seconds_to_zero: float
    acknowledged_s: float
    probes: int
    canary_before: int
    canary_after: int
    users: int
    failed: int
    log_after: int
    settled_at: float = 0.0
    last_after_at: float | None = None


@dataclass(frozen=True)
class Times:
    """Percentiles of the flips in milliseconds, by the nearest rank: each is a flip's own time."""

    p50_ms: float
    p99_ms: float
    max_ms: float


def times_of(seconds: Sequence[float]) -> Times:
    """Return the percentiles of at least one time."""
    ranked = sorted(seconds)

    def rank(share: float) -> float:
        value = ranked[math.ceil(share * len(ranked)) - 1]
        return round(value * 1000, 2)

    return Times(rank(0.5), rank(0.99), rank(1.0))


def judged_seconds(seconds: Sequence[float]) -> float:
    """Return what is judged: the 99th percentile of a hundred flips or more, else the slowest."""
    ranked = sorted(seconds)
    if len(ranked) < ENOUGH_FOR_P99:
        return ranked[-1]
    return ranked[math.ceil(0.99 * len(ranked)) - 1]


def judge_flips(
    flips: Sequence[Flip], most_seconds: float, *, least_users: int = 0, slowest_s: float = 0.0
) -> Judgement:
    """Say whether the way back is fast, complete and without a failed request.

    ``slowest_s`` is what the router needs by its nature (a DNS record's time to live): nothing
    faster is asked of it. Fewer user requests than ``least_users`` in all flips: INCONCLUSIVE.
    """
    most = max(most_seconds, slowest_s)
    seconds = [f.seconds_to_zero for f in flips]
    judged = judged_seconds(seconds)
    failed = sum(f.failed for f in flips)
    after = sum(f.canary_after + f.log_after for f in flips)
    users = sum(f.users for f in flips)
    requests = sum(f.probes for f in flips) + users
    many = len(flips) >= ENOUGH_FOR_P99
    numbers: dict[str, object] = {"seconds_to_zero": _finite(judged)}
    if all(math.isfinite(s) for s in seconds):
        times = times_of(seconds)
        numbers |= {"p50_ms": times.p50_ms, "p99_ms": times.p99_ms, "max_ms": times.max_ms}
    numbers |= {
        "acknowledged_s": round(max(f.acknowledged_s for f in flips), 4),
        "requests": requests,
        "user_requests": users,
        "failed_requests": failed,
        "canary_requests_after": after,
        "flips": len(flips),
        "most_seconds": most,
    }
    took = (
        f"{judged * 1000:.0f} ms {'(p99) ' if many else ''}until nobody met the drilled side"
        if math.isfinite(judged)
        else "the drilled side was never left"
    )
    alone = "" if users else ", by probes alone: no user asked meanwhile"
    shown = (
        f"to the drill weight and back {len(flips)} times under load: {took}, "
        f"{failed} of {requests} failed{alone}"
    )
    if after:
        last = max((f for f in flips if f.last_after_at is not None), key=_last_after, default=None)
        when = ""
        if last is not None:
            at = datetime.fromtimestamp(_last_after(last), UTC).isoformat(timespec="milliseconds")
            when = f", the last {_last_after(last) - last.settled_at:.2f} s after it, at {at}"
            numbers["last_canary_request_at"] = at
        return Judgement(
            Verdict.FAIL, f"{shown}; {after} met it after the way back was taken{when}.", numbers
        )
    if not min(f.canary_before for f in flips):
        return Judgement(Verdict.INCONCLUSIVE, f"{shown}; no probe met it before.", numbers)
    if failed or judged > most:
        return Judgement(Verdict.FAIL, f"{shown}; at most {most:g} s and 0.", numbers)
    if users < least_users:
        return Judgement(
            Verdict.INCONCLUSIVE, f"{shown}; {users} of at least {least_users} users.", numbers
        )
    return Judgement(Verdict.PASS, f"{shown}.", numbers)


def _last_after(flip: Flip) -> float:
    return flip.last_after_at or 0.0


def _finite(seconds: float) -> float | None:
    return round(seconds, 4) if math.isfinite(seconds) else None
