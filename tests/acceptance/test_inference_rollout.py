"""An inference service goes through the same rollout: an OpenAI-compatible endpoint on both arms.

Both arms are real processes over the demo's search in small; Envoy and the ledger are real. What
goes through them are chat completions, whole and streamed. Each arm knows its model by a name of
its own and refuses any other; users know only the alias.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.demo.load import read_texts
from qafila.ledger.leases import held_lease
from qafila.ledger.ledger import apply_workload, newest_generation
from qafila.rollout import steps as canary
from qafila.rollout.plan import plan_steps
from qafila.rollout.preconditions import put_on_trial
from qafila.rollout.session import Trial
from qafila.routers.port import Request
from qafila.sql import statement
from qafila.stack import postgres
from qafila.workload.model import Workload
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tests.acceptance.crossing import wait_for as wait_until
from tests.support.demo_services import Demo, ledger_of, running_demo, wait_for
from tests.support.edges import Edge, free_port, running_edge
from tests.support.routes import install_routes

pytestmark = pytest.mark.slow

ALIAS = "docs-assistant"
MODELS = {"baseline": "keyword-1", "candidate": "hybrid-1"}
ROLLOUT = {
    "weights": [5, 25, 50, 100],
    "approve_above": 100,
    "minimum_requests": 40,
    "bake_seconds": 1,
    "deadline_minutes": 3,
}
OBJECTIVES = {
    "latency_p95": {"at_most_ratio": 5.0},
    "error_rate": {"at_most": 0.02},
    "guardrails": {"ungrounded": {"at_most": 0.02}, "over_budget": {"at_most": 0.02}},
}


@dataclass
class Inference:
    """Two arms of an inference service behind one Envoy."""

    demo: Demo
    edge: Edge
    spec: Workload

    def break_candidate(self, **faults: float) -> None:
        address = f"{self.spec.service.candidate.url}/_demo/break"
        httpx.post(address, json=faults).raise_for_status()


@pytest.fixture(scope="module")
def inference(
    pg_server: postgres.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Inference]:
    with ExitStack() as stack:
        demo = stack.enter_context(running_demo(pg_server))
        edge = stack.enter_context(running_edge(tmp_path_factory.mktemp("edge")))
        urls = [
            stack.enter_context(chat_service("baseline", demo.source_url, demo)),
            stack.enter_context(chat_service("candidate", demo.target_url, demo, "--breakable")),
        ]
        spec = as_inference(demo.workload, urls)
        with psycopg.connect(demo.ledger_url, autocommit=True) as ledger:
            ledger.execute(
                statement("ledger", "put_connection"),
                {
                    "name": spec.service.router.block,
                    "kind": "qafila-envoy",
                    "settings": Jsonb(edge.settings()),
                    "has_secret": False,
                },
            )
            apply_workload(ledger, spec)
            install_routes(ledger, spec).close()
        yield Inference(demo, edge, spec)


def as_inference(workload: Workload, urls: list[str]) -> Workload:
    body = workload.model_dump(mode="json")
    for arm, url in zip(MODELS, urls, strict=True):
        body["service"][arm] = {"url": url, "model": MODELS[arm]}
    body["service"]["alias"] = ALIAS
    body["rollout"] |= ROLLOUT
    body["objectives"] |= OBJECTIVES
    return Workload.model_validate(body)


@contextmanager
def chat_service(arm: str, database: str, demo: Demo, *more: str) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "qafila.demo.chat_services",
            arm,
            "--port",
            str(port),
            "--model",
            MODELS[arm],
            "--database",
            database,
            "--documents",
            demo.source_url,
            *more,
        ]
    )
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Users:
    """What users of the endpoint got, by status; ``cut`` counts streams without their end."""

    statuses: Counter[int] = field(default_factory=Counter)
    streamed: int = 0
    cut: int = 0

    @property
    def failed(self) -> int:
        return sum(n for status, n in self.statuses.items() if status >= 500)

    def ask(self, client: httpx.Client, number: int, question: str) -> None:
        stream = number % 4 == 0
        reply = client.post(
            "/v1/chat/completions",
            headers={"x-tenant-id": f"tenant-{number % 300}"},
            json={
                "model": ALIAS,
                "stream": stream,
                "messages": [{"role": "user", "content": question}],
            },
        )
        self.statuses[reply.status_code] += 1
        if stream and reply.status_code == 200:
            self.streamed += 1
            self.cut += not reply.text.endswith("data: [DONE]\n\n")


@pytest.fixture
def users(inference: Inference) -> Iterator[Users]:
    """Ask all the time while the test runs, some answers streamed."""
    seen, stop = Users(), threading.Event()
    questions = read_texts(inference.demo.source_url)

    def send(first: int) -> None:
        with httpx.Client(base_url=inference.edge.listen_url, timeout=20) as client:
            for number in itertools.count(first, 2):
                if stop.wait(0.015):
                    return
                seen.ask(client, number, questions[number % len(questions)])

    threads = [threading.Thread(target=send, args=[n]) for n in (0, 1)]
    for thread in threads:
        thread.start()
    yield seen
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def trial(inference: Inference) -> Iterator[Trial]:
    """A rollout that may begin: weight 0, nothing serves, the generation is drilled."""
    demo, spec, router = inference.demo, inference.spec, inference.edge.router
    inference.break_candidate()
    with demo.target() as target:
        target.execute("DELETE FROM qafila.alias")
    with (
        ledger_of(demo.ledger_url),
        psycopg.connect(demo.ledger_url, autocommit=True) as ledger,
        held_lease(
            ledger, spec.name, "test", generation=1, ledger_address=demo.ledger_url
        ) as heart,
    ):
        ledger.execute("UPDATE qafila.generation SET phase = 'drilled'")
        router.write(0, epoch=heart.epoch, why="next test")
        generation = newest_generation(ledger, spec.name)
        assert generation is not None
        yield Trial(ledger, spec, generation, router, heart, f"r{heart.epoch}")


def go_up(trial: Trial, *, at_25: Callable[[], None] = lambda: None) -> None:
    """Run the whole rollout; something happens at the first look at 25 %."""
    hooks = [at_25]

    def tell(line: str) -> None:
        if line.startswith("25 %") and hooks:
            hooks.pop()()

    put_on_trial(trial.ledger, trial.spec, trial.generation, trial.heart.epoch)
    first, *steps = plan_steps(trial.spec.rollout)
    nobody = lambda *_: pytest.fail("nobody is asked")  # noqa: E731
    canary.bake_aa(trial, first, 2.0, 0.3, tell, nobody)
    for step in steps:
        canary.judge_step(trial, step, 0.3, tell, nobody)
    canary.cut_over(trial)


def test_it_crosses_to_100_percent(trial: Trial, users: Users, inference: Inference) -> None:
    go_up(trial)
    assert trial.generation.phase == Phase.PROMOTED
    assert {s.verdict for s in trial.steps} == {"PASS"}
    assert trial.router.read().candidate_percent == 100
    assert set(users.statuses) == {200}
    assert users.streamed > 20
    assert users.cut == 0
    models = httpx.get(f"{inference.edge.listen_url}/v1/models")
    assert models.headers["x-qafila-served"] == "candidate"
    looks = canary.looks_of(trial.ledger, trial.name)
    assert all(look["counts"]["candidate"].get("ungrounded", 0) == 0 for look in looks)
    assert sum(look["counts"]["candidate"]["requests"] for look in looks) > 40


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        ({"ungrounded": 0.5}, "ungrounded"),
        ({"wordy": 0.5}, "over_budget"),
        ({"empty": 0.7}, "empty"),
        ({"errors": 0.5}, "errors"),
    ],
)
def test_a_candidate_that_goes_bad_is_brought_back_for_that_reason(
    trial: Trial, users: Users, inference: Inference, faults: dict[str, float], reason: str
) -> None:
    with pytest.raises(canary.Aborted) as aborted:
        go_up(trial, at_25=lambda: inference.break_candidate(**faults))
    decision = aborted.value.decision
    assert decision.verdict is Verdict.FAIL
    assert decision.sentence.startswith(f"{reason}: canary "), decision.sentence
    back = canary.go_back(trial, decision.sentence, None)
    assert back is not None
    assert back.verdict is Verdict.PASS, back.sentence
    assert trial.router.read().candidate_percent == 0
    now = newest_generation(trial.ledger, trial.spec.name)
    assert now is not None
    assert now.phase == Phase.ROLLED_BACK
    if "errors" in faults:  # a completion may not be asked twice: its users meet the error
        assert users.failed > 0
    else:
        assert users.failed == 0


def test_where_completions_may_be_asked_twice_nobody_meets_an_error(
    trial: Trial, users: Users, inference: Inference
) -> None:
    service = trial.spec.service
    trial.spec = trial.spec.model_copy(
        update={"service": service.model_copy(update={"idempotent_posts": True})}
    )
    install_routes(trial.ledger, trial.spec).close()
    try:
        with pytest.raises(canary.Aborted, match="errors: canary "):
            go_up(trial, at_25=lambda: inference.break_candidate(errors=0.5))
        assert canary.go_back(trial, "errors", None) is not None
    finally:
        install_routes(trial.ledger, inference.spec).close()
    assert users.failed == 0
    assert trial.failed == 0


def test_what_an_answer_says_of_itself_reaches_the_judge(
    trial: Trial, inference: Inference
) -> None:
    """Four completions, one of them streamed, are read back from Envoy's log."""
    put_on_trial(trial.ledger, trial.spec, trial.generation, trial.heart.epoch)
    inference.break_candidate(ungrounded=1.0)
    trial.router.acknowledged(trial.router.write(100, epoch=trial.heart.epoch, why="test"))
    _, cursor = trial.router.observed(None)
    users, seen, begun = Users(), list[Request](), time.time()
    with httpx.Client(base_url=inference.edge.listen_url, timeout=20) as client:
        for number in range(4):
            users.ask(client, number, "list the buckets of an account")

    def logged() -> bool:
        nonlocal cursor
        found, cursor = trial.router.observed(cursor)
        seen.extend(r for r in found if r.started_at >= begun)  # the test before may log late
        return len(seen) == 4

    wait_until("four requests in the log", logged, within_s=10)
    assert {(r.arm, r.status, r.results, r.flags) for r in seen} == {
        ("candidate", 200, 3, frozenset({"ungrounded"}))
    }
