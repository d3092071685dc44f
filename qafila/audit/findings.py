"""What a person should look at: things nobody uses, GPUs nobody owns, dear routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from qafila.audit.bills.model import CROSS_ZONE, Bill, BilledItem, money
from qafila.audit.bills.reconciliation import Finding
from qafila.audit.bills.resource_ids import aliases, tail
from qafila.audit.bills.tags import value_of
from qafila.audit.estate import Collected, Edge, Outcome, Resource, has_gpu
from qafila.decision.network_kinds import Kind

_NOTEWORTHY = Decimal("0.05")  # share of usage from which a route is worth a line
_PAIRS_NAMED = 3
OLD_SNAPSHOT_DAYS = 180  # ours: two quarters; a retention rule may ask for more
# AWS Compute Optimizer calls an instance idle whose CPU peaks below 5 % and whose network moves
# less than 5 MB a day, over 14 days; AWS Trusted Advisor a database without a connection in 7.
_IDLE_CPU_PERCENT, _IDLE_BYTES_A_DAY, _IDLE_DAYS = 5, 5_000_000, 14
_IDLE_DATABASE_DAYS = 7


def look_closer(
    resources: Sequence[Resource],
    items: Iterable[BilledItem],
    *,
    as_of: date | None = None,
    collected: Sequence[Collected] = (),
) -> list[Finding]:
    """Return what costs money for nothing, with what it was billed in its dearest month.

    Found are GPU machines without a tag, machines and databases that stand idle, disks and
    addresses that nothing uses, snapshots whose disk is gone where ``collected`` saw all disks,
    and, counted back from ``as_of``, snapshots older than :data:`OLD_SNAPSHOT_DAYS`. What was not
    measured is never called idle, and a disk is never called gone where we may not look.
    """
    cost: dict[str, BilledItem] = {tail(i.resource_id): i for i in items}
    measured = _utilisation(resources)
    disks = {r.id for r in resources if r.kind == "ec2:volume"}
    seen = {
        (c.account, c.region)
        for c in collected
        if c.collector == "ec2" and c.outcome is Outcome.COMPLETE
    }
    found: list[Finding] = []
    for resource in resources:
        for kind, sentence in (
            _untagged_gpu(resource),
            _idle(resource, measured),
            _unused(resource),
            _old_snapshot(resource, disks, seen, as_of),
        ):
            if kind:
                billed = next((cost[a] for a in sorted(aliases(resource)) if a in cost), None)
                found.append(
                    Finding(
                        kind,
                        resource.id,
                        sentence,
                        None if billed is None else billed.largest_period(),
                        None if billed is None else billed.currency,
                    )
                )
    return found


def watch_the_network(
    bill: Bill,
    currency: str,
    resources: Sequence[Resource] = (),
    edges: Iterable[Edge] = (),
) -> list[Finding]:
    """Return traffic between availability zones, when it is a noteworthy share of usage.

    Traffic to the internet is what a service is for; traffic between zones is a matter of where
    things stand, so it can be avoided. The sentence names who paid most of it, where the bill
    says so, and the pairs in different zones that an edge joins: those that could be the cause.
    """
    period = bill.reference_period(currency)
    if period is None or period.usage <= 0:
        return []
    names = {a: r for r in resources for a in aliases(r)}
    pairs = pairs_across_zones(resources, edges)
    found = []
    for spend in bill.spend_of(bill.network, period):
        if spend.subject != CROSS_ZONE or spend.amount / period.usage < _NOTEWORTHY:
            continue
        share = 100 * spend.amount / period.usage
        said = [f"traffic between availability zones is {share:.1f} % of usage"]
        talkers = sorted(
            (
                t
                for t in bill.ledger.talkers
                if (t.currency, t.start, t.kind) == (currency, period.start, Kind.CROSS_ZONE)
            ),
            key=lambda t: (-t.amount, t.resource),
        )
        if talkers:
            first = [
                f"{_called(names.get(tail(t.resource)), t.resource)} {money(t.amount, currency)}"
                for t in talkers[:_PAIRS_NAMED]
            ]
            said.append(f"most of it paid by {', '.join(first)}")
        if pairs:
            more = len(pairs) - _PAIRS_NAMED
            joined = [f"{a} and {b}" for a, b in pairs[:_PAIRS_NAMED]]
            said.append(
                f"connected across zones: {', '.join(joined)}"
                + (f" and {more} more" if more > 0 else "")
            )
        found.append(
            Finding("cross-AZ traffic", spend.subject, "; ".join(said), spend.amount, currency)
        )
    return found


def pairs_across_zones(
    resources: Iterable[Resource], edges: Iterable[Edge]
) -> list[tuple[str, str]]:
    """Return the pairs in different zones of one region along which bytes may move, by name.

    The surest come first: a permission alone ("network-allows") is the least sure of all.
    """
    by_id = {r.id: r for r in resources if r.facts.get("zone")}
    best: dict[tuple[str, str], float] = {}
    for edge in edges:
        a, b = by_id.get(edge.from_id), by_id.get(edge.to_id)
        if a is None or b is None or edge.kind in ("attaches", "same-tag", "deploys"):
            continue
        if a.region != b.region or a.facts["zone"] == b.facts["zone"]:
            continue
        here = f"{_called(a, a.id)} ({a.facts['zone']})"
        there = f"{_called(b, b.id)} ({b.facts['zone']})"
        pair = (min(here, there), max(here, there))
        best[pair] = max(best.get(pair, 0.0), edge.confidence)
    return sorted(best, key=lambda p: (-best[p], p))


def _called(resource: Resource | None, identifier: str) -> str:
    if resource is None:
        return identifier
    app = value_of(resource.tags, "app")
    return f"{resource.name} of {app}" if app else resource.name


def _untagged_gpu(resource: Resource) -> tuple[str, str]:
    if resource.kind not in ("ec2:instance", "sagemaker:notebook"):
        return "", ""
    type_of = str(resource.facts.get("type"))
    gpu = resource.facts.get("gpus") or has_gpu(type_of.removeprefix("ml."))
    if not gpu or {t for t in resource.tags if t != "Name"}:
        return "", ""
    word = "GPU instance" if resource.kind == "ec2:instance" else "GPU notebook"
    return "untagged gpu", f"{word} {type_of} without a tag: nobody owns it"


def _unused(resource: Resource) -> tuple[str, str]:
    if resource.kind == "ec2:volume" and resource.facts.get("state") == "available":
        size = (resource.size_bytes or 0) >> 30
        return "orphan disk", f"disk of {size} GiB attached to nothing"
    if resource.kind == "ec2:address" and resource.facts.get("in_use") is False:
        return "unattached address", "fixed address attached to nothing"
    return "", ""


def _old_snapshot(
    resource: Resource, disks: set[str], seen: set[tuple[str, str]], as_of: date | None
) -> tuple[str, str]:
    if resource.kind != "ec2:snapshot":
        return "", ""
    started = _day(resource.facts.get("started"))
    age = None if started is None or as_of is None else (as_of - started).days
    size = (resource.size_bytes or 0) >> 30
    if age is not None and age > OLD_SNAPSHOT_DAYS:
        return "old snapshot", f"snapshot of a disk of {size} GiB, {age} days old"
    complete = (resource.account, resource.region) in seen
    if complete and resource.facts.get("volume") not in disks:
        return "orphan snapshot", f"snapshot of a disk of {size} GiB that is gone"
    return "", ""


def _idle(
    resource: Resource, measured: Mapping[tuple[str, str], Mapping[str, Any]]
) -> tuple[str, str]:
    facts = measured.get((resource.kind, resource.id)) or measured.get(
        (resource.kind, resource.name), resource.facts
    )
    days = facts.get("measured_days") or 0
    if resource.facts.get("state") not in ("running", "available"):
        return "", ""
    if resource.kind == "ec2:instance" and days >= _IDLE_DAYS:
        peak = facts.get("cpu_maximum_percent")
        moved = [facts.get("network_in_bytes"), facts.get("network_out_bytes")]
        if peak is None or None in moved:
            return "", ""
        daily = sum(float(m) for m in moved if m is not None) / days
        if peak < _IDLE_CPU_PERCENT and daily < _IDLE_BYTES_A_DAY:
            return "idle instance", (
                f"{resource.facts.get('type')} idle for {days} days: CPU at most {peak:.1f} %, "
                f"{daily / 1e6:.1f} MB a day"
            )
    unasked = facts.get("connections_maximum") == 0
    if resource.kind == "rds:instance" and unasked and days >= _IDLE_DATABASE_DAYS:
        return "idle database", f"no connection in {days} days"
    return "", ""


def _utilisation(resources: Iterable[Resource]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return what was measured, by the kind and the id or name of what it measures."""
    return {
        (str(r.facts.get("of_kind")), str(r.facts.get("of"))): r.facts
        for r in resources
        if r.kind == "cloudwatch:utilisation"
    }


def _day(text: object) -> date | None:
    try:
        return datetime.fromisoformat(str(text)).date()
    except ValueError:
        return None
