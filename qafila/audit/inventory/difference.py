"""What changed since the last audit: things, spend, and how far each collector came.

What a collector did not see whole is never called gone, and what it did not see whole last time is
never called new: both are counted as not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext
from typing import Any

from qafila.audit.estate import Outcome, limits_in
from qafila.decision.drift_rules import Decomposition, LineItem, decompose

_EXACT = Context(prec=76)  # two DECIMAL(38, 20) side by side: a sum of money rounds nothing
_AGAIN = re.compile(r" \(\d+\)$")  # the second look at one place; see Snapshot.outcomes
NEW, GONE, CHANGED, NOT_JUDGED = "new", "gone", "changed", "not judged"
# Facts that a service measures anew each time; a change of them is no change of the thing.
_MEASURED = (
    "cpu",
    "utilisation",
    "requests",
    "growth",
    "calls",
    "rows",
    "objects",
    "text_bytes",
    "measured",
    "seen",
    "messages",
    "items",
    "age",
)


@dataclass(frozen=True)
class Seen:
    """A resource as an audit kept it. ``collector``: who saw it; empty: not known.

    ``account``: the AWS account's number, empty elsewhere.
    """

    id: str
    kind: str
    name: str
    region: str
    collector: str
    size_bytes: int | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""


@dataclass(frozen=True)
class ServiceSpend:
    """What one service was billed in one month, by item where the bill says so."""

    service: str
    items: tuple[LineItem, ...]

    @property
    def amount(self) -> Decimal:
        return sum((i.cost for i in self.items), Decimal(0))


@dataclass(frozen=True)
class Snapshot:
    """One audit, as far as another is compared with it.

    ``outcomes``: by collector, account and region; a place that was looked at twice is numbered:
    "eu-west-3 (2)"; see :func:`state_of`. ``period`` None: no bill was read. ``state``: closed,
    open or not known.
    """

    audit_id: int
    at: str
    resources: tuple[Seen, ...]
    outcomes: Mapping[tuple[str, str, str], str]
    currency: str | None = None
    period: str | None = None
    state: str = "not known"
    spend: tuple[ServiceSpend, ...] = ()


@dataclass(frozen=True)
class Change:
    """One thing that is new, gone, changed, or of which we cannot say."""

    what: str
    id: str
    kind: str
    name: str
    region: str
    detail: str


@dataclass(frozen=True)
class SpendChange:
    """How one service's spend changed; the parts of ``why`` add up to ``after - before``."""

    service: str
    before: Decimal
    after: Decimal
    why: Decomposition


@dataclass(frozen=True)
class OutcomeChange:
    """A collector that came further, or less far, than last time."""

    collector: str
    account: str
    region: str
    before: str
    now: str

    @property
    def place(self) -> str:
        return f"{self.account} {self.region}".strip()


@dataclass(frozen=True)
class Difference:
    """This audit held against the last one of the same workload.

    ``spend_note`` says why spend was not compared, or which months were.
    """

    audit_id: int
    at: str
    resources: tuple[Change, ...]
    outcomes: tuple[OutcomeChange, ...]
    spend: tuple[SpendChange, ...]
    spend_total: Decomposition | None
    currency: str | None
    spend_note: str

    def count(self, what: str) -> int:
        """Return how many resources are new, gone, changed, or not judged."""
        return sum(c.what == what for c in self.resources)


def compare(before: Snapshot, now: Snapshot) -> Difference:
    """Return what changed between two audits."""
    with localcontext(_EXACT):
        spend, total, note = _spend(before, now)
    return Difference(
        audit_id=before.audit_id,
        at=before.at,
        resources=tuple(_resources(before, now)),
        outcomes=tuple(
            OutcomeChange(
                *key, before.outcomes.get(key, "not asked"), now.outcomes.get(key, "not asked")
            )
            for key in sorted({**before.outcomes, **now.outcomes})
            if before.outcomes.get(key) != now.outcomes.get(key)
        ),
        spend=tuple(spend),
        spend_total=total,
        currency=now.currency if total is not None else None,
        spend_note=note,
    )


def _resources(before: Snapshot, now: Snapshot) -> Iterable[Change]:
    old, new = {r.id: r for r in before.resources}, {r.id: r for r in now.resources}
    for one in sorted(new.keys() - old.keys()):
        seen = new[one]
        if _saw_everything(before, seen, now):
            yield _change(NEW, seen, "was not there at the last audit")
        else:
            yield _change(NOT_JUDGED, seen, "seen now; the last audit could not see everything")
    for one in sorted(old.keys() - new.keys()):
        seen = old[one]
        if _saw_everything(now, seen, before):
            yield _change(GONE, seen, "is not there any more")
        else:
            yield _change(NOT_JUDGED, seen, "seen last time; this audit could not see everything")
    for one in sorted(new.keys() & old.keys()):
        if detail := _details(old[one], new[one]):
            yield _change(CHANGED, new[one], detail)


def _saw_everything(audit: Snapshot, seen: Seen, other: Snapshot) -> bool:
    """Tell whether an audit would have seen what the other one saw: it looked there, at as much."""
    states = {
        key: state
        for key, state in audit.outcomes.items()
        if key[0] == seen.collector
        and key[1] in ("", seen.account)
        and _AGAIN.sub("", key[2]) in ("", seen.region)
    }
    return bool(states) and all(
        state == Outcome.COMPLETE.value
        or (state.startswith(f"{Outcome.COMPLETE.value}:") and state == other.outcomes.get(key))
        for key, state in states.items()
    )


def state_of(outcome: str, missed: str) -> str:
    """Return how far a collector came, for a snapshot, with what it was limited to."""
    return ": ".join([outcome, *limits_in(missed)])


def _details(was: Seen, now: Seen) -> str:
    parts = []
    if was.name != now.name:
        parts.append(f"name {was.name} → {now.name}")
    if was.size_bytes != now.size_bytes and _worth_saying(was.size_bytes, now.size_bytes):
        parts.append(f"size {_said(was.size_bytes)} → {_said(now.size_bytes)} bytes")
    parts += _mapping("tag ", was.tags, now.tags)
    parts += _mapping("", was.facts, now.facts)
    return "; ".join(parts)


def _worth_saying(was: int | None, now: int | None) -> bool:
    """Tell whether a size changed by a hundredth; what grows a little each day is no news."""
    return was is None or now is None or abs(now - was) * 100 >= max(was, 1)


def _mapping(word: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    parts = []
    for key in sorted({*was, *now}):
        if was.get(key) == now.get(key) or (not word and _is_measured(key)):
            continue
        before, after = _said(was.get(key)), _said(now.get(key))
        parts.append(f"{word}{key} {before} → {after}")
    return parts


def _is_measured(key: str) -> bool:
    return any(part in _MEASURED for part in key.replace("-", "_").lower().split("_"))


def _said(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _change(what: str, seen: Seen, detail: str) -> Change:
    return Change(what, seen.id, seen.kind, seen.name, seen.region, detail)


def _spend(
    before: Snapshot, now: Snapshot
) -> tuple[Sequence[SpendChange], Decomposition | None, str]:
    if before.period is None or now.period is None:
        which = "the last audit" if before.period is None else "this audit"
        return (), None, f"spend is not compared: {which} read no bill"
    if before.currency != now.currency:
        return (
            (),
            None,
            (
                f"spend is not compared: {before.currency} then, {now.currency} now; "
                "currencies are never added or subtracted"
            ),
        )
    old, new = {s.service: s for s in before.spend}, {s.service: s for s in now.spend}
    changes = []
    for service in sorted(old.keys() | new.keys()):
        was = old[service].items if service in old else ()
        is_now = new[service].items if service in new else ()
        why = decompose(was, is_now)
        if why.before != why.after:
            changes.append(SpendChange(service, why.before, why.after, why))
    changes.sort(key=lambda c: (-abs(c.after - c.before), c.service))
    total = decompose(_named(before.spend), _named(now.spend))
    months = f"{before.period} ({_state(before)}) → {now.period} ({_state(now)})"
    if before.period == now.period:
        months = f"{now.period} in both audits ({_state(before)} then, {_state(now)} now)"
    return changes, total, f"spend of {months}"


def _named(spends: Iterable[ServiceSpend]) -> list[LineItem]:
    """Return all items of all services; two services may call an item by the same name."""
    return [
        LineItem(f"{spend.service} · {item.item}", item.cost, item.quantity, item.unit)
        for spend in spends
        for item in spend.items
    ]


def _state(audit: Snapshot) -> str:
    return {"not known": "whether closed is not known"}.get(audit.state, audit.state)


def state_in(body: Mapping[str, Any]) -> str:
    """Return whether the month of an audit's evidence is closed, open, or not known."""
    month = (body.get("period"), body.get("currency"))
    for period in body.get("periods") or ():
        if (period.get("period"), period.get("currency")) == month:
            return str(period.get("state"))
    return "closed" if body.get("period_closed") else "not known"
