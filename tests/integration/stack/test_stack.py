"""The embedded stack as an operator meets it: up, doctor, a lost piece, up again, down."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qafila.stack import envoy, ground, ports, prefect
from qafila.stack.processes import Recorded, family
from tests.acceptance.conftest import ROOT, Stack, new_stack

PIECES = ("postgres", "prefect", "worker", "moto", "envoy", "watchdog")

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def started() -> Iterator[Stack]:
    fresh = new_stack()
    try:
        fresh.cli("up")
        yield fresh
    finally:
        fresh.cli("down", "--wipe", "--yes", check=False)


def pids(stack: Stack) -> dict[str, int]:
    return {piece: int(stack.state[piece]["pid"]) for piece in PIECES}


def processes(stack: Stack) -> list[psutil.Process]:
    """Everything that runs for this stack: recorded processes and what is below them."""
    records = [Recorded.read(stack.state[piece]) for piece in PIECES]
    return [member for record in records if record is not None for member in family(record)]


def ill(stack: Stack) -> dict[str, str]:
    """Return the remedy by piece, as `qafila doctor` gives it."""
    pieces = json.loads(stack.cli("doctor", "--json", check=False).stdout)
    return {piece["piece"]: piece["remedy"] for piece in pieces if not piece["well"]}


@slow
def test_after_up_the_doctor_finds_every_piece_well(started: Stack) -> None:
    done = started.cli("doctor", "--json", check=False)
    pieces = {piece["piece"]: piece for piece in json.loads(done.stdout)}
    assert [p for p in pieces.values() if not p["well"]] == []
    assert done.returncode == 0
    assert {*PIECES, "machine", "deployments"} == set(pieces)
    assert "pgvector 0.8" in pieces["postgres"]["version"]
    assert "routes none" in pieces["envoy"]["health"]


@slow
def test_everything_listens_on_loopback_only(started: Stack) -> None:
    heard = {
        (process.name(), connection.laddr.ip)
        for process in processes(started)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert heard
    assert {ip for _, ip in heard} == {"127.0.0.1"}


@slow
def test_every_deployment_says_what_it_does_and_takes_one_strict_model(started: Stack) -> None:
    found = started.ask_prefect("POST", "/deployments/filter", {}).json()
    assert {d["name"] for d in found} == prefect.declared(ROOT / "prefect.yaml")
    for deployment in found:
        schema = deployment["parameter_openapi_schema"]
        assert list(schema["properties"]) == ["request"], deployment["name"]
        model = schema["definitions"][schema["properties"]["request"]["$ref"].split("/")[-1]]
        assert model["additionalProperties"] is False, deployment["name"]
        assert all("description" in field for field in model["properties"].values()), model
        assert deployment["enforce_parameter_schema"]
        assert deployment["description"].count(".") == 1
        assert {tag.split(":")[0] for tag in deployment["tags"]} == {"phase", "changes"}


@slow
def test_wrong_parameters_are_refused_before_a_run_exists(started: Stack) -> None:
    name = "inventory-audit/inventory-audit"
    deployment = started.ask_prefect("GET", f"/deployments/name/{name}").json()
    wrong = {"parameters": {"request": {"workload": "aws-docs-search", "no_such_field": 1}}}
    path = f"/deployments/{deployment['id']}/create_flow_run"
    answer = started.ask_prefect("POST", path, wrong)
    assert answer.status_code == 409
    assert "no_such_field" in answer.text


@slow
def test_a_second_up_starts_nothing(started: Stack) -> None:
    before = pids(started)
    report = started.json("up")
    assert report["started"] == []
    assert pids(started) == before
    assert report["registered"] is False


@slow
def test_a_lost_piece_is_named_and_only_it_is_started_again(started: Stack) -> None:
    before = pids(started)
    routes = (started.home / "envoy" / "rds.json").read_text()
    os.kill(before["envoy"], signal.SIGKILL)
    psutil.wait_procs([p for p in processes(started) if p.pid == before["envoy"]], timeout=5)
    assert started.cli("doctor", check=False).returncode == 4
    assert "qafila up" in ill(started)["envoy"]
    assert started.json("up")["started"] == ["envoy"]
    after = pids(started)
    assert {piece for piece in PIECES if after[piece] != before[piece]} == {"envoy"}
    assert (started.home / "envoy" / "rds.json").read_text() == routes
    assert ill(started) == {}


def test_a_stranger_with_a_recorded_pid_is_not_ours() -> None:
    own = Recorded.of(os.getpid())
    assert own.alive
    assert not Recorded(own.pid, own.started - 60).alive


@slow
def test_down_leaves_no_process_and_keeps_the_data(started: Stack) -> None:
    running = processes(started)
    assert len(running) >= len(PIECES)
    stopped = started.json("down")
    assert stopped["killed"] == []
    assert [p for p in running if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    mark = started.state["id"]
    assert [p for p in psutil.process_iter() if _carries(p, mark)] == []
    assert (started.home / "postgres" / "PG_VERSION").is_file()
    assert started.json("down")["pieces"] == []


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("QAFILA_STACK") == mark
    except (psutil.Error, OSError):
        return False


def test_every_problem_is_named_at_once_and_nothing_is_started() -> None:
    refused = new_stack()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused.env["QAFILA_PORT_PREFECT"] = str(port)
        refused.env["QAFILA_PORT_MOTO"] = "eighty"
        done = refused.cli("up", check=False)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert "QAFILA_PORT_PREFECT" in done.stderr
    assert "QAFILA_PORT_MOTO='eighty'" in done.stderr
    assert not (refused.home / "stack.json").exists()
    refused.home.rmdir()


def test_a_taken_port_is_replaced_when_it_was_only_remembered() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        choice = ports.choose({"prefect": port, "moto": 28_111}, {"edge": 28_112})
    assert choice.problems == ()
    assert choice.ports["prefect"] != port
    assert choice.ports["edge"] == 28_112
    assert len(set(choice.ports.values())) == 3


def test_a_fixed_port_must_be_that_of_the_running_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAFILA_PORT_EDGE", "28113")
    choice = ports.choose({}, {"edge": 28_112})
    assert len(choice.problems) == 1
    assert "qafila down" in choice.problems[0]


def test_a_home_that_cannot_be_and_a_missing_checkout_are_two_problems(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    found = ground.problems(file / "home", tmp_path)
    assert len(found) == 2
    assert "QAFILA_HOME" in found[0]
    assert "prefect.yaml" in found[1]


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "DISK_BYTES", 10**18)
    (tmp_path / "prefect.yaml").write_text("")
    assert "MB free" in ground.problems(tmp_path, tmp_path)[0]


def test_the_edge_binds_loopback_only_and_keeps_written_routes(tmp_path: Path) -> None:
    envoy.prepare(tmp_path, port=28_120, admin=28_121)
    (tmp_path / "rds.json").write_text('{"version_info": "kept"}')
    bootstrap = envoy.prepare(tmp_path, port=28_122, admin=28_123).read_text()
    assert '"kept"' in (tmp_path / "rds.json").read_text()
    assert "28122" in bootstrap
    assert "0.0.0.0" not in bootstrap
    assert bootstrap.count("127.0.0.1") == 2
