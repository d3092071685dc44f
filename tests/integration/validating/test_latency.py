"""Rungs 8 and 9 over arms whose times are known, and over the demo's services.

Arms sleep, so their times hold on a busy machine too; effects are large.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from qafila.core.judged import Answer, JudgedQuery
from qafila.core.ladder.options import LadderOptions
from qafila.core.ladder.rungs import Finding
from qafila.core.verdict import Verdict
from qafila.core.workload import AtMostRatio, CostRatio
from tasks.alias import set_trial
from tasks.ledger import Generation
from tasks.search_service import SearchService
from tasks.validating.asking import OpenArm
from tasks.validating.climb import Climb, start_climb
from tasks.validating.cost import judge_cost
from tasks.validating.latency import measure_latency
from tests.corpus import demo_workload
from tests.demo_services import Demo, ledger_of

QUERIES = [JudgedQuery(str(n), f"list the {n} buckets of account {n}", {"x": 1.0})
           for n in range(200)]  # fmt: skip
QUICK = {"latency_rate": 50.0, "latency_seconds": 7.0}


class Sleeper:
    """A service of known speed: ``slots`` at a time, answers kept where it has a cache."""

    def __init__(
        self, ms: float, *, slots: int = 64, failing: bool = False, cached: bool = False
    ) -> None:
        self.ms, self.failing, self.asked = ms, failing, 0
        self._slots = threading.Semaphore(slots)
        self._known: set[str] | None = set() if cached else None

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        begun = time.perf_counter()
        self.asked += 1
        with self._slots:
            if self._known is None or text not in self._known:
                time.sleep(self.ms / 1000)
        if self._known is not None:
            self._known.add(text)
        ranking = None if self.failing and self.asked % 3 == 0 else ("x",)
        return Answer(ranking, (time.perf_counter() - begun) * 1000)

    @contextmanager
    def open(self) -> Iterator[Sleeper]:
        yield self


def measure(
    baseline: OpenArm, candidate: OpenArm, at_most: float = 1.25, **options: float
) -> Finding:
    workload = demo_workload()
    objectives = workload.objectives.model_copy(
        update={"latency_p95": AtMostRatio(at_most_ratio=at_most)}
    )
    found = measure_latency.fn(
        Climb(
            workload.model_copy(update={"objectives": objectives}),
            Generation(workload.name, 1, 1, "x", "backfilled", datetime.now(UTC)),
            LadderOptions(**{**QUICK, **options}),
            QUERIES,
            baseline,
            candidate,
        )
    )
    assert isinstance(found, Finding)
    return found


def test_an_equal_candidate_passes_and_its_figures_are_kept() -> None:
    found = measure(Sleeper(40).open, Sleeper(40).open, at_most=2.0)
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert "Neither saturates up to 200 requests a second, 4 times" in found.judgement.sentence
    kept = found.figures["latency"]
    assert kept["systems"]["candidate"]["p95_ms"] >= 40
    assert [level["rate"] for level in kept["levels"]] == [50.0, 100.0, 200.0]
    lowest = kept["levels"][0]["systems"]["candidate"]
    assert sum(n for _, n in lowest["histogram"]) == lowest["sent"]
    assert {p["system"] for p in found.series["percentiles"]} == {"baseline", "candidate"}


def test_half_as_long_again_fails() -> None:
    found = measure(Sleeper(300).open, Sleeper(450).open, latency_rate=25, latency_seconds=14)
    assert found.judgement.verdict is Verdict.FAIL, found.judgement.sentence
    assert "times the baseline's" in found.judgement.sentence


def test_a_burst_of_errors_is_an_error_and_ends_the_load() -> None:
    broken = Sleeper(20, failing=True)
    found = measure(Sleeper(20).open, broken.open)
    assert found.judgement.verdict is Verdict.ERROR
    assert "requests under load ended in an error" in found.judgement.sentence
    assert broken.asked < 150  # planned were some 90 at the first level alone, and 270 above


def test_saturation_is_named_at_the_multiple_where_it_begins() -> None:
    # four at a time, 50 ms each: 80 a second; 50 are answered, 200 are not
    found = measure(Sleeper(50).open, Sleeper(50, slots=4).open, at_most=5.0)
    saturated = found.figures["latency"]["saturated"]
    assert saturated["baseline"] is None
    assert "4 times the real rate" in saturated["candidate"] or "2 times" in saturated["candidate"]
    assert "The candidate saturates at" in found.judgement.sentence


def test_a_candidate_that_cannot_keep_up_with_the_real_rate_fails() -> None:
    # two at a time, 300 ms each: 7 a second of 50
    found = measure(Sleeper(200).open, Sleeper(300, slots=2).open, at_most=5.0)
    assert found.judgement.verdict is Verdict.FAIL, found.judgement.sentence
    assert len(found.figures["latency"]["levels"]) == 1  # spared the levels above


def test_a_cache_is_noticed_and_does_not_earn_a_pass() -> None:
    found = measure(Sleeper(30).open, Sleeper(90, cached=True).open, at_most=1.25)
    assert found.figures["latency"]["cached"] == {"baseline": False, "candidate": True}
    assert "The candidate answers repeated questions from a cache" in found.judgement.sentence
    assert found.judgement.verdict is Verdict.FAIL


@pytest.fixture
def demo(search_demo: Demo) -> Iterator[Demo]:
    with ledger_of(search_demo.ledger_url), search_demo.target() as target:
        set_trial(target, search_demo.workload.name, 1, 0)
        time.sleep(0.25)  # what a service knows of the pointer row may be 0.2 s old
        yield search_demo
        httpx.post(f"{search_demo.candidate_url}/_demo/break", json={})
        target.execute("DELETE FROM qafila.alias")


def climb(demo: Demo, **options: float) -> Climb:
    return start_climb.fn(demo.workload.name, LadderOptions(max_queries=60, **options))


def test_real_services_are_measured_over_http(demo: Demo) -> None:
    found = measure_latency.fn(climb(demo, latency_seconds=6))
    assert found.judgement.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE)
    assert found.parts["errors of candidate"].numbers["errors"] == 0
    assert "2 000 000 queries a month" in found.judgement.sentence
    assert found.figures["latency"]["cached"] == {"baseline": False, "candidate": False}


def test_a_slow_service_fails(demo: Demo) -> None:
    httpx.post(f"{demo.candidate_url}/_demo/break", json={"slow_ms": 300})
    found = measure_latency.fn(climb(demo, latency_rate=20, latency_seconds=20))
    assert found.judgement.verdict is Verdict.FAIL, found.judgement.sentence


def test_the_cost_of_the_demo_is_priced_and_a_dearer_machine_is_seen(demo: Demo) -> None:
    started = climb(demo)
    found = judge_cost.fn(started)
    assert found.judgement.verdict is Verdict.PASS, found.judgement.sentence
    assert "machine time 81.76 USD" in found.judgement.sentence  # 0.112 an hour, 730 hours
    assert "not judged" in found.judgement.sentence
    month = found.figures["cost"]["systems"]["candidate"]["month"]
    assert float(month["embedding of queries"]) == 0
    assert float(month["storage of vectors"]) > 0
    assert set(found.figures["cost_per_1000_queries"]) == {
        "baseline", "vector_only", "candidate", "currency",
    }  # fmt: skip

    ratio = found.figures["cost"]["ratio"]["ratio"]
    started.dearer = 1.3
    started.workload = with_cost_ratio(started, ratio * 0.5)
    dearer = judge_cost.fn(started)
    assert dearer.figures["cost"]["ratio"]["ratio"] == pytest.approx(1.3 * ratio)
    assert dearer.judgement.verdict is Verdict.FAIL
    assert "times what it costs the baseline" in dearer.judgement.sentence


def with_cost_ratio(climb: Climb, at_most: float) -> object:
    objectives = climb.workload.objectives.model_copy(
        update={"cost_ratio": CostRatio(at_most_ratio=at_most)}
    )
    return climb.workload.model_copy(update={"objectives": objectives})


def test_a_missing_price_or_another_currency_is_inconclusive(demo: Demo) -> None:
    found = judge_cost.fn(climb(demo, machine="a-machine-of-nobody"))
    assert found.judgement.verdict is Verdict.INCONCLUSIVE
    assert "a-machine-of-nobody" in found.judgement.sentence
    euros = climb(demo)
    budget = euros.workload.budget.model_copy(update={"currency": "EUR"})
    euros.workload = euros.workload.model_copy(update={"budget": budget})
    said = judge_cost.fn(euros).judgement
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
