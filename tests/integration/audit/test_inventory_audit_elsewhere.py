"""The whole audit of a company outside AWS: a cluster, a database server, a server of metrics.

PostgreSQL is a real one, on TCP, and asked by a role that may not read everything; Kubernetes and
Prometheus are small HTTP servers in the published shapes. The flow runs under a Prefect server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import duckdb
import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from benchmarks.ending import stop_server
from blocks.kubernetes import KubernetesCluster
from blocks.postgres import PostgresDatabase
from flows.inventory_audit import AuditRequest, inventory_audit
from qafila.cli import app
from qafila.errors import BadInput
from qafila.ledger.connections import record_connection
from qafila.ledger.evidence import Evidence, check_chain, latest_evidence
from qafila.stack import postgres
from tests.support.applied import apply_demo, fill_source
from tests.support.kubernetes_api import TOKEN
from tests.support.kubernetes_lists import (
    PASSWORD,
    ListServer,
    named,
    running_lists,
    shop,
    workload,
)
from tests.support.prometheus_api import HEADER, MetricsServer, running_metrics

NAME = "aws-docs-search"
HOST = "db.example.org"  # how workloads call the server; it stands on loopback
POD = "127.0.0.7"  # the address of the one pod that is connected
TICKET = "The parcel of this order has not come, and what are we going to do about it now?"

pytestmark = pytest.mark.usefixtures("prefect_server")


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def database_port() -> Iterator[int]:
    """A server of its own on TCP, with tickets to read and salaries that are not ours to read."""
    folder = Path(tempfile.mkdtemp(prefix="qafila-pg-"))
    data = folder / "pg"
    running: subprocess.Popen[bytes] | None = None
    try:
        server = postgres.start(data)
        postmaster = psutil.Process(server.pid)
        program, user = postmaster.exe(), postmaster.uids().real  # never root, whoever we are
        with psycopg.connect(
            postgres.ensure_database(server, "shop"), autocommit=True
        ) as connection:
            connection.execute(
                "CREATE ROLE qafila_audit LOGIN; CREATE ROLE orders LOGIN;"
                "GRANT pg_read_all_stats TO qafila_audit;"
                "CREATE TABLE support_ticket (id int, body text);"
                f"INSERT INTO support_ticket SELECT i, '{TICKET}' FROM generate_series(1, 300) i;"
                "CREATE TABLE salary (id int, note text);"
                "GRANT SELECT ON support_ticket TO qafila_audit; ANALYZE"
            )
        stop_server(data)
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 127.0.0.0/8 trust\n")
        port = _free_port()
        running = subprocess.Popen(
            [program, "-D", str(data), "-h", "127.0.0.1", "-p", str(port), "-k", str(data)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=user if os.geteuid() == 0 else None,
        )
        _wait_for(port, running)
        yield port
    finally:
        if running is not None:
            running.send_signal(signal.SIGINT)  # does not wait for clients
            running.wait(60)
        stop_server(data)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(port: int, running: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert running.poll() is None, "PostgreSQL ended before it answered"
        with suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://orders@127.0.0.1:{port}/shop").close()
            return
        threading.Event().wait(0.1)
    raise AssertionError("PostgreSQL did not answer within 60 s")


@contextmanager
def connected_from(address: str, port: int) -> Iterator[None]:
    """Hold one session of the role orders that the server sees come from another address."""

    def pump(start: socket.socket, end: socket.socket) -> None:
        with suppress(OSError):
            while part := start.recv(1 << 16):
                end.sendall(part)
            end.shutdown(socket.SHUT_WR)

    with ExitStack() as stack:
        door = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0))))

        def forward() -> None:
            here, _ = door.accept()
            there = socket.create_connection(("127.0.0.1", port), source_address=(address, 0))
            for ends in ((here, there), (there, here)):
                threading.Thread(target=pump, args=ends, daemon=True).start()
            stack.callback(here.close)
            stack.callback(there.close)

        threading.Thread(target=forward, daemon=True).start()
        url = f"postgresql://orders@127.0.0.1:{door.getsockname()[1]}/shop"
        with psycopg.connect(url, application_name="orders backend"):
            yield


def _estate() -> ListServer:
    """The shop, with a name for its database, who uses that name, and a pod that is connected."""
    objects = shop()
    objects["services"].append(
        named("db", "shop", spec={"type": "ExternalName", "externalName": HOST})
    )
    objects["deployments"].append(workload("reports", "shop", env={"DB_HOST": "db"}))
    pod = next(p for p in objects["pods"] if p["metadata"]["name"] == "orders-1")
    pod["metadata"]["labels"]["pod-template-hash"] = "7c"
    pod["status"] = {"phase": "Running", "podIP": POD, "podIPs": [{"ip": POD}]}
    closed = ["/apis/networking.k8s.io/v1/ingresses"] + [
        f"/apis/networking.k8s.io/v1/namespaces/{n['metadata']['name']}/ingresses"
        for n in objects["namespaces"]
    ]
    return ListServer(objects, {path: [403] for path in closed})


@dataclass(frozen=True)
class Audited:
    """What one run left: its result, its evidence, its page, its export."""

    result: dict[str, Any]
    evidence: Evidence
    first: str
    page: str
    export: Path
    told: dict[str, Any]

    def table(self, name: str, columns: str) -> list[tuple[Any, ...]]:
        """Return rows of one exported table."""
        return duckdb.sql(f"SELECT {columns} FROM '{self.export}/{name}.parquet'").fetchall()


@pytest.fixture
def audited(
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    target_url: str,
    database_port: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Audited:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    token = tmp_path / "token"
    token.write_text(TOKEN)
    (tmp_path / "header").write_text(f"Authorization: {HEADER}\n")
    fill_source(target_url)
    with (
        running_lists(_estate()) as cluster,
        running_metrics(MetricsServer(retention="15d", header=HEADER)) as metrics,
        connected_from(POD, database_port),
    ):
        apply_demo(
            ledger,
            target_url,
            audit={
                "kubernetes": [{"block": "staging", "namespaces": ["billing", "ml", "shop"]}],
                "postgres": ["shop-db"],
                "prometheus": [{"url": metrics.url, "header_file": "header"}],
            },
        )
        record_connection(
            ledger, "staging", KubernetesCluster(api_url=cluster.url, token_file=str(token))
        )
        url = f"postgresql://qafila_audit@{HOST}:{database_port}/shop?hostaddr=127.0.0.1"
        record_connection(ledger, "shop-db", PostgresDatabase(url=url, connect_timeout_seconds=60))
        result: dict[str, Any] = inventory_audit(AuditRequest(workload=NAME))
    evidence = latest_evidence(ledger, NAME, "audit")
    assert evidence is not None
    export = tmp_path / "export"
    shown = CliRunner().invoke(app, ["report", NAME, "--audit", "--export", str(export), "--json"])
    told = json.loads(shown.output)
    page = unescape(Path(told["file"]).read_text())
    first = re.sub(r"<[^>]+>", " ", page.split("<nav>")[0].split("<main")[1])
    return Audited(result, evidence, first, page, export, told)


def test_it_holds_together_and_says_on_the_first_page_what_was_not_seen(audited: Audited) -> None:
    """One run, looked at from all sides: a run takes longer than all these looks."""
    _outcomes(audited)
    _resources(audited)
    _edges(audited)
    _need(audited)
    _first_page(audited)
    _nothing_secret(audited)


def _outcomes(audited: Audited) -> None:
    result = audited.result
    assert (result["verdict"], result["phase"], result["spend_total"]) == ("PASS", "audited", None)
    assert result["collectors"] == {
        "kubernetes-workloads": "denied",  # its ingresses
        "kubernetes-nodes": "complete",
        "kubernetes-storage": "complete",
        "postgres-databases": "complete",
        "postgres-texts": "denied",  # one table
        "postgres-clients": "complete",
        "prometheus-targets": "complete",
        "prometheus-utilisation": "truncated",  # 15 days are no 30
    }
    for told in (result["sentence"], audited.evidence.sentence):
        assert "cost is not known" in told
        assert "2 services denied to us (kubernetes-workloads, postgres-texts)" in told
    outcomes = dict(audited.table("collectors", "collector, outcome"))
    assert outcomes == result["collectors"]
    assert all(calls > 0 for (calls,) in audited.table("collectors", "calls"))


def _resources(audited: Audited) -> None:
    kinds = {kind for (kind,) in audited.table("resources", "kind")}
    assert {
        "kubernetes:deployment",
        "kubernetes:statefulset",
        "kubernetes:cronjob",
        "kubernetes:service",
        "kubernetes:node",
        "kubernetes:persistentvolumeclaim",
        "postgres:server",
        "postgres:database",
        "postgres:table",
        "postgres:text",
        "postgres:client",
        "prometheus:server",
        "prometheus:target",
        "prometheus:gpu",
        "prometheus:machine",
    } <= kinds
    assert "kubernetes:ingress" not in kinds
    assert "kubernetes:daemonset" not in kinds  # it is in a namespace that was not asked for
    notes = dict(audited.table("collectors", "collector, not_seen"))
    limit = "looked only into the namespaces billing, ml, shop, as asked"
    assert limit in notes["kubernetes-storage"]
    unseen = audited.evidence.body["notes"]
    assert [n for n in unseen if limit in n] == [
        f"staging: {limit}: what else it holds is not known"
    ]
    clients = [
        name for kind, name in audited.table("resources", "kind, name") if kind == "postgres:client"
    ]
    assert clients == ["orders backend"]  # and none of the audit's own sessions


def _edges(audited: Audited) -> None:
    cluster, database = "kubernetes:staging", "postgres:shop-db"
    edges = {
        (start, end, kind, source)
        for start, end, kind, source in audited.table("edges", "from_id, to_id, kind, source")
    }
    assert {
        # a session comes from the address of a pod, the pod belongs to a deployment
        (f"{cluster}/shop/Deployment/orders", f"{database}/shop", "calls", "pg_stat_activity"),
        # a variable names the host of the server
        (f"{cluster}/shop/Deployment/search", database, "calls", "environment DATABASE_URL"),
        # a variable names a service, and the service stands for the server
        (
            f"{cluster}/shop/Deployment/reports",
            f"{cluster}/shop/Service/db",
            "calls",
            "environment DB_HOST",
        ),
        (
            f"{cluster}/shop/Service/db",
            database,
            "resolves",
            "external name of a Kubernetes service",
        ),
        (f"{database}/shop", database, "resolves", "postgres catalogue"),
        (
            f"{cluster}/shop/Service/orders",
            f"{cluster}/shop/Deployment/orders",
            "resolves",
            "kubernetes selector",
        ),
    } <= edges
    waves = {wave["wave"]: set(wave["names"]) for wave in audited.evidence.body["waves"]}
    together = [names for names in waves.values() if "shop-db" in names]
    assert len(together) == 1  # the server moves with those that need it
    assert {"orders", "search", "reports", "db"} <= together[0]


def _need(audited: Audited) -> None:
    needs = {c["subject"]: c for c in audited.evidence.body["ai_need"]}
    tickets = needs["database shop on shop-db"]
    signals = {s["name"]: s for s in tickets["signals"]}
    assert (signals["text corpus"]["found"], signals["tickets, chats or mails"]["found"]) == (
        True,
        True,
    )
    assert "public.support_ticket.body" in signals["text corpus"]["evidence"]
    assert tickets["takes"]["texts"] == 300
    assert tickets["takes"]["languages"] == {"english": 1.0}
    assert tickets["score"] is None  # what was closed to us is not answered "no"
    assert any("kubernetes-workloads is denied" in question for question in tickets["ask"])
    assert needs["support-assistant"]["points_to"] == "generation"


def _first_page(audited: Audited) -> None:
    assert audited.evidence.sentence in audited.first
    unseen = audited.first.split("What we could not see")[1]
    for told in (
        "ingresses in namespace billing, ml, shop: the API server said 403",
        "public.salary: SELECT was not granted to us",
        "the server keeps 15 days alone",
        "no bill was read: spend, network share and reconciliation are not known",
    ):
        assert told in unseen, told


def _nothing_secret(audited: Audited) -> None:
    exported = [file.read_bytes() for file in sorted(audited.export.glob("*.csv"))]
    assert exported
    for secret in (PASSWORD, TOKEN, HEADER, TICKET, "not-to-be-kept"):
        assert secret not in json.dumps(audited.evidence.body)
        assert secret not in audited.page
        assert all(secret.encode() not in content for content in exported)


def test_a_header_that_is_none_is_refused_before_anything_is_asked(
    ledger: psycopg.Connection[Any],
    ledger_url: str,
    target_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("QAFILA_LEDGER_URL", ledger_url)
    monkeypatch.setenv("QAFILA_HOME", str(tmp_path))
    fill_source(target_url)
    (tmp_path / "bare").write_text("s3cret-t0ken\n")
    with running_metrics(MetricsServer()) as metrics:
        apply_demo(
            ledger,
            target_url,
            audit={
                "kubernetes": [{"block": "nowhere", "namespaces": ["shop"]}],
                "prometheus": [
                    {"url": f"{metrics.url}/a", "header_file": "bare"},
                    {"url": f"{metrics.url}/b", "header_file": "absent"},
                ],
            },
        )
        with pytest.raises(BadInput) as refused:
            inventory_audit(AuditRequest(workload=NAME))
    assert len(refused.value.problems) == 3
    for told in ("nowhere", "bare does not hold one header", "absent cannot be read"):
        assert any(told in problem for problem in refused.value.problems), told
    assert "s3cret-t0ken" not in str(refused.value)
    assert metrics.asked == []


def test_ledger_and_export_have_all_of_it(
    audited: Audited, ledger: psycopg.Connection[Any]
) -> None:
    assert check_chain(ledger).intact
    rows = audited.told["rows"]
    assert rows["resources"] == audited.result["resources"] == audited.evidence.body["resources"]
    assert rows["edges"] == audited.evidence.body["edges"]
    for table, part in (
        ("resource", "resources"),
        ("resource_edge", "edges"),
        ("collector_outcome", "collectors"),
    ):
        kept = ledger.execute(
            f"SELECT count(*) FROM qafila.{table} WHERE audit_id = %s", [audited.result["audit_id"]]
        ).fetchone()
        assert kept == (rows[part],)
        assert audited.table(part, "count(*)") == [(rows[part],)]
