"""The drill on a real Envoy: both ways round, with and without users, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import yaml

from flows.rollback_drill import RollbackDrill
from qafila.errors import Refused, Unavailable
from qafila.ledger.ledger import newest_generation
from qafila.rollout import drill as drilling
from qafila.rollout.drill import way_of
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict
from tasks.rollback_drill import find_way
from tests.support.edges import Edge


def epoch(edge: Edge) -> int:
    return edge.router.read().epoch


@pytest.mark.usefixtures("traffic", "workload")
def test_a_promoted_workload_is_drilled_towards_the_baseline_and_back(edge: Edge) -> None:
    router = edge.router
    router.acknowledged(router.write(100, epoch=epoch(edge), why="promoted"))
    flip = drilling.fly(
        router, 90, epoch=epoch(edge), path="/health", rate=100, hold_s=0.5, way=way_of(100, 10)
    )
    assert router.read().candidate_percent == 100
    assert flip.canary_before > 5
    assert flip.users > 20
    judged = drilling.judge_flips([flip], 1.0, least_users=20)
    assert judged.verdict is Verdict.PASS, judged.sentence


@pytest.mark.usefixtures("workload")
def test_without_users_only_probes_are_counted(edge: Edge) -> None:
    flip = drilling.fly(edge.router, 5, epoch=epoch(edge), path="/health", rate=100, hold_s=0.4)
    assert flip.users == 0
    assert flip.probes > 10
    judged = drilling.judge_flips([flip], 1.0)
    assert judged.verdict is Verdict.PASS, judged.sentence
    assert "by probes alone" in judged.sentence


@pytest.mark.usefixtures("traffic", "workload")
def test_a_candidate_that_fails_its_users_gets_no_certificate(edge: Edge) -> None:
    edge.candidate.errors = edge.baseline.errors = 1.0
    try:
        flip = drilling.fly(edge.router, 5, epoch=epoch(edge), path="/search", rate=50, hold_s=0.3)
    finally:
        edge.candidate.errors = edge.baseline.errors = 0.0
    judged = drilling.judge_flips([flip], 1.0)
    assert judged.verdict is Verdict.FAIL
    assert flip.failed > 0


@pytest.mark.usefixtures("workload")
def test_an_edge_without_answers_is_said_so(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drilling, "_MOST_TRIES", 20)
    with pytest.raises(Unavailable, match="of 20 users none was sent to the candidate"):
        drilling.find_keys(edge.router, "/health")


def test_the_weight_must_stand_where_the_phase_says(
    edge: Edge, workload: Workload, ledger: psycopg.Connection
) -> None:
    router = edge.router
    generation = newest_generation(ledger, workload.name)
    assert generation is not None
    assert find_way(router, workload, generation) == way_of(0, workload.rollout.drill_weight)
    router.write(5, epoch=epoch(edge), why="somebody else")
    with pytest.raises(Refused, match="has 5 % of the traffic already"):
        find_way(router, workload, generation)
    ledger.execute("UPDATE qafila.generation SET phase = 'promoted'")
    promoted = newest_generation(ledger, workload.name)
    assert promoted is not None
    with pytest.raises(Refused, match="is promoted, but the candidate has 5 %"):
        find_way(router, workload, promoted)
    router.write(100, epoch=epoch(edge), why="promoted")
    assert find_way(router, workload, promoted).home == "candidate"


def test_the_schedule_is_off_and_asks_for_a_drill_that_the_flow_takes() -> None:
    path = Path(__file__).parents[3] / "prefect.yaml"
    deployments = {d["name"]: d for d in yaml.safe_load(path.read_text())["deployments"]}
    (schedule,) = deployments["rollback-drill"]["schedules"]
    assert schedule["active"] is False
    assert RollbackDrill.model_validate(schedule["parameters"]["request"]).flips == 20
