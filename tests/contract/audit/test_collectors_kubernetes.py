"""What the cluster's collectors keep, how they page, and what is closed to them.

Against a small server in the shapes of the published API: no real cluster was at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from qafila.audit.collectors import collectors_of
from qafila.audit.collectors.kubernetes_cluster import KINDS, RATES, Cluster, ClusterLimits
from qafila.audit.collectors.kubernetes_objects import (
    amounts,
    quantity,
    selects,
    service_in,
    variables_of,
)
from qafila.audit.estate import Collected, Edge, Outcome, Resource
from qafila.connections.kubernetes import connect_kubernetes
from tests.support.collecting import standing
from tests.support.kubernetes_api import TOKEN
from tests.support.kubernetes_lists import KINDS as SINGULAR
from tests.support.kubernetes_lists import PASSWORD, ListServer, named, running_lists, shop

BY_NAME = {c.name: c for c in collectors_of("kubernetes")}
Collect = Callable[..., Collected]


@pytest.fixture
def collect(tmp_path: Path) -> Iterator[Collect]:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with ExitStack() as stack:

        def run(
            name: str,
            server: ListServer,
            *,
            waits: list[float] | None = None,
            namespaces: tuple[str, ...] = (),
            **limits: Any,
        ) -> Collected:
            stack.enter_context(running_lists(server))
            client = connect_kubernetes(api_url=server.url, token_file=str(token))
            cluster = Cluster(
                client,
                "staging",
                namespaces=namespaces,
                limits=ClusterLimits(**limits),
                pacing=standing(RATES, waits),
            )
            return BY_NAME[f"kubernetes-{name}"].collect(cluster)

        yield run


def test_many_pages_keep_the_pace_of_a_client(collect: Collect) -> None:
    """Ten at once, then five a second: 20 calls wait ten times a fifth of a second."""
    waits = list[float]()
    collect("nodes", many(200), waits=waits, page_size=10)
    assert waits == pytest.approx([0.2] * 10)


def by_id(seen: Collected) -> dict[str, Resource]:
    return {r.id.removeprefix("kubernetes:staging/"): r for r in seen.resources}


def edges(seen: Collected, kind: str) -> set[tuple[str, str]]:
    start = "kubernetes:staging/"
    return {
        (e.from_id.removeprefix(start), e.to_id.removeprefix(start))
        for e in seen.edges
        if e.kind == kind
    }


def test_workloads_come_with_what_they_ask_for(collect: Collect) -> None:
    found = by_id(collect("workloads", ListServer(shop())))
    search = found["shop/Deployment/search"]
    assert search.facts["replicas"] == 3
    assert search.facts["requests"] == {"cpu_cores": 0.25, "memory_bytes": 512 << 20, "gpus": 0}
    assert search.facts["limits"] == {"cpu_cores": None, "memory_bytes": 1 << 30, "gpus": 0}
    model = found["ml/Deployment/support-assistant"]
    assert (model.facts["gpus"], model.facts["requests"]["gpus"]) == (1, 1)
    assert model.tags["app"] == "support-assistant"
    assert model.tags["owner"] == "search team"  # the namespace's label says so
    assert found["kube-system/DaemonSet/node-agent"].facts["replicas"] == 4
    assert found["shop/Job/import"].facts["replicas"] == 2
    assert found["shop/CronJob/nightly"].facts["schedule"] == "0 2 * * *"
    assert found["shop/Pod/debug"].facts["made_by"] == []
    assert "shop/Pod/orders-1" not in found  # its deployment stands for it
    assert "shop/Job/nightly-28" not in found  # its cron job does


def test_what_hangs_together_is_an_edge(collect: Collect) -> None:
    seen = collect("workloads", ListServer(shop()))
    assert edges(seen, "resolves") == {
        ("shop/Service/orders", "shop/Deployment/orders"),
        ("shop/Service/search", "shop/Deployment/search"),
        ("shop/Ingress/public", "shop/Service/search"),
    }
    assert edges(seen, "calls") == {
        ("shop/Deployment/search", "shop/Service/orders"),
        ("shop/Deployment/search", "billing/Service/payments"),
    }
    assert edges(seen, "shares-secret") == {("shop/Deployment/orders", "shop/Deployment/search")}
    assert edges(seen, "writes") == {
        ("shop/StatefulSet/queue", "shop/PersistentVolumeClaim/queue-0")
    }
    facts = by_id(seen)["billing/Service/payments"].facts
    assert facts["external_names"] == ["pay.example.org"]  # a name in DNS, and no variable's
    sources = {e.source for e in seen.edges if e.kind == "calls"}
    assert sources == {"environment ORDERS_HOST", "environment PAYMENTS_URL"}


def _pod(name: str, address: str, *owner: str, **more: Any) -> dict[str, Any]:
    kind, maker, hashed = (*owner, "", "", "")[:3]
    metadata: dict[str, Any] = {"labels": {"pod-template-hash": hashed} if hashed else {}}
    if maker:
        metadata["ownerReferences"] = [{"kind": kind, "name": maker, "controller": True}]
    status = {"phase": more.pop("phase", "Running"), "podIP": address, "podIPs": [{"ip": address}]}
    return named(name, "shop", metadata=metadata, status=status, spec={"containers": [], **more})


def test_addresses_of_pods_are_kept_at_what_made_them(collect: Collect) -> None:
    objects = shop()
    job = next(j for j in objects["jobs"] if j["metadata"]["name"] == "nightly-28")
    assert job["metadata"]["ownerReferences"]  # a cron job's
    objects["pods"] = [
        _pod("orders-7c-a", "10.1.0.1", "ReplicaSet", "orders-7c", "7c"),
        _pod("orders-7c-b", "10.1.0.2", "ReplicaSet", "orders-7c", "7c"),
        _pod("orders-7c-c", "10.1.0.2", "ReplicaSet", "orders-7c", "7c"),
        _pod("orders-7c-old", "10.1.0.9", "ReplicaSet", "orders-7c", "7c", phase="Failed"),
        _pod("orders-host", "192.0.2.1", "ReplicaSet", "orders-7c", "7c", hostNetwork=True),
        _pod("orders-other", "10.1.0.8", "ReplicaSet", "orders-7c"),  # no hash: not sure whose
        _pod("queue-0", "10.1.0.3", "StatefulSet", "queue"),
        _pod("nightly-28-x", "10.1.0.4", "Job", "nightly-28"),
        _pod("import-x", "10.1.0.5", "Job", "import"),
        _pod("stray", "10.1.0.6", "StatefulSet", "gone"),
        _pod("debug", "10.1.0.7"),
    ]
    found = by_id(collect("workloads", ListServer(objects)))
    seen = {name: r.facts["pod_ips_seen"] for name, r in found.items() if "pod_ips_seen" in r.facts}
    assert {name: ips for name, ips in seen.items() if ips} == {
        "shop/Deployment/orders": ["10.1.0.1", "10.1.0.2"],
        "shop/StatefulSet/queue": ["10.1.0.3"],
        "shop/CronJob/nightly": ["10.1.0.4"],
        "shop/Job/import": ["10.1.0.5"],
        "shop/Pod/debug": ["10.1.0.7"],
    }


def test_no_value_of_a_variable_is_kept_but_hosts(collect: Collect) -> None:
    seen = collect("workloads", ListServer(shop()))
    facts = by_id(seen)["shop/Deployment/search"].facts
    assert facts["variables"] == [
        "API_KEY",
        "DATABASE_URL",
        "LOG_LEVEL",
        "ORDERS_HOST",
        "PAYMENTS_URL",
    ]
    assert facts["hosts"] == {"DATABASE_URL": "db.example.org"}
    assert facts["secret_names"] == ["db"]
    assert PASSWORD not in repr(seen)
    assert "info" not in repr(facts)


@given(
    st.text(max_size=30).filter(lambda s: "://" not in s),
    st.sampled_from(
        [
            "{}",
            "https://u:{}@db.example.org/x",
            "redis://{}@db.example.org:6379",
            "mongodb://u:{}@db.example.org:1,b.example.org:2/x?y=z",
        ]
    ),
)
@example("p4ss,x", "redis://{}@db.example.org:6379")
@example("a@b/c", "redis://{}@db.example.org:6379")
@example("a@b,c", "redis://{}@db.example.org:6379")
@example("pa/ss", "redis://{}@db.example.org:6379")
def test_a_password_is_never_taken_for_a_host(secret: str, form: str) -> None:
    value = form.replace("{}", secret)
    pod = {"containers": [{"env": [{"name": "API_PASSWORD", "value": value}]}]}
    assert set(variables_of(pod).hosts.values()) <= {"db.example.org"}


def test_nodes_and_volumes_come_with_sizes(collect: Collect) -> None:
    node = by_id(collect("nodes", ListServer(shop())))["Node/node-a"]
    assert node.facts["type"] == "g5.xlarge"
    assert (node.facts["gpus"], node.facts["gpu"]) == (1, "NVIDIA-A10G")
    assert node.facts["memory_bytes"] == 16106320 * 1024
    assert node.facts["zone"] == "eu-west-3a"
    seen = collect("storage", ListServer(shop()))
    claim = by_id(seen)["shop/PersistentVolumeClaim/queue-0"]
    assert (claim.size_bytes, claim.facts["size_is"]) == (20 << 30, "granted")
    assert edges(seen, "resolves") == {
        ("shop/PersistentVolumeClaim/queue-0", "PersistentVolume/pv-1")
    }


def many(count: int) -> ListServer:
    return ListServer({"nodes": [named(f"node-{i:04}") for i in range(count)]})


def test_a_long_list_comes_in_pages(collect: Collect) -> None:
    server = many(1203)
    seen = collect("nodes", server, page_size=500)
    assert (seen.outcome, len(seen.resources), seen.calls) == (Outcome.COMPLETE, 1203, 3)
    assert all("limit=500" in path for path in server.asked)


def test_a_list_longer_than_the_limit_is_truncated(collect: Collect) -> None:
    seen = collect("nodes", many(30), page_size=10, pages=2)
    assert (seen.outcome, len(seen.resources)) == (Outcome.TRUNCATED, 20)
    assert seen.missed == "nodes has more than 2 pages"
    exact = collect("nodes", many(20), page_size=10, pages=2)
    assert (exact.outcome, len(exact.resources)) == (Outcome.COMPLETE, 20)


def test_an_expired_list_begins_again_once(collect: Collect) -> None:
    server = many(30)
    server.refuses["/api/v1/nodes"] = [410, 200]
    seen = collect("nodes", server, page_size=10)
    assert (seen.outcome, len(seen.resources)) == (Outcome.COMPLETE, 30)
    server = many(30)
    server.refuses["/api/v1/nodes"] = [410]
    seen = collect("nodes", server, page_size=10)
    assert (seen.outcome, len(seen.resources)) == (Outcome.TRUNCATED, 10)
    assert "expired twice (410 Gone)" in seen.missed


def test_a_throttled_call_waits_as_long_as_it_is_told(collect: Collect) -> None:
    server, waits = many(5), list[float]()
    server.refuses["/api/v1/nodes"] = [429, 429, 200]
    server.for_ever = False
    seen = collect("nodes", server, waits=waits)
    assert (seen.outcome, seen.calls, waits) == (Outcome.COMPLETE, 3, [7.0, 7.0])
    server = many(5)
    server.refuses["/api/v1/nodes"] = [429]
    seen = collect("nodes", server, waits=waits)
    assert (seen.outcome, seen.resources) == (Outcome.THROTTLED, ())


def test_a_kind_that_is_closed_is_named_and_the_others_are_seen(collect: Collect) -> None:
    server = ListServer(shop())
    for path in (
        "/apis/batch/v1/cronjobs",
        *(
            f"/apis/batch/v1/namespaces/{n['metadata']['name']}/cronjobs"
            for n in shop()["namespaces"]
        ),
    ):
        server.refuses[path] = [403]
    seen = collect("workloads", server)
    assert seen.outcome is Outcome.DENIED
    assert seen.missed == (
        "cronjobs in namespace billing, kube-system, ml, shop: the API server said 403 Forbidden"
    )
    assert "shop/Deployment/search" in by_id(seen)


def test_a_namespace_that_is_closed_is_named_and_the_others_are_seen(collect: Collect) -> None:
    server = ListServer(shop())
    server.refuses["/apis/apps/v1/deployments"] = [403]  # not for the whole cluster
    server.refuses["/apis/apps/v1/namespaces/ml/deployments"] = [403]
    seen = collect("workloads", server)
    assert seen.outcome is Outcome.DENIED
    assert seen.missed == "deployments in namespace ml: the API server said 403 Forbidden"
    assert {"shop/Deployment/search", "shop/Deployment/orders"} <= set(by_id(seen))
    del server.refuses["/apis/apps/v1/namespaces/ml/deployments"]
    seen = collect("workloads", ListServer(shop(), refuses=dict(server.refuses)))
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")  # each was read by itself


def test_a_reader_of_one_namespace_names_it(collect: Collect) -> None:
    server = ListServer(shop())
    for group, plurals in (
        ("/api/v1", ("namespaces", "pods", "services")),
        ("/apis/apps/v1", ("deployments", "statefulsets", "daemonsets")),
        ("/apis/batch/v1", ("jobs", "cronjobs")),
        ("/apis/networking.k8s.io/v1", ("ingresses",)),
    ):
        server.refuses |= {f"{group}/{plural}": [403] for plural in plurals}
    seen = collect("workloads", server, namespaces=("shop",))
    assert (seen.outcome, seen.missed) == (
        Outcome.COMPLETE,
        "looked only into namespace shop, as asked",
    )
    assert "shop/Deployment/search" in by_id(seen)
    assert "ml/Deployment/support-assistant" not in by_id(seen)
    seen = collect("workloads", ListServer(shop(), refuses=server.refuses))
    assert (seen.outcome, seen.resources) == (Outcome.DENIED, ())


def test_an_api_that_the_cluster_does_not_have_is_unsupported(collect: Collect) -> None:
    server = ListServer(shop(), refuses={"/apis/networking.k8s.io/v1/ingresses": [404]})
    seen = collect("workloads", server)
    assert (seen.outcome, seen.missed) == (
        Outcome.UNSUPPORTED,
        "ingresses: the API server said 404 Not Found",
    )


@pytest.mark.parametrize("raw", [b"[]", b"{}", b'{"metadata": {}, "items": [1]}', b"\xff"])
def test_an_answer_that_is_no_list_is_an_outcome(collect: Collect, raw: bytes) -> None:
    server = ListServer(shop(), raw={"/api/v1/nodes": raw})
    assert collect("nodes", server).outcome is Outcome.UNSUPPORTED


def test_an_empty_list_may_arrive_as_null(collect: Collect) -> None:
    server = ListServer({}, raw={"/api/v1/nodes": b'{"metadata": {}, "items": null}'})
    seen = collect("nodes", server)
    assert (seen.outcome, seen.resources) == (Outcome.COMPLETE, ())


@given(
    st.decimals(0, 10**6, places=3),
    st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]),
)
def test_amounts_are_read_as_the_official_client_reads_them(number: Decimal, unit: str) -> None:
    assert quantity(f"{number}{unit}") == parse_quantity(f"{number}{unit}")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1e3", 1000),
        ("250m", Decimal("0.25")),
        ("100n", Decimal("1e-7")),
        ("", None),
        ("Gi", None),
        ("many", None),
        ("NaN", None),
        ("inf", None),
        ("1e999999", None),
        ("9999999999999999Ei", None),
        (None, None),
    ],
)
def test_an_amount_that_is_none_is_not_known(text: str | None, amount: object) -> None:
    assert quantity(text) == amount


def container(cpu: str | None = None, **rest: Any) -> dict[str, Any]:
    return {"resources": {} if cpu is None else {"requests": {"cpu": cpu}}, **rest}


@pytest.mark.parametrize(
    ("pod", "cores"),
    [
        ({"containers": [container("1"), container("500m")]}, 1.5),
        ({"containers": [container("1")], "initContainers": [container("3")]}, 3.0),  # runs alone
        (
            {
                "containers": [container("1")],
                "initContainers": [container("3", restartPolicy="Always")],
            },
            4.0,
        ),  # a sidecar stays
        ({"containers": [container()]}, None),
        ({"containers": [{"resources": {"limits": {"cpu": "2"}}}]}, 2.0),  # a limit is the request
        ({}, None),
    ],
)
def test_a_pod_asks_for_what_the_scheduler_adds_up(
    pod: dict[str, Any], cores: float | None
) -> None:
    assert amounts(pod, "requests")["cpu_cores"] == cores


def test_one_container_without_a_limit_leaves_the_pod_without() -> None:
    pod = {"containers": [{"resources": {"limits": {"cpu": "2"}}}, {"resources": {}}]}
    assert amounts(pod, "limits")["cpu_cores"] is None


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("orders", ("shop", "orders")),
        ("orders.billing", ("billing", "orders")),
        ("orders.billing.svc", ("billing", "orders")),
        ("orders.billing.svc.cluster.local", ("billing", "orders")),
        ("api.example.org", None),
    ],
)
def test_a_host_inside_a_cluster_is_a_service(host: str, service: tuple[str, str] | None) -> None:
    assert service_in(host, "shop") == service


def test_an_empty_selector_takes_no_pod() -> None:
    assert not selects({}, {"app": "a"})
    assert selects({"app": "a"}, {"app": "a", "b": "c"})


def test_two_clusters_do_not_share_ids(collect: Collect) -> None:
    seen = collect("nodes", ListServer(shop()))
    assert {r.id for r in seen.resources} == {"kubernetes:staging/Node/node-a"}
    assert all(isinstance(e, Edge) for e in seen.edges)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_small_server_answers_as_the_official_clients_models_expect(
    kind: str, tmp_path: Path
) -> None:
    """The models of the client are made from the API's published OpenAPI description."""
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with running_lists(ListServer(shop())) as server:
        client = connect_kubernetes(api_url=server.url, token_file=str(token))
        listing = KINDS[kind]
        api = getattr(kubernetes.client, listing.api)(client)
        every = getattr(api, listing.everywhere)()
        assert len(every.items) == len(shop()[kind])
        found = getattr(api, listing.everywhere)(limit=1)
        assert found.kind == f"{SINGULAR[kind]}List"
        assert [i.metadata.name for i in found.items] == [shop()[kind][0]["metadata"]["name"]]
        assert bool(found.metadata._continue) == (len(shop()[kind]) > 1)
