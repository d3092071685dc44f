"""What an audit saw and could not see: resources, edges, and how far each collector came."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from qafila.workload.verdict import Judgement, Verdict


class Outcome(StrEnum):
    """How far one collector came. Only ``complete`` allows the word "all"."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    THROTTLED = "throttled"
    DENIED = "denied"


_SEVERITY = tuple(Outcome)
_NAMED = 6  # of each outcome in the sentence; the table of collectors has all

_DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "AuthFailure",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "InvalidAccessKeyId",
        "RequestTimeTooSkewed",
        "InvalidSignatureException",
        "TokenRefreshRequired",
        "OptInRequired",
        "AllAccessDisabled",
        "NotAuthorized",
        "AuthorizationError",
        "Forbidden",
    }
)
_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "EC2ThrottledException",
    }
)


def outcome_of_error(code: str, status: int | None) -> Outcome:
    """Return what a refused call means, by its error code first, its HTTP status second.

    Codes: AWS "Common errors" of each service's reference, and botocore's list of throttling
    codes (``botocore.retries.standard.ThrottledRetryableChecker``). Anything else, a 404 without
    a known code or a broken answer among them, is ``unsupported``: we know nothing then, which
    is never the same as "there is nothing".
    """
    if code in _DENIED or status in (401, 403):
        return Outcome.DENIED
    if code in _THROTTLED or status in (429, 503):
        return Outcome.THROTTLED
    return Outcome.UNSUPPORTED


def worst_outcome(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the worst outcome; of none at all it is ``complete``: nothing went wrong."""
    return max(outcomes, key=_SEVERITY.index, default=Outcome.COMPLETE)


@dataclass(frozen=True)
class Resource:
    """One thing that exists in an account. ``id`` is unique within one audit.

    ``account``: the AWS account that it stands in, by number; empty outside AWS.
    """

    id: str
    kind: str
    name: str
    region: str
    size_bytes: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""


@dataclass(frozen=True)
class Edge:
    """One resource depends on another, or may reach it; ``confidence`` is in (0, 1].

    ``last_seen``: when it was last used, where a source knows (traces, flow logs); None: not known.
    """

    from_id: str
    to_id: str
    kind: str
    source: str
    confidence: float
    last_seen: datetime | None = None


@dataclass(frozen=True)
class Collected:
    """What one collector saw in one region, and in ``missed`` what it could not see.

    ``account``: the AWS account it looked into, by number; empty outside AWS.
    """

    collector: str
    region: str
    outcome: Outcome
    resources: tuple[Resource, ...]
    edges: tuple[Edge, ...]
    calls: int
    missed: str = ""
    account: str = ""


AS_ASKED = ", as asked"  # how a note ends that says to what a look was limited by who asked for it


def limits_in(missed: str) -> list[str]:
    """Return the notes on what was not looked into because nobody asked for it."""
    return [note for note in missed.split("; ") if note.endswith(AS_ASKED)]


_GPU_FAMILY = re.compile(r"^(g\d|gr\d|p\d)")


def has_gpu(instance_type: str) -> bool:
    """Tell whether an EC2 type has a GPU: families G, Gr and P (AWS naming convention)."""
    return _GPU_FAMILY.match(instance_type) is not None


def volumes_by_kind(resources: Iterable[Resource]) -> dict[str, dict[str, int | None]]:
    """Return count, bytes, and of how many no size is known, for each kind of resource."""
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    for resource in resources:
        count[resource.kind] += 1
        if resource.size_bytes is None:
            unknown[resource.kind] += 1
        else:
            size[resource.kind] += resource.size_bytes
    return {
        kind: {
            "count": count[kind],
            "bytes": size[kind] if unknown[kind] < count[kind] else None,
            "without_size": unknown[kind],
        }
        for kind in sorted(count)
    }


def judge_audit(collected: Sequence[Collected]) -> Judgement:
    """Return PASS when at least one collector saw everything and each of the others is named.

    A denied service is a fact about the audit, not a failure of it. When no collector was
    complete we saw nothing reliable: ERROR.
    """
    by_outcome: defaultdict[Outcome, set[str]] = defaultdict(set)
    for part in collected:
        by_outcome[part.outcome].add(part.collector)
    complete = sum(part.outcome is Outcome.COMPLETE for part in collected)
    gaps = [
        _gap(outcome, sorted(by_outcome[outcome]))
        for outcome in reversed(_SEVERITY)
        if outcome is not Outcome.COMPLETE and by_outcome[outcome]
    ]
    if not complete:
        gaps.insert(0, "nothing was seen whole")
    return Judgement(
        Verdict.PASS if complete else Verdict.ERROR,
        " · ".join(gaps) or f"everything asked for was seen ({len(collected)} sources)",
        {"complete": complete, "collectors": len(collected)},
    )


def _gap(outcome: Outcome, names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        shown = f"{shown} and {len(names) - _NAMED} more"
    if outcome is Outcome.DENIED:
        return f"{len(names)} service{'' if len(names) == 1 else 's'} denied to us ({shown})"
    return f"{len(names)} {outcome.value} ({shown})"


def outcomes_by_collector(collected: Iterable[Collected]) -> dict[str, str]:
    """Return one outcome a collector, the worst of its regions."""
    by_name: defaultdict[str, list[Outcome]] = defaultdict(list)
    for part in collected:
        by_name[part.collector].append(part.outcome)
    return {name: worst_outcome(outcomes).value for name, outcomes in by_name.items()}
