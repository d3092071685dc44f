"""The demo's services behind a real Envoy: a slow and an empty candidate are found out as such.

tests/acceptance/test_bad_candidates.py plays the whole demo with the other ways to go bad.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from blocks import EnvoyEdge
from qafila.demo.bad_candidates import GOING, BadCandidate, reason_of
from qafila.demo.load import read_texts
from qafila.ledger.connections import record_connection
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import apply_workload, newest_generation
from qafila.rollout import steps as canary
from qafila.rollout.plan import plan_steps
from qafila.rollout.preconditions import put_on_trial
from qafila.rollout.session import Trial
from qafila.workload.model import AtMostRatio, Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.integration.rollout.test_canary import QUICK
from tests.support.demo_services import Demo
from tests.support.edges import Edge
from tests.support.routes import install_routes


@pytest.fixture
def spec(demo: Demo, edge: Edge) -> Iterator[Workload]:
    """The demo's workload with its own services behind the edge, and a quick rollout.

    On a tenth of the corpus keywords are so fast that hybrid search is more than twice as slow, so
    slow is here what takes five times as long; 300 ms more are much more than that.
    """
    objectives = demo.workload.objectives.model_copy(
        update={"latency_p95": AtMostRatio(at_most_ratio=5.0)}
    )
    rollout = QUICK.model_copy(update={"approve_above": 100})
    spec = demo.workload.model_copy(update={"objectives": objectives, "rollout": rollout})
    with psycopg.connect(demo.ledger_url, autocommit=True) as ledger:
        record_connection(ledger, spec.service.router.block, EnvoyEdge(**edge.settings()))
        apply_workload(ledger, spec)
        install_routes(ledger, spec).close()
        before = newest_generation(ledger, spec.name)
        assert before is not None
        yield spec
        apply_workload(ledger, demo.workload)
        ledger.execute("UPDATE qafila.generation SET phase = %s", [before.phase])


@pytest.fixture
def answers(spec: Workload, demo: Demo, edge: Edge) -> Iterator[Counter[int]]:
    """Ask all the time while the test runs; count answers by status."""
    seen, stop, texts = Counter[int](), threading.Event(), read_texts(demo.source_url)

    def send(first: int) -> None:
        with httpx.Client(base_url=edge.listen_url, timeout=20) as client:
            for number in itertools.count(first, 2):
                if stop.wait(0.015):
                    return
                reply = client.get(
                    "/search",
                    params={"q": texts[number % len(texts)]},
                    headers={"x-tenant-id": f"tenant-{number % 300}"},
                )
                seen[reply.status_code] += 1

    threads = [threading.Thread(target=send, args=[n]) for n in (0, 1)]
    for thread in threads:
        thread.start()
    yield seen
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("kind", [BadCandidate.SLOW, BadCandidate.EMPTY])
def test_it_is_brought_back_for_the_right_reason(
    kind: BadCandidate, spec: Workload, answers: Counter[int], demo: Demo, edge: Edge
) -> None:
    going = GOING[kind]
    assert going.faults is not None
    broken: list[str] = []

    def tell(line: str) -> None:
        if line.startswith(f"{going.at} %") and not broken:
            broken.append(line)
            address = f"{demo.candidate_url}/_demo/break"
            httpx.post(address, json=dict(going.faults or {})).raise_for_status()

    with (
        psycopg.connect(demo.ledger_url, autocommit=True) as ledger,
        held_lease(
            ledger,
            spec.name,
            "test",
            generation=1,
            ledger_address=demo.ledger_url,
            above=edge.router.read().epoch,
        ) as heart,
    ):
        ledger.execute("UPDATE qafila.generation SET phase = 'drilled'")
        generation = newest_generation(ledger, spec.name)
        assert generation is not None
        trial = Trial(ledger, spec, generation, edge.router, heart, f"r{heart.epoch}")
        put_on_trial(ledger, spec, generation, heart.epoch)
        with pytest.raises(canary.Aborted) as aborted:
            go_up(trial, tell)
        decision = aborted.value.decision
        back = canary.go_back(trial, decision.sentence, None)
        ended = newest_generation(ledger, spec.name)
    assert broken, decision.sentence
    assert decision.verdict is Verdict.FAIL
    assert reason_of(f"{spec.name} g1: {decision.sentence}") == going.reason
    assert back is not None
    assert back.verdict is Verdict.PASS, back.sentence
    assert edge.router.read().candidate_percent == 0
    assert ended is not None
    assert ended.phase == Phase.ROLLED_BACK
    assert set(answers) == {200}


def go_up(trial: Trial, tell: object) -> None:
    nobody = lambda *_: pytest.fail("nobody is asked")  # noqa: E731
    first, *steps = plan_steps(trial.spec.rollout)
    canary.bake_aa(trial, first, 2.0, 0.3, tell, nobody)  # type: ignore[arg-type]
    for step in steps:
        canary.judge_step(trial, step, 0.3, tell, nobody)  # type: ignore[arg-type]
