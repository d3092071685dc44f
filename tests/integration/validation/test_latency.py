"""Rungs 8 and 9 over the demo's services; test_known_latency.py has arms whose times are known."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from prefect.logging import disable_run_logger

from qafila.errors import Refused
from qafila.stores.pointer_row import set_trial
from qafila.validation.checks.cost import judge_cost
from qafila.validation.checks.latency import measure_latency
from qafila.validation.judged import Answer
from qafila.validation.model import Finding
from qafila.validation.options import LadderOptions
from qafila.validation.outcome import Outcome
from qafila.validation.search_service import SearchService
from qafila.validation.suite import Climb, begin_climb
from qafila.workload.model import CostRatio
from qafila.workload.verdict import Verdict
from tasks.benchmark_validation import conclude
from tests.support.demo_services import Demo, ledger_of

pytestmark = pytest.mark.timing


@pytest.fixture
def demo(search_demo: Demo) -> Iterator[Demo]:
    with ledger_of(search_demo.ledger_url), search_demo.target() as target:
        set_trial(target, search_demo.workload.name, 1, 0)
        time.sleep(0.25)  # what a service knows of the pointer row may be 0.2 s old
        yield search_demo
        httpx.post(f"{search_demo.candidate_url}/_demo/break", json={})
        target.execute("DELETE FROM qafila.alias")


def climb(demo: Demo, **options: float) -> Climb:
    return begin_climb(demo.workload.name, LadderOptions(max_queries=60, **options))


def test_real_services_are_measured_over_http(demo: Demo) -> None:
    found = measure_latency(climb(demo, latency_seconds=6))
    assert found.judgement.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert found.parts["errors of candidate"].numbers["errors"] == 0
    assert "2,000,000 queries a month" in found.judgement.sentence
    assert found.figures["latency"]["cached"] == {"baseline": False, "candidate": False}


def test_a_slow_service_fails_and_stops_the_phase(demo: Demo) -> None:
    httpx.post(f"{demo.candidate_url}/_demo/break", json={"slow_ms": 300})
    found = measure_latency(climb(demo, latency_rate=20, latency_seconds=20))
    assert isinstance(found, Finding)
    assert found.judgement.verdict is Verdict.FAIL, found.judgement.sentence
    with disable_run_logger(), pytest.raises(Refused, match="times the baseline's"):
        conclude(demo.generation, Outcome([found]))


def test_the_cost_of_the_demo_is_priced_and_a_dearer_machine_is_seen(demo: Demo) -> None:
    started = climb(demo)
    found = judge_cost(started)
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert "machine time 81.76 USD" in found.judgement.sentence  # 0.112 an hour, 730 hours
    assert "not judged" in found.judgement.sentence
    month = found.figures["cost"]["systems"]["candidate"]["month"]
    assert float(month["embedding of queries"]) == 0
    assert float(month["storage of vectors"]) > 0
    assert set(found.figures["cost_per_1000_queries"]) == {
        "baseline",
        "vector_only",
        "candidate",
        "currency",
    }

    ratio = found.figures["cost"]["ratio"]["ratio"]
    started.dearer = 1.3
    started.workload = with_cost_ratio(started, ratio * 0.5)
    dearer = judge_cost(started)
    assert dearer.figures["cost"]["ratio"]["ratio"] == pytest.approx(1.3 * ratio)
    assert dearer.judgement.verdict is Verdict.FAIL
    assert "times what it costs the baseline" in dearer.judgement.sentence


def with_cost_ratio(climb: Climb, at_most: float) -> object:
    objectives = climb.workload.objectives.model_copy(
        update={"cost_ratio": CostRatio(at_most_ratio=at_most)}
    )
    return climb.workload.model_copy(update={"objectives": objectives})


def test_a_missing_price_or_another_currency_is_inconclusive(demo: Demo) -> None:
    found = judge_cost(climb(demo, machine="a-machine-of-nobody"))
    assert found.judgement.verdict is Verdict.INCONCLUSIVE
    assert "a-machine-of-nobody" in found.judgement.sentence
    euros = climb(demo)
    budget = euros.workload.budget.model_copy(update={"currency": "EUR"})
    euros.workload = euros.workload.model_copy(update={"budget": budget})
    said = judge_cost(euros).judgement
    assert said.verdict is Verdict.INCONCLUSIVE
    assert "the budget is in EUR, the price book in USD" in said.sentence


def test_a_connection_that_was_closed_in_a_pause_is_opened_again() -> None:
    """A server may close an idle connection; between two blocks that is no error of the service."""

    class Once(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # promises to keep the connection, and does not

        def do_GET(self) -> None:
            body = b'{"results": [{"id": "a"}]}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Once)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with SearchService(f"http://127.0.0.1:{server.server_port}") as service:
            answers = []
            for _ in range(5):
                answers.append(service.ask("a table", 10))
                time.sleep(0.05)
        assert [a.ranking for a in answers] == [("a",)] * 5
        assert replace(answers[0], ms=1.0) == Answer(("a",), 1.0)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
