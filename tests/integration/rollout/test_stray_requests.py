"""A router that acknowledges weight 0 and still sends a user to the candidate: FAIL, with the
count and the time, for a rollback, a drill and an aborted canary alike. Real Envoys."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from qafila.errors import Refused
from qafila.ledger.evidence import latest_evidence
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import newest_generation
from qafila.rollback.rollback import refuse_if_unproven, roll_back
from qafila.rollback.traffic import descend
from qafila.rollout import drill as drilling
from qafila.rollout import steps as canary
from qafila.rollout.decide import Action, Decision
from qafila.rollout.session import Trial
from qafila.routers.envoy.access_log import _request, tenant_digest
from qafila.routers.envoy.fleet import FleetRouter
from qafila.routers.port import Router
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.support.edges import Edge, running_fleet
from tests.support.stale_router import StaleRouter, stale

NAME = "aws-docs-search"
SAID = re.compile(
    r"(\d+) requests? reached the candidate after weight 0 was taken, the last (\d+\.\d\d) s after "
    r"it, at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00\."
)


@pytest.fixture
def liar(edge: Edge, workload: Workload, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the ledger's workload be routed by a router whose weight 0 leaves one user in ten."""
    monkeypatch.setattr("tests.support.stale_router.StaleFolder.percent", 10)
    monkeypatch.setattr("qafila.routers.lookup.EnvoyRouter", StaleRouter)
    yield
    edge.router.acknowledged(
        edge.router.write(0, epoch=edge.router.read().epoch, why="honest again")
    )


def go_down(router: Router, seconds: float = 1.0) -> tuple[Verdict, str, int]:
    epoch = router.read().epoch + 1
    down = descend(
        router,
        "w",
        epoch=epoch,
        why="test",
        put_back=lambda: None,
        beside=False,
        proof_seconds=seconds,
    )
    return down.verdict, down.sentence, down.canary_requests_after


def weigh(edge: Edge, percent: int) -> None:
    epoch = edge.router.read().epoch + 1
    edge.router.acknowledged(edge.router.write(percent, epoch=epoch, why="test"))


@pytest.mark.usefixtures("traffic", "liar")
def test_a_rollback_fails_with_the_count_and_the_time_until_nobody_is_sent_there(
    edge: Edge, ledger: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.execute("UPDATE qafila.generation SET phase = 'canary'")
    weigh(edge, 50)
    for _ in range(2):  # the first leaves nothing to take back, by file and phase
        begun = edge.candidate.served
        outcome = roll_back(ledger, NAME, "quality fell")
        assert outcome.verdict is Verdict.FAIL, outcome.sentence
        assert not outcome.already
        said = SAID.search(outcome.sentence)
        assert said is not None, outcome.sentence
        assert int(said[1]) == outcome.canary_requests_after > 5
        assert outcome.canary_requests_after <= edge.candidate.served - begun + 400
        assert 0 < float(said[2]) < 5
        kept = latest_evidence(ledger, NAME, "rollback")
        assert kept is not None
        assert kept.verdict == Verdict.FAIL
        assert kept.body["canary_requests_after"] == outcome.canary_requests_after
        assert kept.body["last_canary_request_at"] in outcome.sentence
        with pytest.raises(Refused, match="reached the candidate"):
            refuse_if_unproven(outcome)
    monkeypatch.undo()
    healed = roll_back(ledger, NAME, "the router was mended")
    assert healed.verdict is Verdict.PASS, healed.sentence
    assert roll_back(ledger, NAME, "again").already


@pytest.mark.usefixtures("workload")
def test_without_users_our_own_probes_find_one_user_in_a_hundred(edge: Edge) -> None:
    weigh(edge, 50)
    verdict, sentence, count = go_down(stale(edge.router, 1))
    assert (verdict, count > 0) == (Verdict.FAIL, True), sentence
    assert SAID.search(sentence)


@pytest.mark.usefixtures("workload", "traffic")
def test_a_route_that_calls_the_candidate_the_baseline_hides_nothing(edge: Edge) -> None:
    weigh(edge, 50)
    verdict, sentence, count = go_down(stale(edge.router, 10, hidden=True))
    assert (verdict, count > 0) == (Verdict.FAIL, True), sentence


def test_each_member_of_a_fleet_is_asked(tmp_path: Path) -> None:
    with running_fleet(tmp_path) as edges:
        arms = edges[0].baseline.url, edges[0].candidate.url
        honest = FleetRouter("edges", [e.router for e in edges])
        honest.acknowledged(honest.install(*arms).version)
        honest.acknowledged(honest.write(50, epoch=1, why="test"))
        members = [edges[0].router, stale(edges[1].router, 50)]
        verdict, sentence, count = go_down(FleetRouter("edges", members))
        assert (verdict, count > 0) == (Verdict.FAIL, True), sentence
        honest.acknowledged(honest.write(50, epoch=3, why="test"))
        verdict, sentence, _ = go_down(honest)
        assert verdict is Verdict.PASS, sentence


@pytest.mark.usefixtures("workload")
def test_own_probes_are_no_users_and_are_counted_once(edge: Edge) -> None:
    weigh(edge, 50)
    down = descend(
        edge.router,
        "w",
        epoch=edge.router.read().epoch + 1,
        why="test",
        put_back=lambda: None,
        beside=False,
    )
    assert down.verdict is Verdict.PASS
    assert (down.requests_after, down.canary_requests_after) == (0, 0)
    assert 20 <= down.probes <= 400
    weigh(edge, 50)
    down = descend(
        stale(edge.router, 100),
        "w",
        epoch=edge.router.read().epoch + 1,
        why="test",
        put_back=lambda: None,
        beside=False,
    )
    assert down.canary_requests_after == down.probes


@pytest.mark.usefixtures("traffic", "workload")
def test_a_drill_fails_with_the_count_and_the_time(edge: Edge) -> None:
    liar = stale(edge.router, 10)
    epoch = edge.router.read().epoch
    flip = drilling.fly(liar, 20, epoch=epoch, path="/health", rate=100, hold_s=0.5)
    judged = drilling.judge_flips([flip], 1.0)
    assert judged.verdict is Verdict.FAIL
    count = judged.numbers["canary_requests_after"]
    assert isinstance(count, int)
    assert count > 0
    assert re.search(
        rf"; {count} met it after the way back was taken, the last \d\.\d\d s after it, at "
        rf"{re.escape(str(judged.numbers['last_canary_request_at']))}\.",
        judged.sentence,
    ), judged.sentence


@pytest.mark.usefixtures("traffic", "liar")
def test_an_aborted_canary_fails_and_does_not_say_that_all_is_on_the_baseline(
    edge: Edge, ledger: psycopg.Connection, workload: Workload
) -> None:
    ledger.execute("UPDATE qafila.generation SET phase = 'canary'")
    weigh(edge, 50)
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    with held_lease(ledger, NAME, "canary-cutover", generation=1) as heart:
        trial = Trial(ledger, workload, generation, edge.router, heart, "docs-g1-e1")
        back = canary.go_back(trial, "the deadline", None)
    assert back is not None
    assert back.verdict is Verdict.FAIL
    ended = Decision(Action.ABORT, Verdict.INCONCLUSIVE, "the deadline.")
    decision = canary.judge_way_back(ended, back)
    assert decision.verdict is Verdict.FAIL
    error = canary.error_of(decision, NAME, back)
    assert isinstance(error, Refused)
    assert SAID.search(error.what)
    assert "all traffic is on the baseline" not in error.kept
    assert error.remedy.endswith(f"qafila rollback {NAME}")
    now = newest_generation(ledger, NAME)
    assert now is not None
    assert now.phase == Phase.ROLLED_BACK


def test_a_log_line_on_the_candidates_cluster_is_the_candidates() -> None:
    line = b'{"ts": 5, "code": 200, "ms": 1, "served": "baseline", "arm": "%s"}'
    for cluster, arm in (("candidate_safe", "candidate"), ("baseline", "baseline")):
        found = _request(line % cluster.encode())
        assert found is not None
        assert found.arm == arm


def test_a_long_log_is_read_to_its_end(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call gives some megabytes: what came after them decided nothing before."""
    monkeypatch.setattr("qafila.routers.envoy.access_log._CALL_BYTES", 2_000)
    _, cursor = edge.router.observed(None)
    for n in range(60):
        httpx.get(edge.listen_url + "/search", headers={"x-tenant-id": f"long-{n}"})
    time.sleep(0.4)
    parts = list(drilling.log_since(edge.router, cursor))
    assert len(parts) > 1
    wanted = {tenant_digest(f"long-{n}") for n in range(60)}
    assert wanted <= {request.tenant for part in parts for request in part}
