"""The night against a real ledger, a real source and a real HTTP service."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import psycopg
import pytest

from qafila.decision import drift
from qafila.errors import Refused
from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import Generation
from qafila.workload.verdict import Verdict
from tasks import nightly_optimization as steps
from tests.support.applied import apply_demo, audit, fill_source

pytestmark = pytest.mark.usefixtures("ledger_named")

NAME = "aws-docs-search"


class Search(BaseHTTPRequestHandler):
    """Answers "find N" with op-N first, or, when ``broken``, with something else."""

    broken = False

    def do_GET(self) -> None:
        words = parse_qs(urlparse(self.path).query)["q"][0]
        found = "nothing" if Search.broken else words.replace("find ", "op-")
        body = json.dumps({"results": [{"id": found, "score": 1.0}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def service_url() -> Iterator[str]:
    Search.broken = False
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source_url(target_url: str) -> str:
    fill_source(target_url)
    return target_url


def promote(ledger: psycopg.Connection[Any], generation: Generation, ndcg: float) -> None:
    """Put the generation where a finished migration leaves it."""
    record_evidence(
        ledger,
        "validation",
        "PASS",
        workload=NAME,
        generation=generation.number,
        verdict=Verdict.PASS,
        body={"systems": {"candidate": {"ndcg_at_10": ndcg, "p50_ms": 5.0, "p95_ms": 500.0}}},
    )
    ledger.execute(
        "UPDATE qafila.generation SET phase = 'promoted' WHERE workload = %s AND number = %s",
        [NAME, generation.number],
    )


def night(seconds: float = 20) -> list[drift.Finding]:
    now = datetime.now(UTC)
    return [
        steps.check_prices.fn("0.01", 0.05),
        steps.check_spend.fn(NAME, "20", 0.15),
        steps.check_forecast.fn(NAME, now),
        steps.check_certificate.fn(NAME, 48, now),
        steps.check_decision.fn(NAME),
        *steps.check_service.fn(NAME, 60, seconds, 7),
    ]


def with_candidate(url: str) -> dict[str, Any]:
    return {
        "service": {
            "baseline": {"url": "http://127.0.0.1:1"},
            "candidate": {"url": url},
            "router": {"kind": "envoy-file", "block": "demo-edge"},
        }
    }


def test_a_fresh_system_has_nothing_to_compare(ledger: psycopg.Connection) -> None:
    assert steps.workloads_to_check.fn(None) == []
    assert not steps.check_prices.fn("0.01", 0.05).compared
    assert steps.check_prices.fn("0.01", 0.05).compared  # the first run left a snapshot


def test_an_applied_workload_without_history_says_so(
    ledger: psycopg.Connection, source_url: str
) -> None:
    apply_demo(ledger, source_url)
    assert steps.workloads_to_check.fn(None) == [NAME]
    with pytest.raises(Refused):
        steps.workloads_to_check.fn("unknown")
    findings = night()
    assert not any(f.compared for f in findings)
    assert drift.night_verdict(findings) is Verdict.INCONCLUSIVE
    assert all("nothing to" in f.lines[0] for f in findings)
    assert "not compared: prices, spend, forecast, certificate, decision, quality, latency" in (
        drift.night_sentence(findings)
    )


def test_a_night_after_promotion(
    ledger: psycopg.Connection, source_url: str, service_url: str
) -> None:
    _, generation = apply_demo(ledger, source_url, **with_candidate(service_url))
    generation = audit(ledger, generation, period="2026-09", spend_total="1000")
    record_evidence(
        ledger,
        "audit",
        "again",
        workload=NAME,
        body={
            "spend_total": "1500",
            "currency": "USD",
            "period": "2026-10",
            "period_closed": True,
            "spend_by_service": {"EC2": "1500"},
        },
    )
    promote(ledger, generation, ndcg=1.0)
    found = {f.subject: f for f in night()}
    assert found["quality"].compared
    assert found["quality"].numbers["ndcg_at_10"] == 1.0
    assert found["quality"].alerts == ()
    assert found["latency"].compared
    assert [a.kind for a in found["spend"].alerts] == ["spend"]
    assert "not decomposed" in " ".join(found["spend"].lines)
    assert drift.night_verdict(list(found.values())) is Verdict.PASS
    page = drift.markdown(NAME, list(found.values()))
    assert "## quality" in page
    assert "⚠ 2026-10: 1500 USD" in page

    Search.broken = True
    findings = night()
    assert [a.kind for f in findings for a in f.alerts if a.kind == "quality"] == ["quality"]
    assert drift.night_verdict(findings) is Verdict.FAIL


def test_one_bill_of_several_months_is_compared_at_once(
    ledger: psycopg.Connection, source_url: str
) -> None:
    _, generation = apply_demo(ledger, source_url)
    months = [
        ("2026-08", "100", "closed"),
        ("2026-09", "110", "closed"),
        ("2026-10", "180", "closed"),
        ("2026-11", "7", "open"),
    ]
    audit(
        ledger,
        generation,
        period="2026-11",
        spend_total="7",
        period_closed=False,
        periods=[{"period": p, "currency": "USD", "amount": a, "state": s} for p, a, s in months]
        + [{"period": "2026-10", "currency": "EUR", "amount": "9", "state": "closed"}],
    )
    found = steps.check_spend.fn(NAME, "20", 0.15)
    assert found.compared
    assert found.lines[0] == "2026-10: 180 USD; the 2 before it on average 105.00"
    assert "2026-11 still open" in " ".join(found.lines)
    assert len(found.alerts) == 1


def test_the_decision_is_taken_again(ledger: psycopg.Connection, source_url: str) -> None:
    apply_demo(ledger, source_url)
    body = {"chosen": "in-process-pgvector", "seed": 1, "samples": 400}
    record_evidence(ledger, "decision", "s", workload=NAME, body=body)
    assert steps.check_decision.fn(NAME).alerts == ()
    apply_demo(ledger, source_url, budget={"currency": "USD", "monthly": 1})
    assert "today it would be none" in steps.check_decision.fn(NAME).lines[0]
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("DROP TABLE operation")
    assert not steps.check_decision.fn(NAME).compared


def test_a_service_that_is_down_is_not_measured_and_not_bad(
    ledger: psycopg.Connection, source_url: str
) -> None:
    _, generation = apply_demo(ledger, source_url, **with_candidate("http://127.0.0.1:9"))
    promote(ledger, generation, ndcg=0.6)
    found = steps.check_service.fn(NAME, 60, 5, 7)
    assert [f.compared for f in found] == [False, False]
    assert "did not answer" in found[0].lines[0]


def test_the_sample_is_fixed_and_keeps_every_judgement(source_url: str) -> None:
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute("ALTER TABLE known_item_query DROP CONSTRAINT known_item_query_pkey")
        source.execute(
            "INSERT INTO known_item_query SELECT query_id, text, 'other', 2 FROM known_item_query"
        )
        first, again, other = (
            drift.sample_queries(source, "known_item_query", queries=30, seed=s) for s in (1, 1, 2)
        )
    assert first == again != other
    assert len(first) == 30
    assert all(len(q.grades) == 2 for q in first)


def test_paid_calls_are_forecast_to_the_months_end(
    ledger: psycopg.Connection, source_url: str
) -> None:
    apply_demo(ledger, source_url, budget={"currency": "USD", "monthly": 50})
    ledger.execute(
        "INSERT INTO qafila.cost_entry (workload, what, quantity, unit, expected, actual, currency)"
        " VALUES (%s, 'embedding', 1, 'token', 1, 30, 'USD'), (%s, 'embedding', 1, 'token', 30,"
        " NULL, 'USD')",
        [NAME, NAME],
    )
    now = datetime.now(UTC)
    found = steps.check_forecast.fn(NAME, now)
    assert found.compared
    assert f"paid calls: {60} USD so far" in found.lines[0]
    assert [a.kind for a in found.alerts] == ["forecast"]


def test_odd_spend_rows_are_not_decomposed() -> None:
    assert drift._line_items([{"service": "EC2", "amount": "x"}]) is None
    assert drift._line_items([]) is None
    rows = drift._line_items([{"service": "EC2", "amount": "3", "quantity": "2", "unit": "h"}])
    assert rows is not None
    assert (rows[0].item, str(rows[0].cost), str(rows[0].quantity)) == ("EC2", "3", "2")
