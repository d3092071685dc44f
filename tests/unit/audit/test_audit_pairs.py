"""Pairs that pay for crossing zones: only what was measured, each once, the dearest first."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.inventory.pairs import costly_pairs
from qafila.audit.network_cost.flow_price import Cost
from qafila.audit.network_cost.gravity import WhatIf
from qafila.audit.network_cost.places import ONE_ZONE, Flow, Move, Place
from qafila.decision.network_kinds import Kind

A, B = (Place("aws", "eu-west-3", f"eu-west-3{zone}") for zone in "ab")


def what_if(
    start: str,
    end: str,
    moved: str,
    before: str | None,
    after: str | None,
    route: Kind = Kind.CROSS_ZONE,
) -> WhatIf:
    def cost(amount: str | None, kind: Kind | None) -> Cost:
        return Cost(kind, None if amount is None else Decimal(amount), "USD")

    flow = Flow(start, end, A, B, Decimal(1))
    where = B if moved == start else A
    return WhatIf(flow, Move(moved, where), cost(before, route), cost(after, Kind.WITHIN_REGION))


def test_a_pair_is_told_once_with_the_move_that_saves_most() -> None:
    rows = [
        what_if("i-1", "i-2", "i-1", "161.34", "20"),
        what_if("i-1", "i-2", "i-2", "161.34", "0"),
        what_if("i-3", "i-4", "i-3", "0.50", "0"),  # nobody moves anything for that
        what_if("i-5", "i-6", "i-5", None, None),  # not measured
        what_if("i-7", "i-8", "i-7", "900", "0", Kind.INTER_REGION),
    ]
    [found] = costly_pairs(rows, {"i-1": "api", "i-2": "worker"})
    assert (found.kind, found.resource) == ("cross-AZ pair", "api → worker")
    assert (found.amount, found.currency) == (Decimal("161.34"), "USD")
    assert "with worker in eu-west-3a: 0.00 USD" in found.sentence


def test_routes_of_the_bill_and_moves_elsewhere_are_no_pairs() -> None:
    here, there = (
        Place("aws", "eu-west-3", f"{ONE_ZONE}eu-west-3"),
        Place("aws", "eu-west-3", "x"),
    )
    crossing, free = (
        Cost(Kind.CROSS_ZONE, Decimal(900), "USD"),
        Cost(Kind.WITHIN_REGION, Decimal(0), "USD"),
    )
    route = WhatIf(
        Flow("EC2", "other", here, there, Decimal(1)), Move("EC2", there), crossing, free
    )
    pair = Flow("i-1", "i-2", A, B, Decimal(1))
    elsewhere = WhatIf(pair, Move("i-1", Place("oci", "eu-frankfurt-1")), crossing, free)
    assert costly_pairs([route, elsewhere], {}) == []


amounts = st.decimals(0, 500, places=2).map(str)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), amounts, amounts)))
def test_what_would_save_nothing_is_never_told(given_: list[tuple[str, str, str, str]]) -> None:
    found = costly_pairs([what_if(a, b, a, was, now) for a, b, was, now in given_], {})
    assert len(found) <= 3
    assert len({f.resource for f in found}) == len(found)
    worth = {f"{a} → {b}" for a, b, was, now in given_ if Decimal(was) - Decimal(now) >= 1}
    assert {f.resource for f in found} <= worth
