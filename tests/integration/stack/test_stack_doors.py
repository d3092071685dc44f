"""What another account on the machine, or a web page, gets from a running stack: nothing."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from qafila.stack.prefect import is_flow_run
from qafila.stack.processes import Recorded, family
from tests.acceptance.conftest import Stack, new_stack

pytestmark = pytest.mark.slow

FOREIGN = "http://evil.example"


@pytest.fixture(scope="module")
def started() -> Iterator[Stack]:
    fresh = new_stack()
    fresh.env["AWS_SECRET_ACCESS_KEY"] = "a-secret-of-the-operator"
    fresh.env["QAFILA_SECRET_ELSEWHERE"] = "another-secret-of-the-operator"
    fresh.env["GITHUB_TOKEN"] = "a-token-of-the-operator"
    try:
        fresh.cli("up")
        yield fresh
    finally:
        fresh.cli("down", "--wipe", "--yes", check=False)


@pytest.fixture
def api(started: Stack) -> Iterator[httpx.Client]:
    """A client of the Prefect API that has no password, with a connection for each request."""
    url, limits = started.state["prefect"]["api_url"], httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(base_url=url, timeout=30, limits=limits) as client:
        yield client


def password(stack: Stack) -> tuple[str, str]:
    file = stack.home / "keys" / "prefect-api"
    return ("qafila", file.read_text().strip() if file.exists() else "none")


def changing(client: httpx.Client, stack: Stack) -> dict[str, str]:
    """Return the headers of a client that may change something."""
    name = str(uuid.uuid4())
    reply = client.get("/csrf-token", params={"client": name}, auth=password(stack))
    token = reply.json()["token"] if reply.status_code == 200 else "off"
    return {"Prefect-Csrf-Client": name, "Prefect-Csrf-Token": token}


def test_nothing_is_told_without_the_password(started: Stack, api: httpx.Client) -> None:
    asked = {
        path: api.get(path).status_code
        for path in ("/admin/version", "/flows/count", "/csrf-token?client=x", "/admin/settings")
    }
    assert set(asked.values()) == {401}, asked
    headers = changing(api, started)
    body: dict[str, Any] = {"include_secrets": True}
    assert api.post("/block_documents/filter", json=body, headers=headers).status_code == 401
    wrong = ("qafila", "0" * 64)
    assert api.get("/admin/version", auth=wrong).status_code == 401
    assert api.get("/admin/version", auth=password(started)).status_code == 200
    reply = api.post("/block_documents/filter", json=body, headers=headers, auth=password(started))
    assert reply.status_code == 200


def test_a_page_of_another_origin_may_not_read(started: Stack, api: httpx.Client) -> None:
    for origin, allowed in ((FOREIGN, None), (started.state["prefect"]["ui_url"],) * 2):
        reply = api.get("/health", headers={"Origin": origin})
        assert reply.headers.get("access-control-allow-origin") == allowed, origin
    ask = {"Origin": FOREIGN, "Access-Control-Request-Method": "POST"}
    preflight = api.options("/flow_runs/filter", headers=ask)
    assert "access-control-allow-origin" not in preflight.headers
    assert preflight.status_code == 400


def test_a_post_from_a_page_is_refused_even_with_the_password(
    started: Stack, api: httpx.Client
) -> None:
    reply = api.post(
        "/flows/",
        content='{"name": "forged"}',
        auth=password(started),
        headers={"Origin": FOREIGN, "Content-Type": "text/plain"},
    )
    assert reply.status_code == 403
    known = api.get("/flows/name/forged", auth=password(started))
    assert known.status_code == 404


def test_a_name_that_leads_to_loopback_is_refused(started: Stack, api: httpx.Client) -> None:
    port = started.state["prefect"]["port"]
    for path in ("/health", "/admin/version"):
        reply = api.get(path, headers={"Host": f"evil.example:{port}"}, auth=password(started))
        assert reply.status_code == 400, path


def test_a_socket_needs_the_password_too(started: Stack) -> None:
    base = started.state["prefect"]["api_url"].replace("http://", "ws://")
    for path in ("/events/in", "/events/out", "/logs/out"):
        with connect(base + path, subprotocols=[Subprotocol("prefect")]) as wire:
            wire.send(json.dumps({"type": "auth", "token": "wrong"}))
            with pytest.raises(ConnectionClosed):
                wire.recv(timeout=10)


def test_a_template_that_lets_runs_bring_a_command_is_put_right_by_up(started: Stack) -> None:
    """As the work pool of an earlier release has it, or whoever changed it."""
    before = started.ask_prefect("GET", "/work_pools/qafila").json()["base_job_template"]
    open_template = {
        "job_configuration": {"command": "{{ command }}"},
        "variables": {"type": "object", "properties": {"command": {"type": "string"}}},
    }
    changed = {"base_job_template": open_template}
    assert started.ask_prefect("PATCH", "/work_pools/qafila", changed).is_success
    started.cli("up")
    after = started.ask_prefect("GET", "/work_pools/qafila").json()["base_job_template"]
    assert after == before
    assert "command" not in json.dumps(after)


def test_the_password_is_shown_by_its_command_and_stands_in_no_log(started: Stack) -> None:
    user, key = password(started)
    assert started.json("ui") == {
        "ui_url": started.state["prefect"]["ui_url"],
        "password": f"{user}:{key}",
    }
    assert (started.home / "keys" / "prefect-api").stat().st_mode & 0o777 == 0o600
    said = [*(started.home / "logs").iterdir(), started.home / "stack.json"]
    assert [f.name for f in said if key in f.read_text(errors="replace")] == []
    up = started.cli("up").stdout
    assert "qafila ui" in up
    assert key not in up


def test_a_run_cannot_bring_its_own_command(
    started: Stack, api: httpx.Client, tmp_path: Path
) -> None:
    """Neither a run nor a deployment that names one: it is refused, and never executed."""
    written = tmp_path / "executed"
    deployment = api.get("/deployments/name/preflight/preflight", auth=password(started)).json()
    answers = []
    for variables in (
        {"command": f"touch {written}"},
        {"env": {"PYTHONPATH": str(tmp_path)}},
        {"env.PATH": str(tmp_path)},
        {"working_dir": str(tmp_path)},
    ):
        reply = api.post(
            f"/deployments/{deployment['id']}/create_flow_run",
            auth=password(started),
            headers=changing(api, started),
            json={"parameters": {"request": {"workload": "nobody"}}, "job_variables": variables},
        )
        answers.append(reply.status_code)
    if 201 in answers:
        deadline = time.monotonic() + 60
        while not written.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
    assert not written.exists()
    assert answers == [422] * 4


def test_envoys_admin_address_is_a_socket_of_its_owner_alone(started: Stack) -> None:
    address = started.state["envoy"]["admin_url"]
    assert address.startswith("unix:/")
    socket = Path(address.removeprefix("unix:"))
    assert socket.is_socket()
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    (envoy,) = [p for p in family_of(started, "envoy") if "envoy" in p.name()]
    heard = [c for c in envoy.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.port for c in heard} == {started.state["ports"]["edge"]}


def test_no_server_inherits_a_secret_of_the_operator(started: Stack) -> None:
    """As /proc has it for the real processes: PostgreSQL with all its children, too."""
    secrets = {"AWS_SECRET_ACCESS_KEY", "QAFILA_SECRET_ELSEWHERE", "GITHUB_TOKEN"}
    leaking = [
        (piece, process.pid, sorted(secrets & set(environment_of(process))))
        for piece in ("envoy", "moto", "postgres", "prefect")
        for process in family_of(started, piece)
        if secrets & set(environment_of(process))
    ]
    assert leaking == []
    for piece in ("envoy", "moto", "postgres"):
        names = {name for p in family_of(started, piece) for name in environment_of(p)}
        assert not {n for n in names if n.startswith(("PREFECT_", "AWS_"))}, piece


def test_a_run_inherits_the_credentials_that_it_reads_and_no_other(started: Stack) -> None:
    """Worker, watchdog and a flow run: boto3 looks for a cloud's credentials there."""
    deployment = started.ask_prefect("GET", "/deployments/name/watchdog/watchdog").json()
    request = {"parameters": {"request": {"seconds": 30}}, "state": {"type": "SCHEDULED"}}
    begun = started.ask_prefect("POST", f"/deployments/{deployment['id']}/create_flow_run", request)
    assert begun.is_success, begun.text
    deadline = time.monotonic() + 60
    while not (runs := [p for p in family_of(started, "worker") if is_run(p)]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    worker, watchdog = family_of(started, "worker")[0], family_of(started, "watchdog")[0]
    for process in (worker, watchdog, runs[0]):
        names = set(environment_of(process))
        assert {"AWS_SECRET_ACCESS_KEY", "QAFILA_SECRET_ELSEWHERE", "PATH", "HOME"} <= names
        assert "GITHUB_TOKEN" not in names, process


def test_what_lies_in_the_home_is_its_owners_alone(started: Stack) -> None:
    """As root, others may pass through the home to PostgreSQL's own folder, and see no more."""
    passing = 0o711 if os.geteuid() == 0 else 0o700
    assert started.home.stat().st_mode & 0o777 == passing
    open_to_others = [
        str(place.relative_to(started.home))
        for place in started.home.rglob("*")
        if not place.is_symlink() and not place.is_socket() and place.stat().st_mode & 0o077
    ]
    assert open_to_others == []
    assert (started.home / "postgres").stat().st_mode & 0o077 == 0


def family_of(stack: Stack, piece: str) -> list[psutil.Process]:
    record = Recorded.read(stack.state[piece])
    assert record is not None
    return family(record)


def is_run(process: psutil.Process) -> bool:
    try:
        return is_flow_run(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def environment_of(process: psutil.Process) -> dict[str, str]:
    """Return what /proc/PID/environ holds."""
    text = Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")
    return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)
