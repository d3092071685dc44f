"""Edges: what connection strings name, what resources show, and how sources combine."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qafila.audit.dependencies.combined_edges import combine
from qafila.audit.dependencies.derived_edges import derive_edges, edges_of
from qafila.audit.dependencies.directory import Directory
from qafila.audit.dependencies.endpoints import Endpoint, endpoint_of
from qafila.audit.dependencies.kinds import EdgeKind, name_of_node
from qafila.audit.dependencies.ranges import Ranges
from qafila.audit.dependencies.waves import plan_waves
from qafila.audit.estate import Edge, Resource


def resource(
    identifier: str,
    kind: str = "ec2:instance",
    *,
    tags: dict[str, str] | None = None,
    name: str = "",
    **facts: object,
) -> Resource:
    return Resource(identifier, kind, name or identifier, "eu-west-3", None, tags or {}, facts)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "postgres://u:p@db.example.org:5432/orders?sslmode=require",
            Endpoint("db.example.org", 5432, "orders", "postgres"),
        ),
        ("postgresql://db/orders", Endpoint("db", None, "orders", "postgresql")),
        (
            "postgresql+psycopg://u:p@DB.Example.org/orders",
            Endpoint("db.example.org", None, "orders", "postgresql+psycopg"),
        ),
        (
            "postgresql:///orders?host=db.example.org&port=5433&password=x",
            Endpoint("db.example.org", 5433, "orders", "postgresql"),
        ),
        (
            "jdbc:mysql://db.example.org:3306/shop?user=u&password=p",
            Endpoint("db.example.org", 3306, "shop", "mysql"),
        ),
        (
            "jdbc:sqlserver://db.example.org:1433;databaseName=shop;user=sa;password={a;b}",
            Endpoint("db.example.org", 1433, "shop", "sqlserver"),
        ),
        (
            "jdbc:oracle:thin:u/p@//db.example.org:1521/ORCL",
            Endpoint("db.example.org", 1521, "ORCL", "oracle"),
        ),
        (
            "mongodb://u:p@a.example.org:27017,b.example.org:27017/chats?replicaSet=r",
            Endpoint("a.example.org", 27017, "chats", "mongodb"),
        ),
        ("redis://:secret@cache:6379/0", Endpoint("cache", 6379, "0", "redis")),
        (
            "https://api.example.org/v1/things?token=t",
            Endpoint("api.example.org", None, None, "https"),
        ),
        ("http://[fd00::1]:8080/", Endpoint("fd00::1", 8080, None, "http")),
        (
            "host=db.example.org port=5432 dbname=orders user=u password='a b'",
            Endpoint("db.example.org", 5432, "orders"),
        ),
        (
            "Server=tcp:db.example.org,1433;Initial Catalog=shop;User ID=u;Password=p;",
            Endpoint("db.example.org", 1433, "shop"),
        ),
        ("db.example.org:5432", Endpoint("db.example.org", 5432)),
        (
            "shop.cluster-abc.eu-west-3.rds.amazonaws.com",
            Endpoint("shop.cluster-abc.eu-west-3.rds.amazonaws.com"),
        ),
        # what names no host, or could be read in two ways
        ("", None),
        ("info", None),
        ("1.2.3", None),
        ("eu-west-3", None),
        ("true", None),
        ("eyJhbGciOi.eyJzdWIiOi.SflKxwRJSM", None),
        ("postgres://u:pa/ss@db.example.org/orders", None),
        ("postgres://u:pa?ss@db.example.org/orders", None),
        ("postgres://db.example.org/orders?password=a@b.example.org", None),
        ("postgres://user:secret", None),
        ("Zq9fK://x7Tw", None),  # a secret that has the form of a URL
        ("neo4j+s://graph.example.org:7687", Endpoint("graph.example.org", 7687, None, "neo4j+s")),
        ("kafka://broker.example.org:9092", Endpoint("broker.example.org", 9092, None, "kafka")),
        ("host=db.example.org password='open", None),
        ('Password="abc;Server=evil.example.org', None),
        ("x" * 5000, None),
        ("postgres://u:p@db.example.org:99999/x", None),
        ("://", None),
        ("a=b=c", None),
        ("host=", None),
        ("http://", None),
    ],
)
def test_a_connection_string_is_read_for_names_only(value: str, expected: Endpoint | None) -> None:
    assert endpoint_of(value) == expected


_PLACES = st.sampled_from([("db.example.org", 5432, "orders"), ("cache", 6379, "x")])
# Of characters and a length that stand nowhere else in what is read.
_PASSWORDS = st.text("QZ7" + string.punctuation + " \té", min_size=1, max_size=12).map(
    lambda inner: f"QQZZ{inner}ZZQQ"
)
_FORMS = (
    lambda h, p, d, s: f"postgresql://app:{quote(s, safe='')}@{h}:{p}/{d}",
    lambda h, p, d, s: f"postgresql://app:{s}@{h}:{p}/{d}",  # not escaped, as people write it
    lambda h, p, d, s: f"postgresql://{h}:{p}/{d}?user=app&password={s}",
    lambda h, p, d, s: f"jdbc:postgresql://{h}:{p}/{d}?password={quote(s, safe='')}",
    lambda h, p, d, s: f"jdbc:sqlserver://{h}:{p};databaseName={d};password={s}",
    lambda h, p, d, s: f"jdbc:oracle:thin:app/{s}@//{h}:{p}/{d}",
    lambda h, p, d, s: f"host={h} port={p} dbname={d} user=app password={s}",
    lambda h, p, d, s: f"password={s} host={h} port={p}",
    lambda h, p, d, s: f"host={h} password='{s}' dbname={d}",
    lambda h, p, d, s: f"Server={h},{p};Database={d};User Id=app;Password={s};",
    lambda h, p, d, s: f"Password={s};Server={h};Database={d}",
    lambda h, p, d, s: f"redis://:{s}@{h}:{p}/0",
    lambda h, p, d, s: f"amqp://{s}:{s}@{h}:{p}",
    lambda h, p, d, s: f"mongodb://app:{s}@{h}:{p},other.example.org:{p}/{d}",
    lambda h, p, d, s: s,
)


@settings(deadline=None)
@given(_PLACES, _PASSWORDS, st.sampled_from(_FORMS))
@example(("db.example.org", 5432, "orders"), "QQZZ://ZZQQ", _FORMS[-1])
def test_a_password_never_occurs_in_what_is_read(place, password, form) -> None:  # type: ignore[no-untyped-def]
    found = endpoint_of(form(*place, password))
    assert found is None or "qqzz" not in str(found.as_fact()).lower()
    assert found is None or "zzqq" not in str(found.as_fact()).lower()


@settings(deadline=None)
@given(_PLACES, st.text(string.ascii_letters + string.digits, min_size=1, max_size=20))
def test_a_plain_password_does_not_hide_the_host(
    place: tuple[str, int, str], password: str
) -> None:
    host, port, database = place
    found = endpoint_of(f"postgresql://app:{password}@{host}:{port}/{database}")
    assert found == Endpoint(host, port, database, "postgresql")


def test_sources_of_one_edge_combine() -> None:
    early, late = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)
    (edge,) = combine(
        [
            Edge("a", "b", "calls", "environment DB", 0.8),
            Edge("a", "b", "calls", "traces", 0.95, late),
            Edge("a", "b", "calls", "traces", 0.9, early),  # the same source counts once
        ]
    )
    # 1 - .2 * .05 = .99
    assert edge == Edge("a", "b", "calls", "environment DB; traces", 0.99, late)


def test_many_sources_are_named_up_to_a_bound() -> None:
    (edge,) = combine([Edge("a", "b", "calls", f"s{n}", 0.1) for n in range(9)])
    assert edge.source == "s0; s1; s2; s3; s4; s5; and 3 more"


_EDGES = st.lists(
    st.builds(
        Edge,
        st.sampled_from("abc"),
        st.sampled_from("abc"),
        st.sampled_from(list(EdgeKind)),
        st.sampled_from(["one", "two", "three"]),
        st.floats(0.001, 1.0),
        st.none() | st.datetimes(timezones=st.just(UTC)),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(_EDGES, st.randoms())
def test_combining_never_loses_an_edge_or_doubts_it_more_and_order_is_nothing(
    edges: list[Edge], shuffled
) -> None:  # type: ignore[no-untyped-def]
    combined = combine(edges)
    best = {}
    for e in edges:
        key = (e.from_id, e.to_id, e.kind)
        best[key] = max(best.get(key, 0.0), e.confidence)
    assert {(e.from_id, e.to_id, e.kind) for e in combined} == set(best)
    assert all(best[e.from_id, e.to_id, e.kind] <= e.confidence <= 1 for e in combined)
    again = list(edges)
    shuffled.shuffle(again)
    assert combine(again) == combined
    assert combine(combined) == combined


def test_edges_show_when_resources_lie_side_by_side() -> None:
    queue, secret = "arn:aws:sqs:eu-west-3:1:new", "arn:aws:secretsmanager:eu-west-3:1:secret:db"
    resources = [
        resource("db", "rds:instance", address="db.example.org"),
        resource(
            "fn",
            "lambda:function",
            event_sources=[queue],
            secrets=[secret],
            connections={"DSN": {"host": "DB.example.org.", "database": "orders"}},
        ),
        resource("api", "ecs:service", secrets=[secret], tags={"app": "orders"}),
        resource("web", tags={"app": "orders", "aws:cloudformation:stack-name": "s1"}),
        resource(queue, "sqs:queue"),
        resource("secret-1", "secretsmanager:secret", arn=secret),
        resource(
            "cdn",
            "cloudfront:distribution",
            origins=["images.s3.eu-west-3.amazonaws.com", "gone.example.org"],
        ),
        resource("images", "s3:bucket"),
        resource("alias", "kubernetes:service", external_names=["db.example.org", "gone"]),
    ]
    assert derive_edges(resources) == [
        Edge("alias", "db", "resolves", "external name of a Kubernetes service", 0.9),
        Edge("api", "fn", "shares-secret", "secret secret:db", 0.4),
        Edge("api", "secret-1", "reads", "secret in its configuration", 0.8),
        Edge("api", "web", "same-tag", "tag orders", 0.2),
        Edge("cdn", "images", "resolves", "CDN origin", 0.9),
        Edge("fn", queue, "reads", "event source", 0.9),
        Edge("fn", "db", "calls", "environment DSN, database orders", 0.8),
        Edge("fn", "secret-1", "reads", "secret in its configuration", 0.8),
        Edge("stack:s1", "web", "deploys", "tag of the stack", 0.9),
    ]


def test_a_group_that_thousands_wear_does_not_become_millions_of_edges() -> None:
    rule = [{"from": "sg", "port": "all"}]
    resources = [resource("sg", "ec2:security-group", allows_from=rule)]
    resources += [resource(f"i-{n}", security_groups=["sg"]) for n in range(2_000)]
    edges = derive_edges(resources)
    assert len(edges) == 4_000
    assert {e.to_id for e in edges if e.from_id == "i-7"} == {"sg"}


def test_direct_edges_find_the_resource_behind_an_arn_and_nothing_needs_itself() -> None:
    arn = "arn:aws:ec2:eu-west-3:1:instance/i-1"
    resources = [resource("i-1", arn=arn), resource("i-2")]
    direct = [
        Edge("i-2", arn, "calls", "x", 0.8),
        Edge("i-2", "i-1", "calls", "y", 0.5),
        Edge("i-1", arn, "calls", "x", 0.8),
    ]
    assert edges_of(resources, direct) == (Edge("i-2", "i-1", "calls", "x; y", 0.9),)


def test_one_thing_is_one_node_whatever_a_source_calls_it() -> None:
    resources = [
        resource("lb", "elb:load-balancer", address="lb-1.elb.amazonaws.com"),
        resource("db", "rds:instance", address="db.example.org"),
        resource("postgres:orders", "postgres:server", address="db.example.org"),
        resource("postgres:orders/main", "postgres:database"),
        resource("postgres:orders/client/10.0.0.5", "postgres:client", client_address="10.0.0.5"),
        resource("i-1", private_ip="10.0.0.5"),
        resource("eni-1", "ec2:network-interface", attached_to="i-1"),
        resource("svc", "ecs:service"),
        resource("def", "ecs:task-definition", hosts={"DB": "db.example.org"}),
    ]
    direct = [
        Edge("www.example.org", "shop.example.org", "resolves", "dns", 1.0),
        Edge("shop.example.org", "lb-1.elb.amazonaws.com", "resolves", "dns", 1.0),
        Edge("service:checkout", "host:www.example.org", "calls", "traces", 0.95),
        Edge("service:checkout", "host:api.example.com", "calls", "traces", 0.95),
        Edge("postgres:orders/client/10.0.0.5", "postgres:orders/main", "calls", "sessions", 0.9),
        Edge("i-1", "eni-1", "attaches", "ec2", 1.0),
        Edge("svc", "def", "deploys", "ecs", 1.0),
    ]
    assert [(e.from_id, e.to_id, e.kind) for e in edges_of(resources, direct)] == [
        ("i-1", "db", "calls"),
        ("name:shop.example.org", "lb", "resolves"),
        ("name:www.example.org", "lb", "resolves"),
        ("service:checkout", "host:api.example.com", "calls"),
        ("service:checkout", "lb", "calls"),
        ("svc", "db", "calls"),
        ("svc", "def", "deploys"),
    ]
    plan = plan_waves(resources, edges_of(resources, direct))
    assert {m for w in plan.waves for m in w.members} == {
        "lb",
        "db",
        "i-1",
        "svc",
        "service:checkout",
    }
    assert {p.id: p.reason for p in plan.staying}["def"] == "another view of svc"


def test_the_directory_finds_one_or_nobody() -> None:
    directory = Directory(
        [
            resource("i-1", private_ip="10.0.0.5", name="api"),
            resource("i-2", private_ip="10.0.0.6", name="twin"),
            resource("i-3", private_ip="10.0.0.6", name="twin"),
            resource(
                "eni-1",
                "ec2:network-interface",
                private_ips=["10.0.0.5", "10.0.0.9"],
                attached_to="i-1",
            ),
            resource("sg-1", "ec2:security-group", name="web"),
            resource("k/Deployment/shop", "kubernetes:deployment", name="shop"),
            resource("k/Service/shop", "kubernetes:service", name="shop"),
        ]
    )
    assert directory.by_ip("10.0.0.5") == directory.by_ip("10.0.0.9") == "i-1"
    assert directory.by_host("10.0.0.9") == "i-1"
    assert directory.by_ip("10.0.0.6") is None  # two have it: neither is guessed
    assert directory.by_name("API") == "i-1"
    assert directory.by_name("twin") is None
    assert directory.by_name("web") is None  # a group is never who calls
    assert directory.by_name("shop") == "k/Deployment/shop"


def test_a_node_without_a_resource_has_a_name() -> None:
    assert name_of_node("service:checkout", {}) == "checkout"
    assert name_of_node("i-1", {"i-1": "web-1"}) == "web-1"
    assert name_of_node("internet", {}) == "internet"
    assert name_of_node("arn:aws:sqs:eu-west-3:1:new", {}) == "new"


def network(name: str, cidr: str) -> Resource:
    return resource(name, "ec2:vpc", cidr=cidr)


def group(name: str, vpc: str, *ranges: str) -> Resource:
    rules = [{"range": r, "port": "443"} for r in ranges]
    return resource(name, "ec2:security-group", vpc=vpc, allows_from=[], allows_ranges=rules)


def allowed(resources: list[Resource]) -> set[tuple[str, str, str]]:
    return {
        (e.from_id, e.to_id, e.source)
        for e in derive_edges(resources)
        if e.kind == EdgeKind.NETWORK_ALLOWS
    }


def test_a_range_lets_in_what_has_an_address_in_it() -> None:
    estate = [
        network("vpc-1", "10.0.0.0/16"),
        group("sg", "vpc-1", "10.0.1.0/24", "pl-1234", "nonsense"),
        resource("db", vpc="vpc-1", private_ip="10.0.9.9", security_groups=["sg"]),
        resource("api", vpc="vpc-1", private_ip="10.0.1.5"),
        resource("far", vpc="vpc-1", private_ip="10.0.2.5"),
        resource(
            "eni",
            "ec2:network-interface",
            vpc="vpc-1",
            private_ips=["10.0.1.77"],
            attached_to="cache",
        ),
        resource("cache", "elasticache:cluster"),
    ]
    assert allowed(estate) == {
        ("api", "db", "sg port 443 from 10.0.1.0/24"),
        ("cache", "db", "sg port 443 from 10.0.1.0/24"),
    }


@pytest.mark.parametrize(
    ("said", "vpc", "peered", "seen"),
    [
        ("10.0.0.0/8", "vpc-2", False, False),  # its own network's addresses are in it, too
        ("10.0.0.0/8", "vpc-2", True, True),
        ("10.20.0.0/16", "vpc-2", False, True),  # no address of its own network
        ("10.20.0.0/16", "", False, True),  # where it stands is not known
        ("52.47.1.2/32", "vpc-2", False, True),
        ("fd00::/8", "vpc-2", False, False),
    ],
)
def test_a_range_says_nothing_of_a_network_that_it_cannot_mean(
    said: str, vpc: str, peered: bool, seen: bool
) -> None:
    estate = [
        network("vpc-1", "10.0.0.0/16"),
        network("vpc-2", "10.20.0.0/16"),
        group("sg", "vpc-1", said),
        resource("db", vpc="vpc-1", private_ip="10.0.9.9", security_groups=["sg"]),
        resource("other", vpc=vpc or None, private_ip="10.20.0.5", public_ip="52.47.1.2"),
    ]
    if peered:
        estate.append(
            resource("pcx", "ec2:vpc-peering-connection", requester="vpc-2", accepter="vpc-1")
        )
    assert ("other" in {start for start, _, _ in allowed(estate)}) == seen


def test_many_rules_are_still_only_permission() -> None:
    edges = [Edge("a", "b", "network-allows", f"sg port {p}", 0.4) for p in (22, 80, 443)]
    assert [e.confidence for e in combine(edges)] == [0.4]
    assert combine(edges)[0].source == "sg port 22; sg port 443; sg port 80"


def test_a_range_over_many_things_goes_through_its_group() -> None:
    estate = [group("sg", "vpc-1", "10.0.0.0/16")]
    estate += [
        resource(f"w{n}", vpc="vpc-1", private_ip=f"10.0.1.{n}", security_groups=["sg"])
        for n in range(40)
    ]
    estate += [resource(f"c{n}", vpc="vpc-1", private_ip=f"10.0.2.{n}") for n in range(40)]
    found = allowed(estate)
    assert len(found) == 80 + 40  # all let in, to the group; and from it to its forty
    assert all("sg" in (start, end) for start, end, _ in found)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2**16 - 1), max_size=12, unique=True),
    st.integers(16, 32),
    st.integers(0, 2**16 - 1),
)
def test_a_range_lets_in_exactly_the_addresses_that_it_holds(
    hosts: list[int], length: int, at: int
) -> None:
    import ipaddress

    base = int(ipaddress.ip_address("10.0.0.0"))
    said = ipaddress.ip_network((base + at, length), strict=False)
    things = {f"t{n}": ipaddress.ip_address(base + n) for n in hosts}
    ranges = Ranges([resource(i, vpc="vpc-1", private_ip=str(a)) for i, a in things.items()])
    assert ranges.inside(str(said), "vpc-1") == tuple(
        sorted(i for i, a in things.items() if a in said)
    )
