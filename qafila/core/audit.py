"""What an audit saw and could not see, and what follows: edges, reconciliation, findings."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from qafila.core.bills import CROSS_ZONE, Bill, BilledItem
from qafila.core.verdict import Judgement, Verdict


class Outcome(StrEnum):
    """How far one collector came. Only ``complete`` allows the word "all"."""

    COMPLETE = "complete"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    THROTTLED = "throttled"
    DENIED = "denied"


_SEVERITY = tuple(Outcome)

_DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthFailure",
    "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidAccessKeyId",
    "OptInRequired", "AllAccessDisabled", "NotAuthorized", "AuthorizationError", "Forbidden",
})  # fmt: skip
_THROTTLED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled",
    "RequestThrottledException", "RequestLimitExceeded", "TooManyRequestsException",
    "ProvisionedThroughputExceededException", "SlowDown", "PriorRequestNotComplete",
    "BandwidthLimitExceeded", "LimitExceededException", "EC2ThrottledException",
})  # fmt: skip


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
    """One thing that exists in an account. ``id`` is unique within one audit."""

    id: str
    kind: str
    name: str
    region: str
    size_bytes: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Edge:
    """One resource depends on another, or may reach it; ``confidence`` is in (0, 1]."""

    from_id: str
    to_id: str
    kind: str
    source: str
    confidence: float


@dataclass(frozen=True)
class Collected:
    """What one collector saw in one region, and in ``missed`` what it could not see."""

    collector: str
    region: str
    outcome: Outcome
    resources: tuple[Resource, ...]
    edges: tuple[Edge, ...]
    calls: int
    missed: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing a person should look at, with what it costs where that is known."""

    kind: str
    resource: str
    sentence: str
    amount: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Reconciliation:
    """The bill held against the account. ``not_judged`` lies where no collector saw everything."""

    billed_not_found: tuple[Finding, ...]
    found_not_billed: tuple[Finding, ...]
    not_judged: tuple[Finding, ...]


_GPU_FAMILY = re.compile(r"^(g\d|gr\d|p\d)")
_ARN = re.compile(r"^arn:[\w-]+:([\w-]+):[\w-]*:\d*:(.+)$")
_PLAIN = re.compile(r"^(i|vol|snap|eipalloc|sg|vpc|subnet|nat|eni)-[0-9a-f]+$")
_COLLECTOR_OF_SERVICE = {
    "ec2": "ec2", "rds": "rds", "s3": "s3", "elasticloadbalancing": "elb", "lambda": "lambda",
    "dynamodb": "dynamodb", "sqs": "sqs", "iam": "iam",
}  # fmt: skip
# A resource of these kinds costs something for every hour that it exists.
_BILLED_BY_EXISTENCE = frozenset(
    {"ec2:instance", "ec2:volume", "rds:instance", "elb:load-balancer"}
)


_NOTEWORTHY = Decimal("0.05")  # share of usage from which a route is worth a line


def has_gpu(instance_type: str) -> bool:
    """Tell whether an EC2 type has a GPU: families G, Gr and P (AWS naming convention)."""
    return _GPU_FAMILY.match(instance_type) is not None


def collector_of(billed_id: str) -> str | None:
    """Return the collector that would see a billed resource; None when none of ours would."""
    arn = _ARN.match(billed_id)
    if arn is not None:
        return _COLLECTOR_OF_SERVICE.get(arn[1])
    return "ec2" if _PLAIN.match(billed_id) else None


def aliases(resource: Resource) -> set[str]:
    """Return every spelling under which a bill may name a resource: id, ARN, ARN's last part."""
    names = {resource.id}
    if arn := resource.facts.get("arn"):
        names.add(str(arn))
    return names | {_tail(n) for n in names}


def derive_edges(resources: Sequence[Resource]) -> list[Edge]:
    """Return the edges that only show when all collectors' resources lie side by side.

    - ``calls``: a function's environment names the address of a database (confidence .8: it is
      configured, whether it is used is not known).
    - ``network-allows``: a security group lets in another; drawn between the things that wear
      the two groups (confidence .4: permission is not use), and from ``internet`` where a group
      lets in everybody.
    """
    edges = []
    address = {a: r.id for r in resources if (a := r.facts.get("address"))}
    wearers: defaultdict[str, list[str]] = defaultdict(list)
    for resource in resources:
        for group in resource.facts.get("security_groups", ()):
            wearers[group].append(resource.id)
        for variable, host in sorted(resource.facts.get("hosts", {}).items()):
            if host in address:
                edges.append(
                    Edge(resource.id, address[host], "calls", f"environment {variable}", 0.8)
                )
    for group in (r for r in resources if r.kind == "ec2:security-group"):
        for rule in group.facts.get("allows_from", ()):
            what = f"{group.name} port {rule['port']}"
            if rule["from"] == "internet":
                edges += [
                    Edge("internet", to, "network-allows", what, 0.4) for to in wearers[group.id]
                ]
            edges += [
                Edge(start, end, "network-allows", what, 0.4)
                for start in wearers.get(rule["from"], ())
                for end in wearers[group.id]
                if start != end
            ]
    return sorted(set(edges), key=lambda e: (e.from_id, e.to_id, e.kind, e.source))


def reconcile(
    resources: Sequence[Resource], collected: Sequence[Collected], bill: Bill, currency: str
) -> Reconciliation:
    """Hold the bill's newest period against what was found.

    A billed resource counts as "not found" only where the collector that would have seen it was
    complete in that region; otherwise it is listed as not judged. Amounts are those of the
    bill's reference period, else of the newest one.
    """
    newest, reference = bill.newest_period(currency), bill.reference_period(currency)
    if newest is None or reference is None:
        return Reconciliation((), (), ())
    owners: Counter[str] = Counter(a for r in resources for a in aliases(r))
    known = {a for r in resources for a in aliases(r)}
    unique_tails = {a for a, n in owners.items() if n == 1}
    complete = {(c.collector, c.region) for c in collected if c.outcome is Outcome.COMPLETE}
    items = [i for i in bill.items if i.currency == currency and i.in_period(newest.start) > 0]
    billed = {s for i in items for s in (i.resource_id, _tail(i.resource_id))}

    not_found: list[Finding] = []
    not_judged: list[Finding] = []
    for item in items:
        if item.resource_id in known or _tail(item.resource_id) in unique_tails:
            continue
        amount = item.in_period(reference.start) or item.in_period(newest.start)
        collector = collector_of(item.resource_id)
        if {(collector, item.region), (collector, "")} & complete:
            sentence = f"billed by {item.service}, but the account does not have it"
            target = not_found
        else:
            sentence = f"billed by {item.service}, where no collector saw everything"
            target = not_judged
        target.append(Finding("billed not found", item.resource_id, sentence, amount, currency))

    unbilled = [
        Finding(
            "found not billed", r.id,
            f"{r.kind} {r.name} exists, but the bill's newest period does not name it",
        )
        for r in resources
        if r.kind in _BILLED_BY_EXISTENCE
        and r.facts.get("state") not in ("stopped", "terminated")
        and not aliases(r) & billed
    ]  # fmt: skip
    by_amount = sorted(not_found, key=lambda f: (-(f.amount or Decimal(0)), f.resource))
    return Reconciliation(tuple(by_amount), tuple(unbilled), tuple(not_judged))


def look_closer(resources: Sequence[Resource], items: Iterable[BilledItem]) -> list[Finding]:
    """Return untagged GPU instances and disks that nothing uses, with what they were billed."""
    cost: dict[str, BilledItem] = {_tail(i.resource_id): i for i in items}
    findings = []
    for resource in resources:
        if resource.kind == "ec2:instance" and has_gpu(str(resource.facts.get("type"))):
            if not {t for t in resource.tags if t != "Name"}:
                sentence = f"GPU instance {resource.facts['type']} without a tag: nobody owns it"
                findings.append(("untagged gpu", resource, sentence))
        elif resource.kind == "ec2:volume" and resource.facts.get("state") == "available":
            size = (resource.size_bytes or 0) >> 30
            findings.append(("orphan disk", resource, f"disk of {size} GiB attached to nothing"))
    result = []
    for kind, resource, sentence in findings:
        billed = cost.get(_tail(resource.id))
        result.append(
            Finding(
                kind, resource.id, sentence,
                None if billed is None else billed.largest_period(),
                None if billed is None else billed.currency,
            )
        )  # fmt: skip
    return result


def watch_the_network(bill: Bill, currency: str) -> list[Finding]:
    """Return traffic between availability zones, when it is a noteworthy share of usage.

    Traffic to the internet is what a service is for; traffic between zones is a matter of where
    things stand, so it can be avoided.
    """
    period = bill.reference_period(currency)
    if period is None or period.usage <= 0:
        return []
    return [
        Finding(
            "cross-AZ traffic", spend.subject,
            f"traffic between availability zones is {spend.amount / period.usage:.1%} of usage",
            spend.amount, currency,
        )
        for spend in bill.spend_of(bill.network, period)
        if spend.subject == CROSS_ZONE and spend.amount / period.usage >= _NOTEWORTHY
    ]  # fmt: skip


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
    by_outcome: defaultdict[Outcome, list[str]] = defaultdict(list)
    for part in collected:
        by_outcome[part.outcome].append(part.collector)
    complete = len(by_outcome[Outcome.COMPLETE])
    gaps = [
        f"{outcome.value} to us: {', '.join(sorted(set(by_outcome[outcome])))}"
        if outcome is Outcome.DENIED
        else f"{outcome.value}: {', '.join(sorted(set(by_outcome[outcome])))}"
        for outcome in reversed(_SEVERITY)
        if outcome is not Outcome.COMPLETE and by_outcome[outcome]
    ]
    verdict = Verdict.PASS if complete else Verdict.ERROR
    said = f"{complete} of {len(collected)} collectors complete"
    return Judgement(
        verdict,
        "; ".join([said, *gaps]),
        {"complete": complete, "collectors": len(collected)},
    )


def outcomes_by_collector(collected: Iterable[Collected]) -> dict[str, str]:
    """Return one outcome a collector, the worst of its regions."""
    by_name: defaultdict[str, list[Outcome]] = defaultdict(list)
    for part in collected:
        by_name[part.collector].append(part.outcome)
    return {name: worst_outcome(outcomes).value for name, outcomes in by_name.items()}


def _tail(identifier: str) -> str:
    arn = _ARN.match(identifier)
    return re.split(r"[:/]", arn[2])[-1] if arn is not None else identifier
