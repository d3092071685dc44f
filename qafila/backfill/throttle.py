"""How fast a load may go, from the health of what it reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qafila.workload.corpus import LoadLimits

SLOWEST = 0.05
_RECOVERED = 0.7  # of a limit: below it the load may go faster again


@dataclass(frozen=True)
class Health:
    """One look at a database; None is "not measured", never "fine" and never "bad".

    ``probe_p95_ms`` is of trivial queries, ``replication_lag_seconds`` of the slowest standby.
    """

    name: str
    probe_p95_ms: float | None = None
    active_sessions: int | None = None
    replication_lag_seconds: float | None = None


@dataclass(frozen=True)
class Speed:
    """A share of full speed, and why it is not 1."""

    share: float
    reason: str = ""


def decide_speed(looks: Sequence[Health], limits: LoadLimits, now: Speed) -> Speed:
    """Halve the speed when any limit is passed; raise it by a quarter when all are well below.

    Between the two it stays, so that it does not swing. Slow down at once, recover in steps: the
    classic additive-increase rule turned multiplicative, since a load of hours has time.
    """
    passed, near = [], False
    for look in looks:
        for what, value, limit, unit in (
            ("answers in", look.probe_p95_ms, limits.probe_p95_ms, "ms (p95)"),
            ("has", look.active_sessions, limits.active_sessions, "active sessions"),
            ("lags by", look.replication_lag_seconds, limits.replication_lag_seconds, "s"),
        ):
            if value is None or limit is None:
                continue
            if value > limit:
                passed.append(f"{look.name} {what} {value:.0f} {unit}, limit {limit:.0f}")
            elif value > _RECOVERED * limit:
                near = True
    if passed:
        return Speed(max(SLOWEST, now.share / 2), "; ".join(passed))
    if near or now.share >= 1.0:
        return now if now.share < 1.0 else Speed(1.0)
    share = min(1.0, now.share * 1.25)
    return Speed(share, "recovering" if share < 1.0 else "")
