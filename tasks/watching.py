"""Watch the leases: when a holder of weights dies, the baseline gets all traffic back.

The ledger decides, not the state of any run: a process that was killed cannot say so.
"""

from __future__ import annotations

from collections.abc import Callable

from qafila.core.phases import Event
from qafila.errors import QafilaError
from tasks.leases import LeaseRow, lapsed_leases, release_lease
from tasks.ledger import Connection
from tasks.rolling_back import RolledBack, roll_back

Tell = Callable[[str], None]


def take_back_lapsed(ledger: Connection, tell: Tell) -> list[RolledBack]:
    """Roll back every workload whose lease lapsed; say one line for each.

    A failure for one workload is told and does not keep the others waiting.
    """
    done = []
    for lease in lapsed_leases(ledger):
        try:
            done.append(_take_back(ledger, lease, tell))
        except QafilaError as error:
            tell(f"{lease.workload}: {error.what}")
    return done


def _take_back(ledger: Connection, lease: LeaseRow, tell: Tell) -> RolledBack:
    silence = f"{lease.age_seconds:.1f} s" if lease.age_seconds is not None else "some time"
    why = f"lease lapsed: {lease.holder} (epoch {lease.epoch}) gave no sign of life for {silence}"
    tell(f"{lease.workload}: {why}")
    outcome = roll_back(ledger, lease.workload, why, holder="watchdog", event=Event.ABORT)
    release_lease(ledger, lease.workload, lease.epoch)
    tell(f"{lease.workload}: {outcome.verdict}: {outcome.sentence}")
    return outcome
