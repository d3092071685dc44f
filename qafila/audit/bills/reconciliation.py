"""The bill held against the account: billed but not found, found but not billed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from qafila.audit.bills.billed_resources import FoundResources
from qafila.audit.bills.model import Bill, BilledItem
from qafila.audit.bills.resource_ids import account_of, collector_of, kind_of_id, places_of
from qafila.audit.estate import Collected, Outcome, Resource


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


# A resource of these kinds costs something for every hour that it exists. The words are those by
# which bills name the service, to tell "costs nothing" from "billed without naming resources".
_BILLED_BY_EXISTENCE = {
    "ec2:instance": r"ec2|elastic compute",
    "ec2:volume": r"ec2|elastic compute|block store",
    "ec2:nat-gateway": r"ec2|elastic compute|vpc|virtual private",
    "ec2:vpc-endpoint": r"ec2|elastic compute|vpc|virtual private",
    "ec2:address": r"ec2|elastic compute|vpc|virtual private",
    "rds:instance": r"rds|relational database|docdb|neptune",
    "elb:load-balancer": r"elb|load balancing|ec2|elastic compute",
    "eks:cluster": r"eks|kubernetes",
    "elasticache:cluster": r"elasticache",
    "elasticache:serverless": r"elasticache",
    "opensearch:domain": r"opensearch|amazones",
    "sagemaker:endpoint": r"sagemaker",
    "sagemaker:notebook": r"sagemaker",
}
_NOT_RUNNING = frozenset({"stopped", "stopping", "terminated", "deleting", "deleted", "failed"})
_AWS = re.compile(r"aws|amazon", re.IGNORECASE)


def reconcile(
    resources: Sequence[Resource],
    collected: Sequence[Collected],
    bill: Bill | Sequence[Bill],
    currency: str | None = None,
) -> Reconciliation:
    """Hold the newest period of one or several bills against what was found.

    ``currency`` None: every currency of the bills, each finding in its own. A billed resource
    counts as "not found" only where the collector that would have seen it was complete in that
    region and account; a resource counts as "not billed" only where the bills name resources of
    its kind, or have no line of its service at all. All else is listed as not judged, with the
    reason. Amounts are those of a bill's reference period, else of the newest one.
    """
    bills = [bill] if isinstance(bill, Bill) else list(bill)
    newest = [
        (each, code, item)
        for each in bills
        for code in ([currency] if currency else each.currencies)
        for item in _newest_items(each, code)
    ]
    if not any(each.newest_period(c) for each in bills for c in _codes(each, currency)):
        return Reconciliation((), (), ())
    found = FoundResources(resources)
    billed: set[str] = set()
    not_found: list[Finding] = []
    not_judged: list[Finding] = []
    for each, code, item in newest:
        if meant := found.called(item.resource_id, item.service):
            billed.update(r.id for r in meant)
            continue
        amount = _amount(each, code, item)
        doubt = _why_not_judged(item, collected)
        target = not_judged if doubt else not_found
        sentence = f"billed by {item.service}, {doubt or 'but the account does not have it'}"
        target.append(Finding("billed not found", item.resource_id, sentence, amount, code))
    items = [item for _, _, item in newest]
    unbilled, doubtful = _unbilled(resources, bills, items, billed, currency)
    return Reconciliation(_by_amount(not_found), unbilled, (*_by_amount(not_judged), *doubtful))


def _codes(bill: Bill, currency: str | None) -> Iterable[str]:
    return [currency] if currency else bill.currencies


def _newest_items(bill: Bill, currency: str) -> list[BilledItem]:
    newest = bill.newest_period(currency)
    if newest is None:
        return []
    return [i for i in bill.items if i.currency == currency and i.in_period(newest.start) > 0]


def _amount(bill: Bill, currency: str, item: BilledItem) -> Decimal:
    newest, reference = bill.newest_period(currency), bill.reference_period(currency)
    assert newest is not None
    assert reference is not None
    return item.in_period(reference.start) or item.in_period(newest.start)


def _why_not_judged(item: BilledItem, collected: Sequence[Collected]) -> str:
    """Return why it could not be checked whether the item exists; empty where it was looked for."""
    collector = collector_of(item.resource_id, item.service)
    if collector is None:
        return "could not be checked: no collector lists such a resource"
    region, account = places_of(item.resource_id)
    region = region or item.region
    there = [
        c
        for c in collected
        if c.collector == collector
        and c.region in (region, "")
        and (not account or c.account in (account, ""))
    ]
    if any(c.outcome is Outcome.COMPLETE for c in there):
        return ""
    where = " ".join(w for w in (region, account) if w)
    if not there:
        return f"could not be checked: {collector} was not read{f' in {where}' if where else ''}"
    outcomes = " and ".join(sorted({c.outcome.value for c in there}))
    return (
        f"could not be checked: what {collector} saw{f' in {where}' if where else ''} is {outcomes}"
    )


def _unbilled(
    resources: Sequence[Resource],
    bills: Sequence[Bill],
    items: Sequence[BilledItem],
    billed: set[str],
    currency: str | None,
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return the resources that no newest period names: judged, and not to be judged.

    ``billed``: the ids of resources that the bills name.
    """
    kinds = {kind_of_id(i.resource_id, i.service) for i in items}
    accounts = {account_of(i.resource_id) for i in items} - {""}
    vendors = {s.subject for each in bills for s in each.vendors}
    services = [
        s.subject
        for each in bills
        for code in _codes(each, currency)
        if (period := each.newest_period(code)) is not None
        for s in each.spend_of(each.services, period)
    ]
    found, doubtful = [], []
    for r in resources:
        if not _costs_by_existing(r) or r.id in billed:
            continue
        if vendors and not any(map(_AWS.search, vendors)):
            reason = "no bill of AWS was read"
        elif r.account and accounts and r.account not in accounts:
            reason = f"no bill names a resource of account {r.account}"
        elif r.kind not in kinds and any(
            re.search(_BILLED_BY_EXISTENCE[r.kind], s, re.IGNORECASE) for s in services
        ):
            reason = "the bill names no resource of this kind"
        else:
            sentence = f"{r.kind} {r.name} exists, but the bill's newest period does not name it"
            found.append(Finding("found not billed", r.id, sentence))
            continue
        doubtful.append(Finding("found not billed", r.id, f"{r.kind} {r.name} exists; {reason}"))
    return tuple(found), tuple(doubtful)


def _costs_by_existing(resource: Resource) -> bool:
    if resource.kind not in _BILLED_BY_EXISTENCE:
        return False
    if resource.kind == "ec2:vpc-endpoint" and resource.facts.get("type") == "Gateway":
        return False  # gateway endpoints (S3, DynamoDB) are free of charge
    return str(resource.facts.get("state")).lower() not in _NOT_RUNNING


def _by_amount(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: (-(f.amount or Decimal(0)), f.resource)))
