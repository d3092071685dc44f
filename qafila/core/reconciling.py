"""The bill held against the account: billed but not found, found but not billed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from qafila.core.bills import Bill
from qafila.core.estate import Collected, Outcome, Resource


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
    return names | {tail(n) for n in names}


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
    billed = {s for i in items for s in (i.resource_id, tail(i.resource_id))}

    not_found: list[Finding] = []
    not_judged: list[Finding] = []
    for item in items:
        if item.resource_id in known or tail(item.resource_id) in unique_tails:
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


def tail(identifier: str) -> str:
    """Return the last part of an ARN, or the identifier as it is."""
    arn = _ARN.match(identifier)
    return re.split(r"[:/]", arn[2])[-1] if arn is not None else identifier
