"""A user never chooses the arm: only a probe that carries the edge's token does, and only while
copies go to the candidate. Shown on a real Envoy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from qafila import home_keys
from qafila.routers.envoy import config as envoy_config
from qafila.routers.envoy.router import EnvoyRouter
from qafila.validation.search_service import SearchService
from tests.contract.routers.router_suite import weigh
from tests.support.edges import Edge, running_edge

TOKEN_HEADER = "x-qafila-probe-token"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@pytest.fixture
def edge(running: Edge, home: Path) -> Edge:
    running.baseline.last_headers = running.candidate.last_headers = {}
    weigh(running.router, 0)
    return running


def start_copies(edge: Edge) -> None:
    router = edge.router
    version = router.write(0, epoch=router.read().epoch + 1, why="test", mirror_percent=1)
    router.acknowledged(version)


def ask(edge: Edge, headers: Mapping[str, str]) -> str:
    return str(httpx.get(edge.listen_url + "/search", headers=headers).json()["from"])


def test_a_user_who_names_the_candidate_gets_the_baseline(edge: Edge) -> None:
    chosen = {"x-qafila-arm": "candidate"}
    assert ask(edge, chosen) == "baseline"
    start_copies(edge)
    assert ask(edge, chosen) == "baseline"
    assert ask(edge, {**chosen, TOKEN_HEADER: "0" * 64}) == "baseline"
    assert ask(edge, {**chosen, TOKEN_HEADER: ""}) == "baseline"
    assert not {"x-qafila-arm", TOKEN_HEADER} & edge.baseline.last_headers.keys()


def test_a_probe_with_the_token_chooses_its_arm_and_is_no_user(edge: Edge) -> None:
    start_copies(edge)
    _, cursor = edge.router.observed(None)
    for arm in ("baseline", "candidate"):
        headers = edge.router.probe_headers(arm)
        reply = httpx.get(edge.listen_url + "/search", headers=headers)
        assert reply.headers["x-qafila-served"] == f"probe-{arm}"
        assert reply.json() == {"from": arm}
    for service in (edge.baseline, edge.candidate):
        assert service.last_headers  # it was asked, and does not learn the token
        assert not {"x-qafila-arm", TOKEN_HEADER} & service.last_headers.keys()
        assert all(headers[TOKEN_HEADER] != value for value in service.last_headers.values())
    time.sleep(0.4)
    assert [r for r in edge.router.observed(cursor)[0] if r.arm == "candidate"] == []
    assert headers[TOKEN_HEADER] not in (edge.folder / "access.jsonl").read_text()


@pytest.mark.parametrize("percent", [0, 100])
def test_after_the_copies_the_token_chooses_nothing(edge: Edge, percent: int) -> None:
    start_copies(edge)
    token = edge.router.probe_headers("candidate")
    assert ask(edge, token) == "candidate"
    weigh(edge.router, percent)
    served = "candidate" if percent else "baseline"
    other = edge.router.probe_headers("baseline" if percent else "candidate")
    for headers in (token, {"x-qafila-arm": "candidate"}, other, {"x-qafila-arm": "baseline"}):
        assert ask(edge, headers) == served
    assert not any("probe" in r.get("name", "") for r in routes_of(edge.folder))


def test_a_token_holds_for_one_edge_and_one_epoch(edge: Edge) -> None:
    start_copies(edge)
    old = edge.router.probe_headers("candidate")
    start_copies(edge)
    assert ask(edge, old) == "baseline"
    key = home_keys.read_key("edge-probe")
    assert key is not None
    assert key not in (edge.folder / "rds.json").read_text()
    assert envoy_config.probe_token(key, "edge-1", 7) != envoy_config.probe_token(key, "edge-2", 7)


def test_a_probe_that_another_arm_answered_is_no_answer(edge: Edge) -> None:
    """Else a shadow stage would compare the baseline with itself and call the candidate good."""
    edge.candidate.last_headers = {}
    headers = {"x-qafila-arm": "candidate"}
    with SearchService(edge.listen_url, headers=headers, served="probe-candidate") as service:
        assert service.ask("anything", 3).ranking is None
    assert edge.candidate.last_headers == {}


def test_routes_of_a_former_version_are_replaced_by_apply_with_the_weights_kept(
    edge: Edge,
) -> None:
    weigh(edge.router, 25)
    file = edge.folder / "rds.json"
    content = json.loads(file.read_text())
    former = {
        "name": "probe-candidate",
        "match": {
            "prefix": "/",
            "headers": [{"name": "x-qafila-arm", "string_match": {"exact": "candidate"}}],
        },
        "route": {"cluster": "candidate"},
    }
    content["resources"][0]["virtual_hosts"][0]["routes"].insert(0, former)
    edge.router._folder.replace("rds.json", content)
    before = edge.router.read()
    state = edge.router.install(edge.baseline.url, edge.candidate.url)
    edge.router.acknowledged(state.version)
    assert (state.candidate_percent, state.epoch) == (25, before.epoch)
    assert not any("probe" in r.get("name", "") for r in routes_of(edge.folder))
    again = edge.router.install(edge.baseline.url, edge.candidate.url)
    assert again == state  # nothing left to replace


def test_weights_are_written_without_a_key(home: Path, tmp_path: Path) -> None:
    """A way back needs no key: what is broken about it cannot be in its way."""
    router = EnvoyRouter(
        "e", directory=str(tmp_path / "e"), admin_url="http://127.0.0.1:9", listen_url=""
    )
    router.install("http://a.example.org:1", "http://b.example.org:1")
    (home / "keys").mkdir(parents=True)
    (home / "keys" / "edge-probe").write_text("no key")
    router.write(0, epoch=1, why="rollback")
    assert not (routes_of(tmp_path / "e")[0]["name"]).startswith("probe")
    router.close()


def routes_of(folder: Path) -> list[dict[str, str]]:
    content = json.loads((folder / "rds.json").read_text())
    found: list[dict[str, str]] = content["resources"][0]["virtual_hosts"][0]["routes"]
    return found
