"""A whole rollout on an HTTPRoute: no twin, no copies, no retry, requests seen in a named log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.ledger.connections import record_connection
from qafila.ledger.leases import held_lease, release_lease
from qafila.ledger.ledger import apply_workload, newest_generation, open_generation
from qafila.rollout import steps as canary
from qafila.rollout.session import Trial
from qafila.rollout.steps.look import set_weights
from qafila.routers.lookup import require_sight
from qafila.sql import statement
from qafila.workload.model import Service, Workload
from qafila.workload.phases import Phase
from qafila.workload_file import read_file
from tests.integration.rollout.test_canary import NAME, QUICK, assert_aborts, go_up
from tests.support.gateway import Gateway, running_gateway, users
from tests.support.kubernetes_api import TOKEN, Cluster, http_route, running_cluster
from tests.support.routed_workload import FILE, FINGERPRINT
from tests.support.routes import install_routes


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with running_cluster(Cluster(http_route(old=1, new=0))) as running:
        yield running


@pytest.fixture
def gateway(cluster: Cluster, tmp_path: Path) -> Iterator[Gateway]:
    with running_gateway(cluster, tmp_path / "service.jsonl") as running:
        yield running


@pytest.fixture
def spec(cluster: Cluster, gateway: Gateway, tmp_path: Path) -> Workload:
    router = {
        "kind": "gateway-api",
        "block": "cluster",
        "namespace": "shop",
        "route": "search",
        "rule": 1,
        "baseline_backend": "old",
        "candidate_backend": "new",
        "entry_url": gateway.url,
        "log": str(tmp_path / "service.jsonl"),
    }
    service = Service.model_validate(
        {"baseline": {"url": gateway.url}, "candidate": {"url": gateway.url}, "router": router}
    )
    return read_file(FILE).model_copy(update={"service": service, "rollout": QUICK})


@pytest.fixture
def trial(
    ledger: psycopg.Connection,
    ledger_url: str,
    target_url: str,
    cluster: Cluster,
    spec: Workload,
    tmp_path: Path,
) -> Iterator[Trial]:
    from blocks import KubernetesCluster

    (tmp_path / "token").write_text(TOKEN)
    record_connection(
        ledger,
        "cluster",
        KubernetesCluster(api_url=cluster.url, token_file=str(tmp_path / "token")),
    )
    ledger.execute(
        statement("ledger", "put_connection"),
        {
            "name": spec.corpus.target.block,
            "kind": "qafila-postgres",
            "settings": Jsonb({"url": target_url}),
            "has_secret": False,
        },
    )
    router = install_routes(ledger, spec)
    apply_workload(ledger, spec)
    open_generation(ledger, spec, FINGERPRINT)
    ledger.execute("UPDATE qafila.generation SET phase = 'drilled'")
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    with held_lease(ledger, NAME, "test", generation=1, ledger_address=ledger_url) as heart:
        yield Trial(ledger, spec, generation, router, heart, f"r{heart.epoch}")
    router.close()


def test_a_good_candidate_is_promoted_and_what_nobody_compared_is_said(
    trial: Trial, gateway: Gateway, cluster: Cluster
) -> None:
    require_sight(trial.router)
    with users(gateway.url, every_s=0.008):
        go_up(trial)
    assert {step.verdict for step in trial.steps} == {"PASS"}
    assert "second name" in trial.steps[0].sentence
    assert trial.generation.phase == Phase.PROMOTED
    assert cluster.route is not None
    backends = cluster.route["spec"]["rules"][1]["backendRefs"]
    assert {b["name"]: b["weight"] for b in backends} == {"old": 0, "new": 100}
    looks = canary.looks_of(trial.ledger, trial.name)
    assert looks[-1]["counts"]["candidate"]["requests"] > 0


def test_a_router_that_takes_its_time_costs_the_holder_no_lease(
    ledger: psycopg.Connection, ledger_url: str, trial: Trial, cluster: Cluster
) -> None:
    release_lease(ledger, NAME, trial.heart.epoch)
    cluster.accepts = False
    timer = threading.Timer(2.5, cluster.accept)
    with held_lease(
        ledger,
        NAME,
        "test",
        generation=1,
        ledger_address=ledger_url,
        must_mark=True,
        mark_within_s=1.0,
    ) as heart:
        slow = Trial(ledger, trial.spec, trial.generation, trial.router, heart, "slow")
        timer.start()
        version = set_weights(slow, 5, why="test")
        assert not heart.lost.is_set()
        reported = slow.router.reported()
        assert reported is not None
        assert reported.version == version
    timer.join()


def test_errors_bring_it_down_and_the_way_back_is_seen_in_the_log(
    trial: Trial, gateway: Gateway
) -> None:
    with users(gateway.url, every_s=0.008):
        assert_aborts(trial, "canary", at={"25 %": lambda: setattr(gateway, "errors", 0.5)})


def test_empty_answers_bring_it_down(trial: Trial, gateway: Gateway) -> None:
    with users(gateway.url, every_s=0.008):
        assert_aborts(trial, "empty", at={"25 %": lambda: setattr(gateway, "empties", 0.5)})
