"""What a person should look at: disks that nothing uses, GPUs that nobody owns, dear routes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from qafila.core.bills import CROSS_ZONE, Bill, BilledItem
from qafila.core.estate import Resource, has_gpu
from qafila.core.reconciling import Finding, tail

_NOTEWORTHY = Decimal("0.05")  # share of usage from which a route is worth a line


def look_closer(resources: Sequence[Resource], items: Iterable[BilledItem]) -> list[Finding]:
    """Return untagged GPU instances and disks that nothing uses, with what they were billed."""
    cost: dict[str, BilledItem] = {tail(i.resource_id): i for i in items}
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
        billed = cost.get(tail(resource.id))
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
