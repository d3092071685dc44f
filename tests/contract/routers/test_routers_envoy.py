"""What a real Envoy does at the edges: refusals, hanging candidates, sticky users."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from qafila.errors import BadInput, Unavailable
from qafila.routers.envoy import log_rotation as envoy_log
from qafila.routers.envoy.access_log import tenant_digest
from qafila.routers.envoy.arms import Arm, RouteSettings
from qafila.routers.port import Request
from qafila.stack import envoy
from qafila.stack.sockets import private_socket, remove_socket
from tests.contract.routers.router_suite import weigh
from tests.support.edges import Edge, running_edge


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with running_edge(tmp_path_factory.mktemp("edge"), tenant_header="x-organisation") as running:
        yield running


@contextmanager
def settings(edge: Edge, wanted: RouteSettings) -> Iterator[None]:
    arms = edge.baseline.url, edge.candidate.url
    edge.router.acknowledged(edge.router.install(*arms, wanted).version)
    try:
        yield
    finally:
        edge.candidate.hang = False
        edge.router.acknowledged(edge.router.install(*arms).version)


def test_a_file_that_envoy_refuses_ends_the_wait_at_once(edge: Edge) -> None:
    weigh(edge.router, 0)
    before = edge.router.reported_version()
    clusters = edge.folder / "cds.json"
    kept = json.loads(clusters.read_text())
    fewer = {
        "version_info": "without",
        "resources": [r for r in kept["resources"] if r["name"] != "baseline_twin"],
    }
    edge.router._folder.replace("cds.json", fewer)
    edge.router._admin.await_version("cluster_manager.cds", "without", "clusters")
    try:
        epoch = edge.router.read().epoch
        version = edge.router.write(0, epoch=epoch, why="test", twin_percent=50)
        started = time.monotonic()
        with pytest.raises(Unavailable, match="refused") as refusal:
            edge.router.acknowledged(version, timeout_s=30)
        assert time.monotonic() - started < 15
        assert "qafila apply" in refusal.value.remedy
        reported = edge.router.reported()
        assert reported is not None  # Envoy goes on, and says that file and router differ
        assert (reported.version, edge.router.read().version) == (before, version)
    finally:
        edge.router.install(edge.baseline.url, edge.candidate.url)
        weigh(edge.router, 0)


def test_a_hanging_candidate_costs_users_the_try_and_no_failure(edge: Edge) -> None:
    """At half the traffic and with room for four requests, the rest goes to the baseline."""
    with settings(edge, RouteSettings(per_try_s=1.0, canary_at_once=4)):
        weigh(edge.router, 50)
        edge.candidate.hang = True

        def ask(n: int) -> tuple[int, str, float]:
            started = time.monotonic()
            headers = {"x-organisation": f"o{n}"}
            reply = httpx.get(edge.listen_url + "/search", headers=headers, timeout=30)
            return reply.status_code, reply.json()["from"], time.monotonic() - started

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(120)))
        assert {(status, arm) for status, arm, _ in answers} == {(200, "baseline")}
        service = edge.router._admin._stats("^cluster.candidate_service.upstream_rq_", 2.0)
        assert service is not None
        refused = sum(int(n) for name, n in service.items() if name.endswith("overflow"))
        assert refused > 0  # the breaker opened, and no user saw it


def test_a_hanging_candidate_is_seen_as_bad(edge: Edge) -> None:
    with settings(edge, RouteSettings(per_try_s=0.5, canary_at_once=4)):
        weigh(edge.router, 100)
        edge.candidate.hang = True
        user = {"x-organisation": "hanging"}  # lines of the test before may come late
        _, cursor = edge.router.observed(None)
        url = edge.listen_url + "/search"
        assert httpx.get(url, headers=user, timeout=10).status_code == 200
        seen: list[Request] = []
        end = time.monotonic() + 5
        while not seen and time.monotonic() < end:
            found, cursor = edge.router.observed(cursor)
            seen = [r for r in found if r.tenant == tenant_digest("hanging")]
        assert [(r.arm, r.attempts) for r in seen] == [("candidate", 2)]


def test_posts_are_asked_twice_only_where_an_operator_says_so(edge: Edge) -> None:
    edge.candidate.errors = 1.0
    try:
        weigh(edge.router, 100)
        assert httpx.post(edge.listen_url + "/search").status_code == 500
        with settings(edge, RouteSettings(idempotent_posts=True)):
            assert edge.router.read().candidate_percent == 100  # the weights stayed
            assert httpx.post(edge.listen_url + "/search").json() == {"from": "baseline"}
        assert httpx.post(edge.listen_url + "/search").status_code == 500
    finally:
        edge.candidate.errors = 0.0


def test_a_body_too_long_to_be_kept_is_not_asked_twice(edge: Edge) -> None:
    edge.candidate.errors = 1.0
    try:
        with settings(edge, RouteSettings(idempotent_posts=True)):
            weigh(edge.router, 100)
            status = {
                size: httpx.post(edge.listen_url + "/search", content=b"x" * size).status_code
                for size in (1 << 19, 3 << 20)
            }
            assert status == {1 << 19: 200, 3 << 20: 500}
    finally:
        edge.candidate.errors = 0.0


def test_a_request_that_may_not_be_asked_twice_ends_with_the_whole_answers_time(
    edge: Edge,
) -> None:
    with settings(edge, RouteSettings(per_try_s=0.5, whole_s=0.5)):
        weigh(edge.router, 100)
        edge.candidate.hang = True
        assert httpx.post(edge.listen_url + "/search", timeout=10).status_code == 504


def test_users_stick_by_the_operators_header_and_else_by_a_cookie(edge: Edge) -> None:
    weigh(edge.router, 50)
    arms = {n: {_arm(edge, {"x-organisation": f"o{n}"}) for _ in range(4)} for n in range(24)}
    assert all(len(seen) == 1 for seen in arms.values())
    assert {arm for seen in arms.values() for arm in seen} == {"baseline", "candidate"}
    others = []
    for _ in range(12):
        with httpx.Client(base_url=edge.listen_url) as client:
            first = client.get("/search")
            assert first.cookies.get("qafila-sid")
            assert {client.get("/search").json()["from"] for _ in range(4)} == {
                first.json()["from"]
            }
            others.append(first.json()["from"])
    assert set(others) == {"baseline", "candidate"}


def _arm(edge: Edge, headers: dict[str, str]) -> str:
    return str(httpx.get(edge.listen_url + "/search", headers=headers).json()["from"])


@pytest.mark.parametrize("header", ["X-Tenant", "a'b", "", "two words", "x\n"])
def test_a_tenant_header_that_is_none_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(BadInput):
        envoy.prepare(tmp_path / "new", port=1, admin=2, tenant_header=header)
    assert not (tmp_path / "new").exists()


def test_users_meet_no_error_while_arms_are_installed_again(edge: Edge) -> None:
    """Other addresses and another model: clusters and listeners change under traffic."""
    weigh(edge.router, 0)
    stop, seen = threading.Event(), []

    def ask() -> None:
        with httpx.Client(base_url=edge.listen_url) as client:
            while not stop.is_set():
                seen.append(client.get("/search").status_code)

    users = threading.Thread(target=ask)
    users.start()
    try:
        edge.router.install(edge.baseline.url, edge.baseline.url)
        with settings(edge, RouteSettings(alias="chat")):
            model = Arm(edge.baseline.url, model="small")
            edge.router.install(model, edge.candidate.url, RouteSettings(alias="chat"))
        edge.router.install(edge.baseline.url, edge.candidate.url)
    finally:
        stop.set()
        users.join()
    assert set(seen) == {200}


def test_a_log_that_is_rotated_while_users_come_loses_none(edge: Edge) -> None:
    weigh(edge.router, 0)
    _, cursor = edge.router.observed(None)
    log, user = edge.folder / "access.jsonl", {"x-organisation": "rotating"}
    for turn in range(3):
        for _ in range(10):
            httpx.get(edge.listen_url + "/search", headers=user)
        log.rename(log.with_name(f"access.jsonl.{turn}"))
        httpx.get(edge.listen_url + "/search", headers=user)  # under the old name, or the new
        assert httpx.post(edge.admin_url + "/reopen_logs").status_code == 200
        seen = 0
        end = time.monotonic() + 5
        while seen < 11 and time.monotonic() < end:
            more, cursor = edge.router.observed(cursor)
            seen += sum(r.tenant == tenant_digest("rotating") for r in more)
            time.sleep(0.02)
        assert seen == 11


def test_a_log_that_is_large_or_old_is_put_aside_and_no_line_is_lost(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    weigh(edge.router, 0)
    _, cursor = edge.router.observed(None)
    user = {"x-organisation": "bounded"}
    monkeypatch.setattr(envoy_log, "MOST_BYTES", 500)
    rotated, logged = 0, 0
    log, aside = edge.folder / "access.jsonl", edge.folder / "access.jsonl.1"
    for _ in range(3):
        for _ in range(10):
            httpx.get(edge.listen_url + "/search", headers=user)
        time.sleep(0.3)  # Envoy writes its lines within a tenth of a second
        rotated += envoy_log.rotate_when_due(edge.folder, edge.admin_url, time.time())
        more, cursor = edge.router.observed(cursor)
        logged += sum(r.tenant == tenant_digest("bounded") for r in more)
    more, _ = edge.router.observed(cursor)
    logged += sum(r.tenant == tenant_digest("bounded") for r in more)
    assert (rotated, logged) == (3, 30)
    assert aside.exists()
    monkeypatch.setattr(envoy_log, "MOST_BYTES", 1 << 30)
    httpx.get(edge.listen_url + "/search", headers=user)
    time.sleep(0.3)
    assert not envoy_log.rotate_when_due(edge.folder, edge.admin_url, time.time())
    late = time.time() + envoy_log.LONGEST_S + 60
    assert envoy_log.rotate_when_due(edge.folder, edge.admin_url, late)
    assert log.stat().st_size == 0
    os.utime(aside, (late - 2 * envoy_log.LONGEST_S,) * 2)
    assert not envoy_log.rotate_when_due(edge.folder, edge.admin_url, late)
    assert not aside.exists()


def test_a_log_stays_where_envoy_does_not_answer(tmp_path: Path) -> None:
    log = tmp_path / "access.jsonl"
    log.write_text('{"ts": "1.0"}\n')
    with pytest.raises(httpx.HTTPError):
        envoy_log.rotate_when_due(tmp_path, "unix:" + str(tmp_path / "none"), time.time())
    assert log.exists()


def test_a_tenants_id_needs_the_key_of_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for home in ("one", "two", "one"):
        monkeypatch.setenv("QAFILA_HOME", str(tmp_path / home))
        found.append(tenant_digest("customer-7"))
    assert found[0] == found[2] != found[1]
    assert found[0] != hashlib.blake2b(b"customer-7", digest_size=8).hexdigest()
    assert (tmp_path / "one" / "keys" / "tenant-ids").stat().st_mode & 0o777 == 0o600


def test_a_route_file_keeps_its_mode_for_an_envoy_of_another_account(edge: Edge) -> None:
    routes = edge.folder / "rds.json"
    routes.chmod(0o644)
    before = os.umask(0o077)
    try:
        weigh(edge.router, 3)
    finally:
        os.umask(before)
    assert routes.stat().st_mode & 0o777 == 0o644


def test_an_admin_socket_serves_as_a_port_does(tmp_path: Path) -> None:
    """Weights are acknowledged through it, also by an Envoy that was killed and came back."""
    socket = private_socket(tmp_path / "admin", "socket")
    with running_edge(tmp_path / "edge", admin_socket=socket) as edge:
        weigh(edge.router, 50)
        assert edge.router.software_version()
        assert socket.stat().st_mode & 0o777 == 0o600
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        heard = {
            c.laddr.port
            for c in psutil.Process(edge.process.pid).net_connections("tcp")
            if c.status == psutil.CONN_LISTEN
        }
        assert heard == {int(edge.listen_url.rpartition(":")[2])}
        edge.restart()
        assert edge.router.read().candidate_percent == 50
        weigh(edge.router, 0)


def test_a_long_home_has_its_socket_in_a_short_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="q-"))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    long = tmp_path / ("a" * 60) / ("b" * 60) / "admin"
    try:
        place = private_socket(long, "socket")
        assert place == private_socket(long, "socket")
        assert place != private_socket(long.with_name("other"), "socket")
        assert place.parent.parent == temporary
        assert place.parent.stat().st_mode & 0o777 == 0o700
        with running_edge(tmp_path / "edge", admin_socket=place) as edge:
            weigh(edge.router, 10)
        place.touch()
        remove_socket(long, "socket")
        assert not place.parent.exists()
        place.parent.symlink_to(tmp_path)  # as another account would prepare it
        with pytest.raises(BadInput, match="belongs to somebody else"):
            private_socket(long, "socket")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("c" * 100)))
        with pytest.raises(BadInput, match="longer than 107 bytes"):
            private_socket(long, "socket")
    finally:
        shutil.rmtree(temporary)


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        envoy.main([str(tmp_path / "file" / "edge-1"), "--port", "1", "--admin-port", "2"])
    assert ended.value.code == 2
    assert "edge-1 cannot be written: Not a directory." in capsys.readouterr().err
