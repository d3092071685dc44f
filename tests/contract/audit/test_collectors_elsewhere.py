"""One suite for the collectors outside AWS: what each sees, and that a refusal is never empty.

Kubernetes and Prometheus answer here as small HTTP servers in the published shapes: no real
cluster was at hand. PostgreSQL is a real one.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from benchmarks.ending import stop_server
from qafila.audit.ai_need.assessment import assess_estate
from qafila.audit.ai_need.signal import Need
from qafila.audit.collectors import COLLECTORS, ELSEWHERE, Collector, Look, collectors_of
from qafila.audit.collectors.kubernetes_cluster import KINDS, RATES, Cluster, ClusterLimits
from qafila.audit.collectors.postgres_server import Server
from qafila.audit.collectors.prometheus_server import Metrics
from qafila.audit.dependencies.derived_edges import edges_of
from qafila.audit.estate import Collected, Outcome, outcomes_by_collector
from qafila.connections.kubernetes import connect_kubernetes
from qafila.stack import postgres
from qafila.workload.model import ProductPlan
from tests.support.collecting import standing
from tests.support.kubernetes_api import TOKEN
from tests.support.kubernetes_lists import GROUPS, ListServer, running_lists, shop
from tests.support.prometheus_api import MetricsServer, running_metrics

LEAST = {
    "kubernetes-workloads": 15,
    "kubernetes-nodes": 1,
    "kubernetes-storage": 3,
    "postgres-databases": 4,
    "postgres-texts": 1,
    "postgres-clients": 1,
    "prometheus-targets": 4,
    "prometheus-utilisation": 3,
}
BY_NAME = {c.name: c for c in ELSEWHERE}
each = pytest.mark.parametrize("collector", ELSEWHERE, ids=lambda c: c.name)
Looking = Callable[[str], Look]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A server of its own: a collector looks into every database that there is."""
    folder = Path(tempfile.mkdtemp(prefix="qafila-pg-"))
    try:
        url = postgres.ensure_database(postgres.start(folder / "pg"), "shop")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE support_ticket (id int, body text);"
                "INSERT INTO support_ticket SELECT i, 'The parcel of order ' || i || ' is late, "
                "and what are we to do about it now?' FROM generate_series(1, 300) AS i;"
                "ANALYZE"
            )
        with psycopg.connect(url, application_name="shop backend"):
            yield url
    finally:
        stop_server(folder / "pg")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("kubernetes") / "token"
    path.write_text(TOKEN + "\n")
    return str(path)


def cluster_at(url: str, token: str, **limits: Any) -> Cluster:
    client = connect_kubernetes(api_url=url, token_file=token)
    return Cluster(client, "staging", limits=ClusterLimits(**limits), pacing=standing(RATES))


@contextmanager
def looking(database: str, token: str) -> Iterator[Looking]:
    """Give a look at a small estate of each kind."""
    with ExitStack() as stack:
        lists = stack.enter_context(running_lists(ListServer(shop())))
        metrics = stack.enter_context(running_metrics(MetricsServer()))

        def at(of: str) -> Look:
            if of == "kubernetes":
                return cluster_at(lists.url, token)
            if of == "postgres":
                return Server("main", database)
            return stack.enter_context(Metrics(metrics.url))

        yield at


@each
def test_it_sees_the_estate(collector: Collector, database: str, token: str) -> None:
    with looking(database, token) as at:
        seen = collector.collect(at(collector.of))
    assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
    assert len(seen.resources) >= LEAST[collector.name]
    assert len({r.id for r in seen.resources}) == len(seen.resources)
    assert all(r.kind.startswith(f"{collector.of}:") and r.name for r in seen.resources)
    assert all(r.id.startswith(f"{collector.of}:") for r in seen.resources)
    assert all(0 < e.confidence <= 1 for e in seen.edges)
    edges_of(seen.resources, seen.edges)  # facts mean what the core takes them for
    assert seen.calls > 0
    assert seen.region


def test_every_system_has_its_collectors_and_no_name_comes_twice() -> None:
    assert {c.of for c in ELSEWHERE} == {"kubernetes", "postgres", "prometheus"}
    assert all(c.of == "aws" for c in COLLECTORS)
    every = [*COLLECTORS, *ELSEWHERE]
    assert len({c.name for c in every}) == len(every)
    assert collectors_of("aws") == COLLECTORS
    assert [c.name for c in collectors_of("postgres")] == [
        "postgres-databases",
        "postgres-texts",
        "postgres-clients",
    ]


def refused(collector: Collector, database: str, token: str, tmp_path: Path) -> Collected:
    """Let a system refuse everything, as it does it."""
    if collector.of == "kubernetes":
        wrong = tmp_path / "wrong"
        wrong.write_text("not the token")
        with running_lists(ListServer(shop())) as lists:
            return collector.collect(cluster_at(lists.url, str(wrong)))
    if collector.of == "prometheus":
        with running_metrics(MetricsServer(header="another")) as server, Metrics(server.url) as m:
            return collector.collect(m)
    with psycopg.connect(database, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'nobody'").fetchone():
            connection.execute("CREATE ROLE nobody LOGIN")
        connection.execute("REVOKE CONNECT ON DATABASE shop FROM public")
    try:
        return collector.collect(Server("main", make_conninfo(database, user="nobody")))
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("GRANT CONNECT ON DATABASE shop TO public")


@each
def test_a_refusal_is_never_an_empty_account(
    collector: Collector, database: str, token: str, tmp_path: Path
) -> None:
    seen = refused(collector, database, token, tmp_path)
    assert seen.resources == ()
    assert seen.outcome is not Outcome.COMPLETE
    assert seen.missed
    if collector.of != "postgres":  # who may not connect learns no reason that a program can read
        assert seen.outcome is Outcome.DENIED


@each
def test_an_address_that_does_not_answer_is_an_outcome(collector: Collector, token: str) -> None:
    looks: dict[str, Callable[[], Look]] = {
        "kubernetes": lambda: cluster_at("http://127.0.0.1:1", token),
        "postgres": lambda: Server("main", "postgresql://somebody@127.0.0.1:1/shop"),
        "prometheus": lambda: Metrics("http://127.0.0.1:1"),
    }
    seen = collector.collect(looks[collector.of]())
    assert (seen.outcome, seen.resources) == (Outcome.UNSUPPORTED, ())
    assert seen.missed
    assert seen.calls > 0


@each
def test_an_answer_that_is_no_answer_is_an_outcome(collector: Collector, token: str) -> None:
    """A server of something else stands there; it says the same whatever it is asked."""
    said = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\n<html>"
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def answer() -> None:
            while True:
                try:
                    accepted, _ = listening.accept()
                except OSError:
                    return
                with accepted:
                    accepted.recv(65536)
                    accepted.sendall(said)

        threading.Thread(target=answer, daemon=True).start()
        port = listening.getsockname()[1]
        looks: dict[str, Callable[[], Look]] = {
            "kubernetes": lambda: cluster_at(f"http://127.0.0.1:{port}", token),
            "postgres": lambda: Server("main", f"postgresql://somebody@127.0.0.1:{port}/shop"),
            "prometheus": lambda: Metrics(f"http://127.0.0.1:{port}"),
        }
        seen = collector.collect(looks[collector.of]())
        listening.shutdown(socket.SHUT_RDWR)
    assert (seen.outcome, seen.resources) == (Outcome.UNSUPPORTED, ())


PLURALS = {
    "kubernetes-workloads": ["namespaces", "deployments", "jobs", "services", "ingresses"],
    "kubernetes-nodes": ["nodes"],
    "kubernetes-storage": ["storageclasses", "persistentvolumes", "persistentvolumeclaims"],
}


@settings_of(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_is_refused_is_named_and_the_outcome_is_never_complete(
    data: st.DataObject, token: str
) -> None:
    """Any kinds, any statuses; a 403 that holds for every namespace, too."""
    name = data.draw(st.sampled_from(sorted(PLURALS)))
    plurals = data.draw(
        st.lists(st.sampled_from(PLURALS[name]), min_size=1, max_size=3, unique=True)
    )
    status = data.draw(st.sampled_from([400, 401, 403, 404, 429, 500, 502, 503]))
    refusing = RefusingKinds(shop(), plurals=frozenset(plurals), status=status)
    with running_lists(refusing) as lists:
        seen = BY_NAME[name].collect(cluster_at(lists.url, token))
    assert seen.outcome is not Outcome.COMPLETE
    assert all(plural in seen.missed or name in seen.missed for plural in plurals)


class RefusingKinds(ListServer):
    """Refuses some kinds wherever they are asked for."""

    def __init__(self, objects: Any, plurals: frozenset[str], status: int) -> None:
        super().__init__(objects)
        self.plurals, self.status = plurals, status

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if path.rsplit("/", 1)[-1] in self.plurals:
            return self.status, {"kind": "Status", "code": self.status}
        return super().answer(path, query)


PAGE = Path(__file__).parents[3] / "docs/how-to/audit-postgres-or-kubernetes-without-aws.md"


def test_the_published_role_lists_what_is_read_and_nothing_else() -> None:
    role = yaml.safe_load(PAGE.read_text().split("```yaml")[1].split("```")[0])
    published = {
        (group, resource)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    needed = {
        (GROUPS[kind].split("/")[2] if GROUPS[kind] != "/api/v1" else "", kind) for kind in KINDS
    }
    assert published == needed
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"list"}


def test_the_published_grants_are_enough(database: str) -> None:
    grants = PAGE.read_text().split("```sql")[1].split("```")[0]
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(grants)
    try:
        url = make_conninfo(database, user="qafila_audit")
        for collector in collectors_of("postgres"):
            seen = collector.collect(Server("main", url))
            assert (seen.outcome, seen.missed) == (Outcome.COMPLETE, "")
            assert len(seen.resources) >= LEAST[collector.name]
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("DROP ROLE qafila_audit")


def test_an_estate_without_aws_shows_who_may_need_ai(database: str, token: str) -> None:
    with looking(database, token) as at:
        seen = [collector.collect(at(collector.of)) for collector in ELSEWHERE]
    resources = [r for part in seen for r in part.resources]
    outcomes = outcomes_by_collector(seen)
    found = {c.subject: c for c in assess_estate(resources, outcomes, model_uses=())}
    tickets, assistant = found["database shop on main"], found["support-assistant"]
    assert tickets.points_to is Need.ASSISTANT
    assert tickets.takes is not None
    assert tickets.takes.texts == 300
    assert tickets.takes.languages == {"english": 1.0}
    assert assistant.owner == "search team"
    said = {s.name: s.evidence for s in assistant.signals if s.found}
    assert said["GPU in use"] == "support-assistant"
    assert "support-assistant calls api.openai.com" in said["calls a model today"]
    assert all(c.score is None for c in found.values())  # nobody said what is planned
    planned = {
        "support-assistant": [ProductPlan(what="answers", kind="assistant", within_months=4)]
    }
    decided = {c.subject: c for c in assess_estate(resources, outcomes, plans=planned)}
    assert decided["support-assistant"].need is Need.ASSISTANT
    assert decided["support-assistant"].horizon_months == 0  # a model is called today
