"""A rollout on a real Envoy under real requests: what goes up, and what comes down."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator

import psycopg
import pytest

from qafila.errors import Refused, StaleEpoch
from qafila.ledger import approvals
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import Generation, apply_workload, newest_generation
from qafila.rollback.rollback import roll_back
from qafila.rollout import drill as drilling
from qafila.rollout import steps as canary
from qafila.rollout.decide import Answered
from qafila.rollout.plan import Step, plan_steps
from qafila.rollout.preconditions import (
    put_on_trial,
    require_certificate,
    require_ready,
    versions_of,
)
from qafila.rollout.session import Trial
from qafila.stores.pointer_row import read_alias
from qafila.workload.model import Rollout, Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.support.edges import Edge

NAME = "aws-docs-search"
QUICK = Rollout(
    weights=[5, 25, 50, 100],
    approve_above=25,
    minimum_requests=40,
    bake_seconds=1,
    deadline_minutes=3,
)
Run = Callable[..., Trial]


@pytest.fixture
def quick(ledger: psycopg.Connection, workload: Workload, edge: Edge) -> Workload:
    spec = workload.model_copy(update={"rollout": QUICK})
    apply_workload(ledger, spec)
    ledger.execute("UPDATE qafila.generation SET phase = 'drilled', revision = 2")
    edge.candidate.errors = edge.candidate.empties = edge.candidate.delay_s = 0.0
    return spec


@pytest.fixture
def trial(
    ledger: psycopg.Connection, ledger_url: str, quick: Workload, edge: Edge
) -> Iterator[Trial]:
    # The edge outlives a test's ledger, so this ledger's epochs start where the edge is.
    epoch = edge.router.read().epoch
    ledger.execute(
        "INSERT INTO qafila.lease (workload, epoch, ttl_seconds) VALUES (%s, %s, 5)", [NAME, epoch]
    )
    generation = newest_generation(ledger, NAME)
    assert generation is not None
    with held_lease(ledger, NAME, "test", generation=1, ledger_address=ledger_url) as heart:
        yield Trial(ledger, quick, generation, edge.router, heart, f"r{heart.epoch}")


def go_up(
    trial: Trial,
    *,
    answer: str | None = "approve",
    at: dict[str, Callable[[], None]] | None = None,
) -> list[str]:
    """Run the whole rollout; ``at`` does something when a step's name is first told."""
    lines: list[str] = []
    hooks = dict(at or {})

    def tell(line: str) -> None:
        lines.append(line)
        for name in [n for n in hooks if line.startswith(n)]:
            hooks.pop(name)()

    def ask(trial: Trial, step: Step, evidence: str) -> approvals.Approval:
        asked = approvals.ask(
            trial.ledger,
            approvals.Question(
                f"canary-{trial.name}", NAME, 1, f"above {step.weight} %", evidence, 30
            ),
        )
        if "asked" in hooks:
            hooks.pop("asked")()
        if answer is None:
            return asked
        return approvals.answer(trial.ledger, asked.id, answer, by="Test")  # type: ignore[arg-type]

    put_on_trial(trial.ledger, trial.spec, trial.generation, trial.heart.epoch)
    first, *steps = plan_steps(trial.spec.rollout)
    canary.bake_aa(trial, first, 1.5, 0.2, tell, ask)
    for step in steps:
        canary.judge_step(trial, step, 0.2, tell, ask)
    canary.cut_over(trial)
    return lines


def assert_aborts(trial: Trial, says: str, verdict: Verdict = Verdict.FAIL, **more: object) -> None:
    with pytest.raises(canary.Aborted) as aborted:
        go_up(trial, **more)  # type: ignore[arg-type]
    assert says in aborted.value.decision.sentence
    assert aborted.value.decision.verdict is verdict
    back = canary.go_back(trial, str(aborted.value), None)
    assert back is not None
    assert back.verdict is Verdict.PASS, back.sentence
    assert back.canary_requests_after == 0
    assert trial.router.read().candidate_percent == 0
    now = newest_generation(trial.ledger, NAME)
    assert now is not None
    assert now.phase == Phase.ROLLED_BACK


@pytest.mark.usefixtures("traffic")
def test_a_good_candidate_is_promoted(trial: Trial, target_url: str) -> None:
    lines = go_up(trial)
    assert [s.step for s in trial.steps] == ["A/A", "5 %", "25 %", "50 %", "bake at 100 %"]
    assert {s.verdict for s in trial.steps} == {"PASS"}
    assert "proved nothing more" in trial.steps[1].sentence
    assert "proven" in trial.steps[3].sentence or "rejected" in trial.steps[3].sentence
    assert trial.generation.phase == Phase.PROMOTED
    assert trial.failed == 0
    assert trial.approvals == 1
    with psycopg.connect(target_url) as target:
        alias = read_alias(target, NAME)
    assert alias is not None
    assert (alias.generation, alias.trial) == (1, None)
    looks = canary.looks_of(trial.ledger, trial.name)
    assert [look["number"] for look in looks] == list(range(1, len(looks) + 1))
    assert len(looks) < len(lines) + 1
    assert looks[-1]["counts"]["candidate"]["requests"] > 0


@pytest.mark.usefixtures("traffic")
def test_errors_at_25_percent_bring_it_down(trial: Trial, edge: Edge) -> None:
    def break_it() -> None:
        edge.candidate.errors, edge.candidate.empties = 0.2, 0.2

    assert_aborts(trial, "canary", at={"25 %": break_it})
    assert trial.failed == 0  # the baseline answered for it


@pytest.mark.usefixtures("traffic")
def test_empty_answers_bring_it_down(trial: Trial, edge: Edge) -> None:
    assert_aborts(trial, "empty", at={"25 %": lambda: setattr(edge.candidate, "empties", 0.5)})


@pytest.mark.usefixtures("traffic")
def test_a_slow_candidate_is_brought_down(trial: Trial, edge: Edge) -> None:
    assert_aborts(trial, "latency", at={"5 %": lambda: setattr(edge.candidate, "delay_s", 0.3)})


@pytest.mark.usefixtures("traffic")
def test_while_a_person_is_asked_the_judge_goes_on(trial: Trial, edge: Edge) -> None:
    def break_it() -> None:
        edge.candidate.errors = 1.0

    assert_aborts(trial, "errors", answer=None, at={"asked": break_it})
    assert trial.answered is Answered.PENDING


@pytest.mark.usefixtures("traffic")
def test_a_no_brings_it_down(trial: Trial) -> None:
    assert_aborts(trial, "rejected above 25 %", answer="reject")


def test_without_traffic_nothing_goes_up(trial: Trial) -> None:
    ticks = itertools.count(step=20.0)  # the clock runs ahead, so that the test need not wait
    trial.clock = lambda: next(ticks)
    first = plan_steps(QUICK)[0]
    with pytest.raises(canary.Aborted, match="too little traffic") as aborted:
        canary.bake_aa(trial, first, 1.0, 0.2, print, lambda *_: pytest.fail("asked"))
    assert aborted.value.decision.verdict is Verdict.INCONCLUSIVE
    assert trial.router.read().candidate_percent == 0


@pytest.mark.usefixtures("traffic")
def test_an_operator_takes_the_lease_and_the_canary_stands_back(
    trial: Trial, ledger_url: str
) -> None:
    def interfere() -> None:
        with psycopg.connect(ledger_url, autocommit=True) as other:
            assert roll_back(other, NAME, "three in the morning").verdict is Verdict.PASS

    with pytest.raises(StaleEpoch) as stale:
        go_up(trial, at={"25 %": interfere})
    assert canary.reason_of(trial, stale.value).verdict is Verdict.FAIL
    assert canary.go_back(trial, "lost", None) is None  # somebody else leads
    assert trial.router.read().candidate_percent == 0


@pytest.mark.usefixtures("traffic")
def test_a_drill_makes_the_certificate_that_a_canary_needs(
    trial: Trial, edge: Edge, ledger: psycopg.Connection
) -> None:
    spec, generation = trial.spec, trial.generation
    versions = versions_of(edge.router, generation.revision)
    with pytest.raises(Refused, match="never drilled"):
        require_certificate(ledger, spec, generation, versions)
    flip = drilling.fly(
        edge.router, 1, epoch=trial.heart.epoch, path="/health", rate=100, hold_s=0.4
    )
    judged = drilling.judge_flips([flip], 1.0)
    assert judged.verdict is Verdict.PASS, judged.sentence
    assert flip.seconds_to_zero < 0.5
    assert flip.canary_before > 5
    body = drilling.issue_certificate(
        ledger, generation, spec, judged, versions, valid_hours=1, run_id=None
    )
    json.dumps(body)
    assert require_certificate(ledger, spec, generation, versions)["id"] == body["certificate_id"]
    with pytest.raises(Refused, match="other versions of: router"):
        require_certificate(ledger, spec, generation, {**versions, "router": "9.9"})
    later = Generation(NAME, 2, 2, "f", "drilled", generation.phase_since)
    with pytest.raises(Refused, match="generation 1; generation 2 would be promoted"):
        require_certificate(ledger, spec, later, versions)


def test_a_drill_that_left_users_on_the_canary_does_not_pass() -> None:
    good = drilling.Flip(0.01, 0.002, 100, 20, 0, 50, 0, 0)
    assert drilling.judge_flips([good], 1.0).verdict is Verdict.PASS
    for change, verdict in (
        ({"canary_after": 1}, Verdict.FAIL),
        ({"log_after": 1}, Verdict.FAIL),
        ({"failed": 1}, Verdict.FAIL),
        ({"seconds_to_zero": 1.5}, Verdict.FAIL),
        ({"canary_before": 0}, Verdict.INCONCLUSIVE),
    ):
        bad = drilling.Flip(**{**good.__dict__, **change})
        assert drilling.judge_flips([good, bad], 1.0).verdict is verdict


def test_a_second_run_never_takes_a_canary_over(
    ledger: psycopg.Connection, quick: Workload
) -> None:
    ledger.execute("UPDATE qafila.generation SET phase = 'canary'")
    with pytest.raises(Refused, match="never taken over"):
        require_ready(ledger, NAME, Phase.DRILLED)
