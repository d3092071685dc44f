"""What changed between two audits: nothing that was not seen whole is new, and nothing is gone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.estate import Collected, Edge, Outcome, Resource
from qafila.audit.inventory.difference import (
    CHANGED,
    GONE,
    NEW,
    NOT_JUDGED,
    Seen,
    ServiceSpend,
    Snapshot,
    compare,
    state_in,
    state_of,
)
from qafila.audit.inventory.storable import LONGEST, LONGEST_ID, storable, storable_part
from qafila.decision.drift_rules import LineItem


def snapshot(
    *,
    resources: Mapping[str, Mapping[str, Any]] = {},
    outcome: str = "complete",
    spend: Mapping[str, str] | None = None,
    currency: str = "EUR",
) -> Snapshot:
    return Snapshot(
        audit_id=1,
        at="2026-11-01T12:00:00+00:00",
        resources=tuple(
            Seen(
                name,
                "ec2:instance",
                name,
                "r",
                "ec2",
                facts.get("size"),
                {},
                {k: v for k, v in facts.items() if k != "size"},
            )
            for name, facts in resources.items()
        ),
        outcomes={("ec2", "", "r"): outcome},
        currency=currency,
        period=None if spend is None else "2026-10",
        state="closed",
        spend=tuple(
            ServiceSpend(name, (LineItem(name, Decimal(amount)),))
            for name, amount in (spend or {}).items()
        ),
    )


def test_what_nobody_asked_for_this_time_is_not_gone_and_was_not_new() -> None:
    limited = state_of("complete", "n: longer; looked only into namespace shop, as asked")
    other = state_of("complete", "looked only into namespace web, as asked")
    assert limited == "complete: looked only into namespace shop, as asked"
    assert state_of("complete", "sizes are taken from elsewhere") == "complete"
    old, none = {"one": {}}, {}  # type: dict[str, dict[str, Any]], dict[str, dict[str, Any]]
    for before, now, gone, new in (
        ("complete", limited, NOT_JUDGED, NEW),
        (limited, "complete", GONE, NOT_JUDGED),
        (limited, limited, GONE, NEW),
        (limited, other, NOT_JUDGED, NOT_JUDGED),
    ):
        told = compare(
            snapshot(resources=old, outcome=before), snapshot(resources=none, outcome=now)
        )
        assert [c.what for c in told.resources] == [gone]
        told = compare(
            snapshot(resources=none, outcome=before), snapshot(resources=old, outcome=now)
        )
        assert [c.what for c in told.resources] == [new]
        assert len(told.outcomes) == (before != now)


def test_new_gone_and_changed_are_told_apart() -> None:
    before = snapshot(resources={"kept": {"type": "a"}, "same": {"type": "x"}, "old": {}})
    now = snapshot(resources={"kept": {"type": "b"}, "same": {"type": "x"}, "fresh": {}})
    told = {(c.id, c.what, c.detail) for c in compare(before, now).resources}
    assert told == {
        ("fresh", NEW, "was not there at the last audit"),
        ("old", GONE, "is not there any more"),
        ("kept", CHANGED, "type a → b"),
    }


def test_what_a_service_measures_anew_each_time_is_no_change() -> None:
    before = snapshot(resources={"a": {"cpu_average": 3.2, "size": 1000}})
    now = snapshot(resources={"a": {"cpu_average": 9.9, "size": 1005}})
    assert compare(before, now).count(CHANGED) == 0


@given(
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.sampled_from("abcdef")),
    st.sampled_from(Outcome),
    st.sampled_from(Outcome),
)
def test_nothing_is_ever_gone_or_new_where_one_audit_could_not_see(
    old: set[str], new: set[str], then: Outcome, now: Outcome
) -> None:
    difference = compare(
        snapshot(resources={n: {} for n in old}, outcome=then.value),
        snapshot(resources={n: {} for n in new}, outcome=now.value),
    )
    assert difference.count(GONE) == (len(old - new) if now is Outcome.COMPLETE else 0)
    assert difference.count(NEW) == (len(new - old) if then is Outcome.COMPLETE else 0)
    assert len(difference.resources) == len(old ^ new)
    assert bool(difference.outcomes) == (then is not now)
    assert difference.count(NOT_JUDGED) + difference.count(GONE) + difference.count(NEW) == len(
        old ^ new
    )


places = st.tuples(
    st.sampled_from(["ec2", "s3"]),
    st.sampled_from(["", "1111", "2222"]),
    st.sampled_from(["", "eu-west-3", "eu-west-3 (2)", "us-east-1"]),
)
things = st.lists(
    st.builds(
        Seen,
        st.uuids().map(str),
        st.just("k"),
        st.just("n"),
        st.sampled_from(["eu-west-3", "us-east-1"]),
        st.sampled_from(["ec2", "s3", ""]),
        account=st.sampled_from(["", "1111", "2222"]),
    ),
    max_size=6,
)


@given(things, st.dictionaries(places, st.sampled_from([o.value for o in Outcome])))
def test_what_a_collector_did_not_see_whole_is_never_gone_and_never_new(
    seen: list[Seen], outcomes: dict[tuple[str, str, str], str]
) -> None:
    nothing = Snapshot(2, "", (), outcomes)
    all_of_it = Snapshot(1, "", tuple(seen), {})
    gone = {c.id for c in compare(all_of_it, nothing).resources if c.what == GONE}
    new = {c.id for c in compare(nothing, all_of_it).resources if c.what == NEW}
    assert gone == new
    for one in seen:
        states = {
            state
            for (collector, account, region), state in outcomes.items()
            if collector == one.collector
            and account in ("", one.account)
            and region.removesuffix(" (2)") in ("", one.region)
        }
        assert (one.id in gone) == (states == {"complete"})


def test_a_month_whose_state_nobody_knows_is_not_called_open() -> None:
    told = compare(
        replace(snapshot(spend={"a": "1"}), state="not known"), snapshot(spend={"a": "2"})
    )
    assert told.spend_note == (
        "spend of 2026-10 in both audits (whether closed is not known then, closed now)"
    )
    body = {"period": "2026-10", "currency": "EUR", "period_closed": False}
    periods = [
        {"period": "2026-10", "currency": c, "state": s}
        for c, s in (("USD", "closed"), ("EUR", "open"))
    ]
    assert state_in({**body, "periods": periods}) == "open"
    assert state_in(body) == "not known"
    assert state_in({**body, "period_closed": True}) == "closed"


amounts = st.dictionaries(
    st.sampled_from(["ec2", "s3", "rds"]), st.decimals(0, 1000, places=6).map(str), min_size=1
)


@given(amounts, amounts)
def test_the_parts_of_a_change_of_spend_always_add_up(
    old: dict[str, str], new: dict[str, str]
) -> None:
    difference = compare(snapshot(spend=old), snapshot(spend=new))
    total = difference.spend_total
    assert total is not None
    parts = (total.price or 0) + (total.volume or 0) + (total.mix or 0)
    assert total.after - total.before == (
        parts + total.new_items + total.gone_items + total.unexplained
    )
    assert total.after - total.before == sum((Decimal(a) for a in new.values()), Decimal(0)) - sum(
        (Decimal(a) for a in old.values()), Decimal(0)
    )
    assert sum((c.after - c.before for c in difference.spend), Decimal(0)) == (
        total.after - total.before
    )


def test_two_currencies_and_a_missing_bill_are_not_compared() -> None:
    mixed = compare(snapshot(spend={"a": "1"}), snapshot(spend={"a": "1"}, currency="USD"))
    assert mixed.spend_total is None
    assert "never added" in mixed.spend_note
    none = compare(snapshot(), snapshot(spend={"a": "1"}))
    assert none.spend_total is None
    assert "read no bill" in none.spend_note


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_what_is_kept_is_always_json_without_nul(value: Any) -> None:
    import json

    kept = json.dumps(storable(value), allow_nan=False)
    assert "\\u0000" not in kept
    kept.encode()


def test_a_tag_of_megabytes_is_cut_and_an_identifier_stays_unique() -> None:
    long = "x" * 10_000_000
    part = storable_part(
        Collected(
            "ec2",
            "r",
            Outcome.COMPLETE,
            (
                Resource(long + "1", "k", long, "r", None, {"t": long}),
                Resource(long + "2", "k", "n\x00", "r"),
            ),
            (Edge(long + "1", long + "2", "calls", "s", 1.0),),
            1,
        )
    )
    one, two = part.resources
    assert one.id != two.id
    assert max(len(one.id), len(two.id)) <= LONGEST_ID
    assert (part.edges[0].from_id, part.edges[0].to_id) == (one.id, two.id)
    assert len(one.tags["t"]) < LONGEST + 50
    assert one.tags["t"].endswith("(cut, 10000000 characters)")
    assert "\x00" not in two.name
