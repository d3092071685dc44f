"""The picture of an estate: bounded, well-formed, and names that stay names."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.audit.dependencies.derived_edges import edges_of
from qafila.audit.dependencies.waves import plan_waves
from qafila.audit.estate import Edge, Resource
from qafila.report.estate_nodes import MOST_LINKS, MOST_NODES, draw, shown
from qafila.report.estate_picture import picture


def thing(identifier: str, name: str = "", **tags: str) -> Resource:
    return Resource(identifier, "ec2:instance", name or identifier, "eu-west-3", None, tags)


def calls(start: str, end: str, kind: str = "calls", confidence: float = 0.8) -> Edge:
    return Edge(start, end, kind, "test", confidence)


def drawn(resources: list[Resource], edges: list[Edge]) -> Any:
    return draw(plan_waves(resources, edges), resources, edges)


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter() if e.tag.endswith("}text")]


def test_things_stand_in_their_waves_with_what_leads_between_them() -> None:
    resources = [thing("api", criticality="high"), thing("db", criticality="low")]
    edges = [
        calls("api", "db", "reads", 0.9),
        calls("api", "db", "reads", 0.5),
        calls("api", "host:api.example.org"),
        calls("api", "db", "same-tag", 0.2),
    ]
    found = drawn(resources, edges)
    assert found.columns == (
        ("wave 1", "low criticality"),
        ("wave 2", "high criticality"),
        ("stays where it is", "not ours, or the internet"),
    )
    assert [(n.label, n.column, n.criticality, n.stays) for n in found.nodes] == [
        ("db", 0, "low", False),
        ("api", 1, "high", False),
        ("api.example.org", 2, "", True),
    ]
    assert [(e.start, e.end, e.kind, e.confidence) for e in found.links] == [
        ("api", "db", "reads", 0.9),
        ("api", "host:api.example.org", "calls", 0.8),
    ]
    svg = picture(plan_waves(resources, edges), resources, edges)
    assert svg is not None
    assert {"wave 1", "wave 2", "db", "api", "api.example.org", "reads"} <= set(texts(svg))


def test_disks_are_drawn_with_the_machine_that_alone_touches_them() -> None:
    disk, shared, spare = (
        Resource(n, "ec2:volume", n, "eu-west-3", 8 << 30) for n in ("disk", "shared", "spare")
    )
    resources = [thing("api"), thing("worker"), disk, shared, spare]
    edges = [
        calls("api", "disk", "attaches", 1.0),
        calls("api", "shared", "attaches", 1.0),
        calls("worker", "shared", "attaches", 1.0),
    ]
    found = drawn(resources, edges)
    below = {n.label: n.below for n in found.nodes}
    assert below == {
        "api": "ec2:instance · 1 disk",
        "worker": "ec2:instance",
        "shared": "ec2:volume",
        "spare": "ec2:volume",
    }
    assert {(e.start, e.end) for e in found.links} == {("api", "shared"), ("worker", "shared")}
    assert found.note == "disks are drawn with the one thing that they are attached to"


def test_nothing_to_move_is_no_picture() -> None:
    assert picture(plan_waves([], []), [], []) is None


def test_names_with_markup_stay_names() -> None:
    resources = [
        thing("a", "<script>alert(1)</script>"),
        thing("b", "x' onload='y"),
        thing("c", "]]>&"),
    ]
    svg = picture(plan_waves(resources, []), resources, [])
    assert svg is not None
    assert "<script" not in svg
    assert {"x' onload='y", "]]>&"} <= set(texts(svg))
    assert any(text.startswith("<script>al") for text in texts(svg))
    assert not any(k.startswith("on") for e in ET.fromstring(svg).iter() for k in e.attrib)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_no_name_ever_breaks_the_picture(names: list[str]) -> None:
    resources = [thing(f"i-{n}", name) for n, name in enumerate(names)]
    svg = picture(plan_waves(resources, []), resources, [])
    assert svg is not None
    ET.fromstring(svg)
    assert re.search(r"<(script|foreignObject|a|image)\b", svg) is None


@settings(deadline=None)
@given(st.text())
def test_a_name_is_always_short_and_printable(name: str) -> None:
    assert len(shown(name)) <= 24
    assert not any(ord(c) < 32 for c in shown(name))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 12), st.integers(0, 600), st.randoms())
def test_a_large_estate_is_drawn_as_a_bounded_number_of_groups(count, apps, links, rng) -> None:  # type: ignore[no-untyped-def]
    resources = [
        thing(f"n{n}", app=f"app{n % apps}", env=rng.choice(["dev", "production"]))
        for n in range(count)
    ]
    edges = [
        calls(
            f"n{rng.randrange(count)}", f"n{rng.randrange(count)}", rng.choice(["calls", "reads"])
        )
        for _ in range(links)
    ]
    found = drawn(resources, edges)
    assert 0 < len(found.nodes) <= MOST_NODES
    assert len(found.links) <= MOST_LINKS
    assert len(found.columns) <= 7
    keys = {n.key for n in found.nodes}
    assert all(e.start in keys and e.end in keys for e in found.links)
    assert all(n.column < len(found.columns) for n in found.nodes)
    if count > MOST_NODES:
        assert found.note.startswith(f"{count} things as {len(found.nodes)} groups")


def test_the_same_plan_is_always_the_same_picture() -> None:
    resources = [thing(f"n{n}", app=f"a{n % 7}") for n in range(80)]
    edges = [calls(f"n{n}", f"n{n // 2}") for n in range(1, 80)]
    one = picture(plan_waves(resources, edges), resources, edges)
    back = resources[::-1], edges[::-1]
    assert picture(plan_waves(*back), *back) == one
    assert edges_of(*back) == edges_of(resources, edges)
