"""One suite for every router: the fake in memory and the real Envoy pass the same sentences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from qafila.errors import BadInput
from qafila.routers.envoy.fleet import FleetRouter
from qafila.routers.envoy.router import EnvoyRouter
from qafila.routers.memory import MemoryRouter
from qafila.routers.port import Request, Router
from tests.contract.routers.router_suite import EveryRouter, weigh
from tests.support.edges import Edge, running_edge, running_fleet


class Setup(Protocol):
    router: Router

    def send(self, key: str) -> None: ...
    def break_candidate(self) -> None: ...


class MemorySetup:
    def __init__(self) -> None:
        self.router = MemoryRouter()

    def send(self, key: str) -> None:
        self.router.send(key)

    def break_candidate(self) -> None:
        self.router.candidate_fails = True


class EnvoySetup:
    def __init__(self, edge: Edge) -> None:
        self.edge, self.router = edge, edge.router
        self.client = httpx.Client(base_url=edge.listen_url)

    def send(self, key: str) -> None:
        assert self.client.get("/search", headers={"x-tenant-id": key}).status_code == 200

    def break_candidate(self) -> None:
        self.edge.candidate.errors = 1.0


class FleetSetup:
    """Two Envoys; a user goes to either of them, and keeps the arm."""

    def __init__(self, edges: list[Edge], router: FleetRouter) -> None:
        self.edges, self.router = edges, router
        self.clients = [httpx.Client(base_url=edge.listen_url) for edge in edges]
        self.sent = 0

    def send(self, key: str) -> None:
        self.sent += 1
        client = self.clients[self.sent % len(self.clients)]
        assert client.get("/search", headers={"x-tenant-id": key}).status_code == 200

    def break_candidate(self) -> None:
        self.edges[0].candidate.errors = 1.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Edge], FleetRouter]]:
    with running_fleet(tmp_path_factory.mktemp("fleet")) as edges:
        router = FleetRouter("edges", [edge.router for edge in edges])
        state = router.install(edges[0].baseline.url, edges[0].candidate.url)
        router.acknowledged(state.version)
        yield edges, router


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest.fixture(params=["memory", "envoy", "fleet"])
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    if request.param == "memory":
        yield MemorySetup()
        return
    if request.param == "fleet":
        edges, router = request.getfixturevalue("fleet")
        edges[0].candidate.errors = 0.0
        router.write(0, epoch=max(e.router.read().epoch for e in edges), why="next test")
        several = FleetSetup(edges, router)
        yield several
        for client in several.clients:
            client.close()
        return
    edge: Edge = request.getfixturevalue("edge")
    edge.candidate.errors = 0.0
    edge.router.write(0, epoch=edge.router.read().epoch, why="next test")
    envoy = EnvoySetup(edge)
    yield envoy
    envoy.client.close()


def seen_after(setup: Setup, send: Callable[[], None], count: int) -> list[Request]:
    _, cursor = setup.router.observed(None)
    send()
    seen: list[Request] = []
    end = time.monotonic() + 5
    while len(seen) < count and time.monotonic() < end:
        more, cursor = setup.router.observed(cursor)
        seen.extend(more)
        time.sleep(0.02)
    assert len(seen) == count
    return seen


def send_many(setup: Setup, count: int) -> list[Request]:
    def send() -> None:
        for n in range(count):
            setup.send(f"tenant-{n}")

    return seen_after(setup, send, count)


def arms_of_tenants(seen: list[Request]) -> dict[str | None, str]:
    return {request.tenant: request.arm for request in seen}


class TestEveryRouter(EveryRouter):
    """What the other routers are held to as well."""


def test_at_weight_0_the_candidate_gets_nothing_and_at_100_everything(setup: Setup) -> None:
    weigh(setup.router, 0)
    assert {r.arm for r in send_many(setup, 60)} == {"baseline"}
    weigh(setup.router, 100)
    assert {r.arm for r in send_many(setup, 60)} == {"candidate"}


def test_a_key_keeps_its_arm_and_those_of_a_small_weight_stay_at_a_larger_one(
    setup: Setup,
) -> None:
    weigh(setup.router, 25)
    first = arms_of_tenants(send_many(setup, 120))
    assert arms_of_tenants(send_many(setup, 120)) == first
    assert 10 <= list(first.values()).count("candidate") <= 60
    weigh(setup.router, 50)
    later = arms_of_tenants(send_many(setup, 120))
    assert all(later[key] == "candidate" for key, arm in first.items() if arm == "candidate")


def test_a_key_keeps_its_arm_all_the_way_up(setup: Setup) -> None:
    on_trial: set[str | None] = set()
    for percent in (1, 5, 25, 50, 100):
        weigh(setup.router, percent)
        arms = arms_of_tenants(send_many(setup, 120))
        now = {key for key, arm in arms.items() if arm == "candidate"}
        assert on_trial <= now
        on_trial = now
    assert len(on_trial) == 120


def test_the_twin_is_the_baseline_under_a_second_name(setup: Setup) -> None:
    weigh(setup.router, 0, twin=50)
    assert (setup.router.read().candidate_percent, setup.router.read().twin_percent) == (0, 50)
    arms = [r.arm for r in send_many(setup, 120)]
    assert set(arms) == {"baseline", "twin"}
    assert 30 <= arms.count("twin") <= 90


def test_a_failing_candidate_is_seen_although_users_are_answered_by_the_baseline(
    setup: Setup,
) -> None:
    weigh(setup.router, 100)
    setup.break_candidate()
    seen = send_many(setup, 20)
    assert {(r.arm, r.status) for r in seen} == {("candidate", 200)}
    assert all(r.attempts == 2 for r in seen)


def test_what_is_observed_carries_time_latency_and_results(setup: Setup) -> None:
    weigh(setup.router, 0)
    before = time.time()
    seen = send_many(setup, 3)
    assert all(before - 1 <= r.started_at <= time.time() + 1 for r in seen)
    assert all(r.latency_ms >= 0 and r.results == 3 and r.attempts == 1 for r in seen)


# -- what only Envoy has -----------------------------------------------------------------------


def test_envoy_comes_back_with_the_weights_of_the_file(edge: Edge) -> None:
    weigh(edge.router, 100)
    edge.process.kill()
    edge.process.wait()
    assert edge.router.reported() is None
    edge.restart()
    assert edge.router.reported_version() == edge.router.read().version
    assert httpx.get(edge.listen_url + "/search").json() == {"from": "candidate"}


def test_a_request_that_may_not_be_asked_twice_is_not_retried(edge: Edge) -> None:
    weigh(edge.router, 100)
    edge.candidate.errors = 1.0
    assert httpx.post(edge.listen_url + "/search").status_code == 500
    edge.candidate.errors = 0.0


def test_installing_again_keeps_the_weights_and_another_address_takes_them_to_0(
    edge: Edge, tmp_path: Path
) -> None:
    weigh(edge.router, 25)
    before = edge.router.read()
    assert edge.router.install(edge.baseline.url, edge.candidate.url) == before
    state = edge.router.install(edge.baseline.url, edge.baseline.url)
    assert (state.candidate_percent, state.epoch) == (0, before.epoch)
    assert edge.router.acknowledged(state.version) < 2
    edge.router.install(edge.baseline.url, edge.candidate.url)


def test_addresses_that_envoy_cannot_route_to_are_refused_together(tmp_path: Path) -> None:
    router = EnvoyRouter(
        "e", directory=str(tmp_path), admin_url="http://127.0.0.1:9", listen_url=""
    )
    with pytest.raises(BadInput) as refusal:
        router.install("ftp://a.example.org", "http://b.example.org/path")
    assert len(refusal.value.problems) == 2
    assert not (tmp_path / "cds.json").exists()
    router.close()
