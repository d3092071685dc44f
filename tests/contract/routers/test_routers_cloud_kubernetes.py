"""An HTTPRoute passes every router's sentences against a server in the shapes of Kubernetes' API.

Every object that is written is held against the schema of Gateway API v1 by that server.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from qafila.connections.kubernetes import connect_kubernetes
from qafila.errors import BadInput, Refused, StaleEpoch, Unavailable
from qafila.routers.gateway_api.objects import ANNOTATION
from qafila.routers.gateway_api.router import GatewayApiRouter
from qafila.workload.router import GatewayApiRouter as Settings
from tests.contract.routers.router_suite import EveryRouter, weigh
from tests.support.kubernetes_api import TOKEN, Cluster, http_route, running_cluster

Start = Callable[..., tuple[Cluster, GatewayApiRouter]]


def settings(**changes: Any) -> Settings:
    given = {
        "kind": "gateway-api",
        "block": "cluster",
        "namespace": "shop",
        "route": "search",
        "rule": 1,
        "baseline_backend": "search-v1",
        "candidate_backend": "search-v2",
        "entry_url": "http://127.0.0.1:9",
    }
    return Settings.model_validate(given | changes)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    with ExitStack() as stack:

        def begin(
            route: dict[str, Any] | None = None, *, none: bool = False, **changes: Any
        ) -> tuple[Cluster, GatewayApiRouter]:
            standing = None if none else route or http_route(search_v1=1, search_v2=0)
            cluster = stack.enter_context(running_cluster(Cluster(standing)))
            client = connect_kubernetes(api_url=cluster.url, token_file=str(token))
            router = GatewayApiRouter(settings(**changes), client)
            stack.callback(router.close)
            return cluster, router

        yield begin


@dataclass
class Setup:
    router: Any


def weights(cluster: Cluster) -> dict[str, int]:
    assert cluster.route is not None
    return {b["name"]: b["weight"] for b in cluster.route["spec"]["rules"][1]["backendRefs"]}


class TestHttpRoute(EveryRouter):
    @pytest.fixture
    def setup(self, start: Start) -> Setup:
        _, router = start()
        router.install()
        return Setup(router)


def test_at_0_nothing_and_at_100_everything_is_sent_to_the_candidate(start: Start) -> None:
    cluster, router = start(
        http_route(search_v1=1, search_v2=0, search_v1_twin=0), twin_backend="search-v1-twin"
    )
    assert router.install().candidate_percent == 0
    assert weights(cluster) == {"search-v1": 100, "search-v2": 0, "search-v1-twin": 0}
    weigh(router, 100)
    assert weights(cluster) == {"search-v1": 0, "search-v2": 100, "search-v1-twin": 0}
    weigh(router, 0, twin=50)
    assert weights(cluster) == {"search-v1": 50, "search-v2": 0, "search-v1-twin": 50}
    assert router.reported() == router.read()
    assert router.software_version() == "kubernetes v1.34.1"


def test_all_else_of_the_route_stays_as_it_was(start: Start) -> None:
    cluster, router = start()
    before = copy.deepcopy(cluster.route)
    router.install()
    weigh(router, 25)
    after = copy.deepcopy(cluster.route)
    assert before is not None
    assert after is not None
    del after["metadata"]["annotations"][ANNOTATION]
    for route in (before, after):
        for name in ("resourceVersion", "generation"):
            del route["metadata"][name]
        for backend in route["spec"]["rules"][1]["backendRefs"]:
            del backend["weight"]
        del route["status"]
    assert before == after


def test_an_update_after_somebody_else_s_is_tried_again(start: Start) -> None:
    cluster, router = start()
    router.install()
    cluster.before_update = lambda: cluster.change(
        lambda route: route["metadata"]["labels"].update(team="search")
    )
    weigh(router, 5)
    assert weights(cluster)["search-v2"] == 5
    assert cluster.route is not None
    assert cluster.route["metadata"]["labels"]["team"] == "search"


def test_a_writer_that_was_overtaken_finds_the_newer_epoch(start: Start) -> None:
    cluster, router = start()
    router.install()

    def rollback() -> None:
        def mutate(route: dict[str, Any]) -> None:
            route["metadata"]["annotations"][ANNOTATION] = "e9/7/0pct"

        cluster.change(mutate)

    cluster.before_update = rollback
    with pytest.raises(StaleEpoch):
        router.write(50, epoch=1, why="up")
    assert (router.read().candidate_percent, router.read().epoch) == (0, 9)


def test_a_route_that_others_change_all_the_time_is_given_up(start: Start) -> None:
    cluster, router = start()
    router.install()

    def busy() -> None:
        cluster.change(lambda route: None)
        cluster.before_update = busy

    cluster.before_update = busy
    with pytest.raises(Unavailable, match="somebody else changed"):
        router.write(5, epoch=1, why="up")


def test_a_weight_is_acknowledged_when_the_gateway_accepts_its_generation(start: Start) -> None:
    cluster, router = start()
    router.install()
    cluster.accepts = False
    version = router.write(5, epoch=1, why="up")
    with pytest.raises(Unavailable, match="has not said Accepted of this generation"):
        router.acknowledged(version, timeout_s=0.05)
    assert router.reported() is None
    cluster.accept("False", "Service search-v2 not found")
    with pytest.raises(Unavailable, match="search-v2 not found"):
        router.acknowledged(version, timeout_s=0.05)
    cluster.accept()
    router.acknowledged(version, timeout_s=0.05)


def test_what_somebody_changed_by_hand_is_read_but_not_reported(start: Start) -> None:
    cluster, router = start()
    router.install()

    def mutate(route: dict[str, Any]) -> None:
        route["spec"]["rules"][1]["backendRefs"][1]["weight"] = 1

    cluster.change(mutate)
    assert router.read().candidate_percent == 1  # 1 of 101
    assert "by hand" in router.read().version
    assert router.reported() is None


def test_every_problem_is_named_at_once_and_nothing_is_written(start: Start) -> None:
    route = http_route(search_v1=1, search_v2=None, stranger=3)
    cluster, router = start(route, twin_backend="search-v1-twin")
    cluster.accept("False", "Service search-v2 not found")
    with pytest.raises(BadInput) as refusal:
        router.install()
    told = " ".join(refusal.value.problems)
    assert len(refusal.value.problems) == 4
    for part in (
        "no backend 'search-v1-twin'",
        "'stranger' takes traffic",
        "'search-v2' has weight already",
        "search-v2 not found",
    ):
        assert part in told
    assert cluster.updates == []


def test_a_rule_or_a_route_that_is_not_there_is_refused(start: Start) -> None:
    _, router = start(rule=2)
    with pytest.raises(BadInput) as refusal:
        router.install()
    assert refusal.value.problems == ("it has 2 rules; there is none with the number 2.",)
    _, router = start(none=True)
    with pytest.raises(BadInput, match="there is no HTTPRoute shop/search"):
        router.install()
    with pytest.raises(Unavailable):
        router.read()


def test_an_account_that_may_not_is_told_where_the_role_stands(start: Start) -> None:
    cluster, router = start()
    router.install()
    cluster.forbidden = True
    with pytest.raises(Refused) as refusal:
        router.write(1, epoch=1, why="up")
    assert "docs/how-to/canary-on-kubernetes.md" in refusal.value.remedy


def test_a_cluster_that_does_not_answer_is_unavailable_at_once(tmp_path: Path) -> None:
    client = connect_kubernetes(api_url="http://127.0.0.1:9")
    router = GatewayApiRouter(settings(), client)
    with pytest.raises(Unavailable, match="does not answer"):
        router.read()
    assert router.software_version() is None
    router.close()


@pytest.mark.parametrize(
    ("given", "problems"),
    [
        ({"api_url": "http://127.0.0.1:9", "in_cluster": True}, 1),
        ({"context": "a", "in_cluster": True, "token_file": "/nowhere/token"}, 3),
        ({"kubeconfig": "/nowhere/config"}, 1),
    ],
)
def test_an_unclear_connection_is_refused_with_every_problem(
    given: dict[str, Any], problems: int
) -> None:
    with pytest.raises(BadInput) as refusal:
        connect_kubernetes(**given)
    assert len(refusal.value.problems) == problems


def test_without_the_package_there_is_one_sentence_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)
    with pytest.raises(Unavailable) as error:
        connect_kubernetes(api_url="http://127.0.0.1:9")
    assert 'pip install "kubernetes>=33"' in error.value.remedy


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0, 1, 5, 25, 50, 100]), st.booleans()),
        max_size=6,
    )
)
@settings_of(max_examples=15, deadline=None)
def test_whatever_writers_do_the_epoch_never_falls_and_the_last_accepted_weight_is_read(
    writes: list[tuple[int, int, bool]],
) -> None:
    with running_cluster(Cluster(http_route(search_v1=1, search_v2=0))) as cluster:
        configured = kubernetes.client.Configuration(host=cluster.url)
        configured.api_key = {"BearerToken": f"Bearer {TOKEN}", "authorization": f"Bearer {TOKEN}"}
        router = GatewayApiRouter(settings(), kubernetes.client.ApiClient(configured))
        router.install()
        epoch, percent = 0, 0
        for asked, weight, disturbed in writes:
            if disturbed:
                cluster.before_update = lambda: cluster.change(lambda route: None)
            if asked < epoch:
                with pytest.raises(StaleEpoch):
                    router.write(weight, epoch=asked, why="test")
            else:
                router.write(weight, epoch=asked, why="test")
                epoch, percent = asked, weight
            state = router.read()
            assert (state.epoch, state.candidate_percent) == (epoch, percent)
        router.close()
