"""Copies of user requests to the candidate: counted, marked, and harmless to users."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from qafila.routers.envoy.arms import RouteSettings
from qafila.routers.envoy.router import EnvoyRouter
from qafila.routers.memory import MemoryRouter
from qafila.routers.port import Router, Shadowed
from tests.support.edges import Edge, running_edge


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(tmp_path_factory.mktemp("edge")) as running:
        arms = running.baseline.url, running.candidate.url
        running.router.install(*arms, RouteSettings(per_try_s=1))
        yield running


@pytest.fixture
def mirroring(edge: Edge) -> Iterator[Edge]:
    """All requests are copied; the candidate is well, and nothing was sent yet."""
    edge.baseline.served = edge.candidate.served = edge.candidate.copies = 0
    mirror(edge.router, 100)
    yield edge
    edge.candidate.errors, edge.candidate.hang = 0.0, False


def mirror(router: Router, percent: int) -> None:
    epoch = router.read().epoch
    router.acknowledged(router.write(0, epoch=epoch, why="test", mirror_percent=percent))


def ask(edge: Edge, count: int) -> None:
    with httpx.Client(base_url=edge.listen_url) as client:
        for _ in range(count):
            reply = client.get("/search")
            assert (reply.status_code, reply.json()) == (200, {"from": "baseline"})


def await_copies(router: Router, count: int) -> Shadowed:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        seen = router.shadowed()
        if seen and seen.requests + seen.left_out >= count and not seen.open:
            return seen
        time.sleep(0.02)
    raise AssertionError(f"{router.shadowed()} after 5 s, not {count} copies")


def test_users_get_the_baselines_answer_and_the_candidate_a_marked_copy(mirroring: Edge) -> None:
    _, cursor = mirroring.router.observed(None)
    ask(mirroring, 40)
    assert await_copies(mirroring.router, 40) == Shadowed(40, 0, 0)
    assert (mirroring.baseline.served, mirroring.candidate.served) == (40, 40)
    assert mirroring.candidate.copies == 40
    seen = []
    end = time.monotonic() + 5
    while len(seen) < 40 and time.monotonic() < end:
        more, cursor = mirroring.router.observed(cursor)
        seen.extend(more)
        time.sleep(0.02)
    assert [r.arm for r in seen] == ["baseline"] * 40  # copies are not among them


def test_no_user_can_mark_a_request_as_a_copy(mirroring: Edge) -> None:
    mirroring.baseline.copies = 0
    headers = {"x-qafila-shadow": "1"}
    assert httpx.get(mirroring.listen_url + "/search", headers=headers).status_code == 200
    await_copies(mirroring.router, 1)
    assert (mirroring.baseline.copies, mirroring.candidate.copies) == (0, 1)


def test_a_failing_candidate_harms_nobody_and_is_counted(mirroring: Edge) -> None:
    mirroring.candidate.errors = 1.0
    ask(mirroring, 20)
    assert await_copies(mirroring.router, 20) == Shadowed(20, 20, 0)


def test_a_candidate_that_hangs_harms_nobody_and_is_counted(mirroring: Edge) -> None:
    mirroring.candidate.hang = True
    ask(mirroring, 10)
    waiting = mirroring.router.shadowed()
    assert waiting is not None
    assert waiting.open + waiting.unanswered == 10
    assert await_copies(mirroring.router, 10) == Shadowed(10, 0, 10)


def test_a_dead_candidate_harms_nobody_and_is_counted(mirroring: Edge) -> None:
    router = mirroring.router
    settings = RouteSettings(per_try_s=1)
    try:
        state = router.install(mirroring.baseline.url, "http://127.0.0.1:9", settings)
        router.acknowledged(state.version)
        mirror(router, 100)
        ask(mirroring, 20)
        assert await_copies(router, 20) == Shadowed(20, 20, 0)
    finally:
        router.install(mirroring.baseline.url, mirroring.candidate.url, settings)


def test_a_request_that_may_not_be_asked_twice_is_not_copied(mirroring: Edge) -> None:
    assert httpx.post(mirroring.listen_url + "/search").json() == {"from": "baseline"}
    ask(mirroring, 1)
    assert await_copies(mirroring.router, 1).requests == 1


def test_each_write_counts_from_nothing_also_in_another_process(mirroring: Edge) -> None:
    ask(mirroring, 5)
    await_copies(mirroring.router, 5)
    mirror(mirroring.router, 100)
    assert mirroring.router.shadowed() == Shadowed(0, 0, 0)
    ask(mirroring, 3)
    other = EnvoyRouter(
        "edge-1",
        directory=str(mirroring.folder),
        admin_url=mirroring.admin_url,
        listen_url=mirroring.listen_url,
    )
    assert await_copies(other, 3) == Shadowed(3, 0, 0)
    other.close()


def test_where_nothing_is_copied_nothing_is_said(mirroring: Edge) -> None:
    mirror(mirroring.router, 0)
    assert mirroring.router.shadowed() is None


def test_a_restarted_envoy_counts_what_came_after(mirroring: Edge) -> None:
    ask(mirroring, 5)
    await_copies(mirroring.router, 5)
    mirror(mirroring.router, 100)
    mirroring.restart()
    ask(mirroring, 2)
    assert await_copies(mirroring.router, 2).requests == 2


def test_the_fake_plays_copies_too() -> None:
    router = MemoryRouter()
    mirror(router, 100)
    router.candidate_fails = True
    assert [router.send(f"t{n}").arm for n in range(10)] == ["baseline"] * 10
    assert router.shadowed() == Shadowed(10, 10, 0)
    mirror(router, 0)
    assert router.shadowed() is None
