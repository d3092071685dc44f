"""Migration waves: order, reasons, what crosses the border; and what holds for every estate."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.dependencies import kinds
from qafila.audit.dependencies.combined_edges import combine
from qafila.audit.dependencies.criticality import Criticality
from qafila.audit.dependencies.kinds import EdgeKind
from qafila.audit.dependencies.waves import LARGEST, THRESHOLD, WavePlan, plan_waves
from qafila.audit.estate import Edge, Resource


def thing(identifier: str, kind: str = "ec2:instance", **tags: str) -> Resource:
    return Resource(identifier, kind, identifier, "eu-west-3", None, tags)


def calls(start: str, end: str, confidence: float = 0.8, kind: str = "calls") -> Edge:
    return Edge(start, end, kind, "test", confidence)


def members(plan: WavePlan) -> list[tuple[str, ...]]:
    return [wave.members for wave in plan.waves]


def reasons(plan: WavePlan) -> dict[str, str]:
    return {p.id: p.reason for wave in plan.waves for p in wave.positions}


def test_the_least_critical_goes_first_and_islands_stay_whole() -> None:
    plan = plan_waves(
        [
            thing("shop-api", app="shop"),
            thing("shop-db", app="shop"),
            thing("dev-box", env="dev"),
            thing("wiki", criticality="low"),
            thing("orders", criticality="high"),
        ],
        [calls("shop-api", "shop-db")],
    )
    assert members(plan) == [("dev-box",), ("wiki",), ("shop-api", "shop-db"), ("orders",)]
    assert [w.criticality for w in plan.waves] == [
        Criticality.LOW,
        Criticality.LOW,
        Criticality.MEDIUM,
        Criticality.HIGH,
    ]
    assert all(not wave.crossing for wave in plan.waves)
    assert reasons(plan) == {
        "dev-box": "alone: nothing depends on it",
        "wiki": "alone: nothing depends on it",
        "shop-api": "with shop-db: shop-api calls shop-db",
        "shop-db": "with shop-api: shop-api calls shop-db",
        "orders": "alone: nothing depends on it",
    }
    assert plan.waves[0].reason == (
        "low criticality, before production (dev-box: environment dev); 1 thing, needs nothing "
        "outside itself; nothing begins to cross the border"
    )


def test_what_need_each_other_go_together() -> None:
    plan = plan_waves(
        [thing("a"), thing("b"), thing("c")],
        [calls("a", "b"), calls("b", "c"), calls("c", "a")],
        largest=1,
    )
    assert members(plan) == [("a", "b", "c")]
    assert reasons(plan)["a"] == (
        "goes with b and c: they call each other, directly or around a circle"
    )
    plan = plan_waves([thing("a"), thing("b")], [calls("a", "b"), calls("b", "a")])
    assert reasons(plan)["a"] == "goes with b: they call each other"


def test_a_disk_goes_with_its_instance() -> None:
    plan = plan_waves(
        [thing("i-1", criticality="high"), thing("vol-1", "ec2:volume", criticality="low")],
        [Edge("i-1", "vol-1", "attaches", "ec2 volume attachment", 1.0)],
    )
    assert members(plan) == [("i-1", "vol-1")]
    assert reasons(plan)["vol-1"] == "goes with i-1: one is attached to the other"


def test_what_is_needed_stands_before_what_needs_it_and_the_border_is_told() -> None:
    resources = [thing("orders-db", criticality="low"), thing("orders-api", criticality="high")]
    plan = plan_waves(resources, [calls("orders-api", "orders-db", kind="reads")])
    assert members(plan) == [("orders-db",), ("orders-api",)]
    assert reasons(plan) == {
        "orders-db": "before what needs it: orders-api reads orders-db, across the border until "
        "wave 2",
        "orders-api": "after wave 1: orders-api reads orders-db, which stands there",
    }
    (crossing,) = plan.waves[0].crossing
    assert (crossing.edge.from_id, crossing.until) == ("orders-api", 2)
    assert plan.crossing_after(1) == (crossing,)
    assert plan.crossing_after(2) == ()
    assert "1 edge goes across the border until wave 2" in plan.waves[0].reason


def test_a_low_reader_waits_for_the_critical_database_it_needs() -> None:
    plan = plan_waves(
        [thing("export", criticality="low"), thing("db", criticality="high")],
        [calls("export", "db")],
    )
    assert members(plan) == [("db", "export")]
    assert plan.waves[0].criticality is Criticality.HIGH


def test_an_untold_database_is_as_critical_as_what_reads_it() -> None:
    plan = plan_waves(
        [thing("api", criticality="low"), thing("db"), thing("other")], [calls("api", "db")]
    )
    assert members(plan) == [("api", "db"), ("other",)]


def test_five_dependents_make_a_thing_critical_unless_somebody_says_otherwise() -> None:
    readers = [thing(f"r{n}", criticality="low") for n in range(5)]
    edges = [calls(r.id, "db") for r in readers]
    assert plan_waves([*readers, thing("db")], edges).waves[0].criticality is Criticality.HIGH
    told = plan_waves([*readers, thing("db", criticality="low")], edges)
    assert told.waves[0].criticality is Criticality.LOW


def test_the_workload_file_says_how_critical_an_application_is() -> None:
    plan = plan_waves(
        [thing("a", app="docs"), thing("b", app="shop")],
        [],
        criticality_of={"docs": "high", "shop": "low"},
    )
    assert members(plan) == [("b",), ("a",)]
    assert "b: workload shop" in plan.waves[0].reason


def test_weak_signs_inform_and_do_not_bind() -> None:
    resources = [thing("a", criticality="low"), thing("b", criticality="high")]
    edges = [calls("a", "b", 0.4, "network-allows"), calls("a", "b", 0.9, "same-tag")]
    plan = plan_waves(resources, edges)
    assert members(plan) == [("a",), ("b",)]
    assert reasons(plan)["a"] == (
        "alone: nothing depends on it; known but not binding below 0.50: network-allows to b (0.40)"
    )
    assert members(plan_waves(resources, edges, threshold=0.4)) == [("a", "b")]
    assert (
        "same-tag to b (0.20)"
        in reasons(plan_waves(resources, [calls("a", "b", 0.2, "same-tag")]))["a"]
    )


def test_applications_move_whole_when_asked() -> None:
    resources = [thing("a1", app="x"), thing("a2", app="x"), thing("b", app="y")]
    edges = [calls("a1", "b"), calls("b", "a2")]
    plan = plan_waves(resources, edges, group_by_app=True, largest=1)
    assert members(plan) == [("a1", "a2", "b")]
    plan = plan_waves(resources[:2], [], group_by_app=True, largest=1)
    assert reasons(plan)["a1"] == "goes with a2: all of application x moves together"


def test_a_reason_speaks_of_the_thing_it_is_about() -> None:
    hub = [
        thing("hub", criticality="low"),
        thing("r1", criticality="medium"),
        thing("r2"),
        thing("r3", criticality="high"),
    ]
    plan = plan_waves(hub, [calls(r.id, "hub") for r in hub[1:]])
    assert reasons(plan)["hub"] == (
        "before what needs it: r3 calls hub, across the border until wave 3, as 2 more do until "
        "then or earlier"
    )
    assert "3 edges go across the border until wave 3 at the latest" in plan.waves[0].reason
    # two that cannot be parted: the tag is the second one's
    pair = [thing("a"), thing("b", criticality="high"), thing("reader", criticality="low")]
    edges = [calls("a", "b"), calls("b", "a"), calls("reader", "a")]
    first, second = plan_waves(pair, edges, largest=2).waves
    assert first.reason.startswith("high criticality (b: its tag criticality); 2 things")
    assert second.reason.startswith(
        "high criticality (it cannot go before b: its tag criticality); 1 thing"
    )


def test_what_stays_is_told_where_it_calls_or_is_needed() -> None:
    plan = plan_waves(
        [thing("api", criticality="low")],
        [
            calls("internet", "api", 0.9),
            calls("api", "host:bank.example.org"),
            calls("stack:s", "api", 0.9, "deploys"),
        ],
    )
    assert reasons(plan)["api"] == (
        "alone: nothing that moves depends on it (api calls bank.example.org, internet calls api); "
        "known but of a kind that never binds: deploys from s (0.90)"
    )
    assert "needs nothing outside itself but what stays (bank.example.org)" in (
        plan.waves[0].reason
    )


def test_what_is_not_ours_stays_and_is_told() -> None:
    plan = plan_waves(
        [thing("api"), thing("sg-1", "ec2:security-group"), thing("role", "iam:role")],
        [
            calls("service:checkout", "api"),
            calls("api", "host:api.example.org"),
            calls("internet", "api", 0.9),
            calls("stack:s", "api", 0.9, "deploys"),
        ],
    )
    assert members(plan) == [("api", "service:checkout")]
    assert {p.id: p.reason for p in plan.staying} == {
        "host:api.example.org": "not ours: it stays where it is",
        "internet": "the internet",
        "role": "made anew in the target, not moved",
        "sg-1": "made anew in the target, not moved",
        "stack:s": "describes resources; made anew in the target",
    }
    (crossing,) = plan.waves[0].crossing
    assert (crossing.edge.to_id, crossing.until) == ("host:api.example.org", None)
    assert plan.number_of("api") == 1
    assert plan.number_of("internet") is None
    assert plan.as_rows()[1]["name"] == "checkout"


def test_a_large_island_is_cut_where_nothing_moves_before_what_it_needs() -> None:
    readers = [thing(f"r{n:02}") for n in range(30)]
    plan = plan_waves([*readers, thing("db")], [calls(r.id, "db") for r in readers], largest=10)
    assert [len(w.positions) for w in plan.waves] == [10, 10, 10, 1]
    assert "db" in plan.waves[0].members
    assert len(plan.crossing_after(1)) == 21
    assert len(plan.crossing_after(2)) == 11


@pytest.mark.parametrize("bad", [{"threshold": 0.0}, {"threshold": 1.1}, {"largest": 0}])
def test_what_cannot_be_meant_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="threshold"):
        plan_waves([], [], **bad)  # type: ignore[arg-type]


def test_the_page_tells_every_kind_and_confidence() -> None:
    root = Path(__file__).parents[4]
    page = (root / "docs/explanation/migration-waves.md").read_text()
    assert all(f"`{kind}`" in page for kind in EdgeKind)
    told = {float(c) for c in re.findall(r"\| (\d\.\d+) \|", page)}
    believed = {v for k, v in vars(kinds).items() if k.isupper() and isinstance(v, float)}
    assert told == believed
    assert f"threshold, {THRESHOLD}," in page
    assert f"Above {LARGEST} members" in page


NODES = [f"n{n}" for n in range(9)]
TAGS = st.fixed_dictionaries(
    {},
    optional={
        "criticality": st.sampled_from(["low", "medium", "high", "?"]),
        "env": st.sampled_from(["dev", "staging", "production"]),
        "app": st.sampled_from(["x", "y"]),
    },
)
ESTATES = st.tuples(
    st.lists(st.tuples(st.sampled_from(NODES), TAGS), unique_by=lambda t: t[0], max_size=9),
    st.lists(
        st.builds(
            Edge,
            st.sampled_from([*NODES, "internet", "service:s"]),
            st.sampled_from([*NODES, "host:h", "service:s"]),
            st.sampled_from(list(EdgeKind)),
            st.just("test"),
            st.sampled_from([0.2, 0.4, 0.5, 0.9, 1.0]),
        ),
        max_size=25,
    ),
    st.booleans(),
    st.integers(1, 6),
    st.sampled_from([0.3, 0.5, 0.9]),
)


@settings(max_examples=200, deadline=None)
@given(ESTATES, st.randoms())
def test_of_every_estate(estate, shuffled) -> None:  # type: ignore[no-untyped-def]
    """Each node once; nothing binding leads to a later wave; every crossing told; no order."""
    named, edges, by_app, largest, threshold = estate
    resources = [thing(name, **tags) for name, tags in named]
    options = {"group_by_app": by_app, "largest": largest, "threshold": threshold}
    plan = plan_waves(resources, edges, **options)

    placed = Counter(m for wave in plan.waves for m in wave.members)
    stays = {p.id for p in plan.staying}
    everything = {r.id for r in resources} | {i for e in edges for i in (e.from_id, e.to_id)}
    assert placed.keys() | stays == everything
    assert not placed.keys() & stays
    assert all(count == 1 for count in placed.values())

    wave_of = {m: wave.number for wave in plan.waves for m in wave.members}
    binding = [
        e
        for e in combine(edges)
        if e.confidence >= threshold
        and e.kind not in ("same-tag", "deploys")
        and e.from_id in wave_of
        and e.to_id in wave_of
    ]
    assert all(wave_of[e.from_id] >= wave_of[e.to_id] for e in binding)
    # the first wave needs nothing that moves later
    assert all(wave_of[e.to_id] == 1 for e in binding if wave_of[e.from_id] == 1)
    # a circle is in one wave, and so is a thing with what is attached to it
    drawn = nx.DiGraph([(e.from_id, e.to_id) for e in binding])
    drawn.add_edges_from((e.to_id, e.from_id) for e in binding if e.kind == "attaches")
    circles = list(nx.strongly_connected_components(drawn))
    assert all(len({wave_of[m] for m in circle}) == 1 for circle in circles)
    told = {(c.edge, c.until) for wave in plan.waves for c in wave.crossing if c.until}
    assert told == {
        (e, wave_of[e.from_id]) for e in binding if wave_of[e.from_id] != wave_of[e.to_id]
    }
    assert [w.criticality for w in plan.waves] == sorted(w.criticality for w in plan.waves)
    assert all(p.reason for wave in plan.waves for p in wave.positions)

    again, other = list(resources), list(edges)
    shuffled.shuffle(again)
    shuffled.shuffle(other)
    assert plan_waves(again, other, **options) == plan
