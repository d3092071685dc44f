"""Data gravity: what the traffic of each pair would cost if one end of it stood elsewhere.

Every figure is measured bytes times a list price with a source. Where bytes were not measured (a
bill never says which pair moved them; flow logs do) or no price is at hand, the row says what is
not known and has no figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from qafila.audit.network_cost.flow_price import Cost, Pool, cost_of, without
from qafila.audit.network_cost.places import ONE_ZONE, Flow, Move, moved
from qafila.decision.egress import Tariffs
from qafila.decision.network_kinds import Kind


class Asked(StrEnum):
    """Where one end of a pair is put, seen from where the pair stands today."""

    TOGETHER = "together"  # where the other end stands
    ANOTHER_ZONE = "another zone"
    ANOTHER_REGION = "another region"
    ANOTHER_PROVIDER = "another provider"


@dataclass(frozen=True)
class WhatIf:
    """One row: one flow, one of its ends moved, its cost a month before and after.

    ``period``: the month of the bill that tiers count on top of, as "2026-05"; empty: no bill
    says what else was moved, and tiers begin at the first gigabyte.
    """

    flow: Flow
    move: Move
    before: Cost
    after: Cost
    period: str = ""

    @property
    def change(self) -> Decimal | None:
        """Return what the move would add to a month; negative: it saves. None: not known."""
        if self.before.amount is None or self.after.amount is None:
            return None
        if self.before.currency and self.after.currency not in ("", self.before.currency):
            return None
        return self.after.amount - self.before.amount

    @property
    def why(self) -> str:
        """Return why the change is not known; empty when it is."""
        if self.change is None and not (self.before.why or self.after.why):
            return "before and after are priced in two currencies"
        return "; ".join(dict.fromkeys(filter(None, (self.before.why, self.after.why))))

    @property
    def asked(self) -> Asked:
        """Return where the end is put: with the other one, or how far from where it stands."""
        first = self.move.id == self.flow.from_id
        here, there = self.flow.origin, self.flow.destination
        if not first:
            here, there = there, here
        if self.move.to == there:
            return Asked.TOGETHER
        if here is None or here.vendor != self.move.to.vendor:
            return Asked.ANOTHER_PROVIDER
        return Asked.ANOTHER_ZONE if here.region == self.move.to.region else Asked.ANOTHER_REGION

    @property
    def assumes(self) -> str:
        """Return in one sentence what the figures take for granted."""
        taken = ["list prices without discount", "all else stays where it is"]
        taken.append(
            f"tiers on top of what the bill of {self.period} has besides"
            if self.period
            else "tiers from the first gigabyte, as no bill says what else was moved"
        )
        if Kind.CROSS_CLOUD in (self.before.route, self.after.route):
            taken.append("another provider is reached over the internet")
        if self.move.to.zone.startswith(ONE_ZONE):
            taken.append("both ends in one zone")
        return "; ".join(taken)


def what_if(
    flows: Iterable[Flow],
    moves: Sequence[Move],
    tariffs: Tariffs,
    pool: Pool | None = None,
    period: str = "",
) -> list[WhatIf]:
    """Return a row for every flow and every move of one of its ends, the greatest saving first.

    ``pool``: what each vendor bills of each kind in a month, from the ledger, and ``period`` which
    month. Tiers count the whole month, so a flow is priced as the last of it: it is taken out of
    the pool where it is in it today, and put on top where it would go. Rows are single moves:
    they do not add up.
    """
    by_id: defaultdict[str, list[Move]] = defaultdict(list)
    for move in moves:
        by_id[move.id].append(move)
    asked = (
        (flow, [m for end in dict.fromkeys((flow.from_id, flow.to_id)) for m in by_id.get(end, ())])
        for flow in flows
    )
    return price_moves(asked, tariffs, pool, period)


def price_moves(
    asked: Iterable[tuple[Flow, Sequence[Move]]],
    tariffs: Tariffs,
    pool: Pool | None = None,
    period: str = "",
) -> list[WhatIf]:
    """Return a row for each flow and each of the moves that are asked of it; see what_if()."""
    rows = []
    for flow, moves in asked:
        if not moves:
            continue
        rest = without(pool or {}, flow, tariffs)
        before = cost_of(flow, tariffs, rest)
        rows += [
            WhatIf(flow, move, before, cost_of(moved(flow, move), tariffs, rest), period)
            for move in moves
        ]
    return sorted(
        rows,
        key=lambda r: (
            r.change is None,
            r.change or 0,
            r.flow.from_id,
            r.flow.to_id,
            r.move.id,
            str(r.move.to),
        ),
    )
