"""What can be wrong with the demo's candidate, and how the judge is to find it out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class BadCandidate(StrEnum):
    """One way in which a candidate goes bad on purpose."""

    ERRORS = "errors"
    SLOW = "slow"
    EMPTY = "empty"
    ONE_TENANT = "one-tenant"
    KILLED = "killed"


@dataclass(frozen=True)
class Going:
    """How a candidate goes bad: from which weight (percent), with which faults, seen as what.

    ``faults`` is what ``POST /_demo/break`` takes; None: its process is killed instead.
    ``reason`` is how the verdict on the rollout is to begin. ``told`` is what the screen says.
    """

    at: int
    faults: Mapping[str, float] | None
    reason: str
    told: str


GOING = {
    BadCandidate.ERRORS: Going(25, {"errors": 0.3}, "errors", "30% of its answers are errors"),
    BadCandidate.SLOW: Going(25, {"slow_ms": 300}, "latency", "300 ms slower"),
    BadCandidate.EMPTY: Going(25, {"empty": 0.7}, "empty", "70% of its answers are fast and empty"),
    BadCandidate.ONE_TENANT: Going(25, {"empty": 1.0}, "tenant", "empty answers, only for"),
    BadCandidate.KILLED: Going(25, None, "errors", "its process is killed (kill -9 {pid})"),
}


TENANT_SHARES = 0.006, 0.02  # of all requests: of the one who is to be met, at least and at most


def tenant_on_candidate(log: Iterable[str], since: float) -> str | None:
    """Return a tenant whom the candidate answers, of a users' log; None when there is none yet.

    Of those whom it answered after ``since`` (Unix seconds; older requests were under another
    weight) and whose share of the whole log is within ``TENANT_SHARES`` the one with fewest
    answers of the candidate, and of these the one who sends most. Good answers before count for
    the candidate, and many before the canary say how that tenant fared without it: so it is likely
    to be proven before the candidate's answers as a whole are. Who sends less asks too seldom for
    any proof before the rollout is over, and who sends more is seen in the whole.
    """
    sent: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    present: set[str] = set()
    for line in log:
        row = json.loads(line)
        sent[row["tenant"]] += 1
        if row["served"] == "candidate":
            answered[row["tenant"]] += 1
            if row["t"] >= since:
                present.add(row["tenant"])
    least, most = (share * sent.total() for share in TENANT_SHARES)
    fit = [tenant for tenant in sorted(present) if least <= sent[tenant] <= most]
    return min(fit, key=lambda tenant: (answered[tenant], -sent[tenant]), default=None)


def reason_of(sentence: str | None) -> str | None:
    """Return what a verdict's sentence begins with, the workload's name left out.

    >>> reason_of("docs g2: errors: canary 9 of 30, baseline 0 of 90 (E = 400 ≥ 300).")
    'errors'
    """
    if sentence is None:
        return None
    _, _, said = sentence.partition(": ")
    return said.split(maxsplit=1)[0].rstrip(":") if said else None
