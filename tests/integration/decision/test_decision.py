"""Target-architecture's steps against a real ledger and a real source."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from qafila.decision import steps as decision
from qafila.decision.prices import PriceBook
from qafila.endpoints import volume_of
from qafila.errors import BadInput, Refused
from qafila.ledger import approvals, open_questions
from qafila.ledger.evidence import check_chain, latest_evidence, record_evidence
from qafila.ledger.ledger import newest_generation
from qafila.sources.postgres import PostgresSource as PostgresTable
from qafila.stores import sizes as sizing
from qafila.workload.corpus import PostgresSource
from qafila.workload.verdict import Verdict
from qafila.workload_file import read_file
from tasks import target_architecture as steps
from tests.support.applied import DOCUMENTS, FILE, apply_demo, audit, fill_source

pytestmark = pytest.mark.usefixtures("ledger_named")

NAME = "aws-docs-search"
OPERATIONS = PostgresSource(
    kind="postgres",
    block="demo-source",
    table="operation",
    key=["operation_id"],
    text=["title", "body"],
)


@pytest.fixture
def source_url(target_url: str) -> str:
    fill_source(target_url)
    return target_url


def test_a_person_is_asked_about_the_store_that_the_workload_fills(
    ledger: psycopg.Connection, source_url: str
) -> None:
    corpus = read_file(FILE).corpus.model_dump(mode="json")
    corpus["target"] = {"kind": "qdrant", "block": "points"}
    workload, generation = apply_demo(ledger, source_url, corpus=corpus)
    audit(ledger, generation)
    need, how = steps.measure_need.fn(workload.name)
    assert need.storage == "Qdrant"
    body = steps.compare_patterns.fn(NAME, need, how, steps.read_audit.fn(NAME), 1, 400)
    assert body["chosen"] == "in-process-qdrant"


def test_from_audit_to_designed(ledger: psycopg.Connection, source_url: str) -> None:
    _, generation = apply_demo(ledger, source_url)
    with pytest.raises(Refused, match="qafila run inventory-audit aws-docs-search"):
        steps.read_audit.fn(NAME)
    generation = audit(ledger, generation)
    need, how = steps.measure_need.fn(NAME)
    assert (need.documents, how) == (DOCUMENTS, "counted in the source")
    assert need.text_bytes >= DOCUMENTS * 100
    assert need.storage == "pgvector"
    body = steps.compare_patterns.fn(NAME, need, how, steps.read_audit.fn(NAME), 1, 400)
    assert len(body["patterns"]) >= 5
    assert body["chosen"] == "in-process-pgvector"
    assert "Not fully seen: iam." in body["context"]["audit"]
    steps.record_decision.fn(NAME, generation.number, body)
    stored = latest_evidence(ledger, NAME, "decision", generation=generation.number)
    assert stored is not None
    assert (stored.verdict, stored.body["chosen"]) == ("PASS", body["chosen"])
    assert {p.item for p in decision.newest_prices(ledger)} >= {"aws-m6i-large-paris"}
    assert decision.standing_decision(ledger, generation) is None  # nobody was asked yet

    question = decision.decision_question(NAME, generation.number)
    approvals.ask(ledger, approvals.Question(question, NAME, generation.number, "s", "?", 60))
    assert decision.standing_decision(ledger, generation) == stored.body
    approvals.answer(ledger, question, "approve", by="Amal")
    assert open_questions.wait_for_answer(ledger, question, print).state == "approved"
    steps.accept_decision.fn(NAME, generation.number, generation)
    designed = newest_generation(ledger, NAME)
    assert designed is not None
    assert designed.phase == "designed"
    assert decision.is_designed(designed)
    assert check_chain(ledger).intact


def test_a_question_that_is_over_is_asked_again(ledger: psycopg.Connection) -> None:
    def ask(approval_id: str, expires_s: float) -> None:
        approvals.ask(ledger, approvals.Question(approval_id, NAME, 1, "s", "?", expires_s))

    assert open_questions.open_question(ledger, "d") == ("d", None)
    ask("d", 0)  # lapses at once
    assert open_questions.open_question(ledger, "d") == ("d-2", None)
    ask("d-2", 60)
    approvals.answer(ledger, "d-2", "reject", by="Amal")
    assert open_questions.open_question(ledger, "d")[0] == "d-3"
    ask("d-3", 60)
    assert open_questions.open_question(ledger, "d")[1] is not None


def test_waiting_ends_with_the_answer_and_says_so_once(
    ledger: psycopg.Connection, ledger_url: str
) -> None:
    approvals.ask(ledger, approvals.Question("d", NAME, 1, "s", "?", 30))

    def answer() -> None:
        time.sleep(0.2)
        with psycopg.connect(ledger_url, autocommit=True) as other:
            approvals.answer(other, "d", "reject", by="Amal", notes="too dear")

    person = threading.Thread(target=answer)
    person.start()
    said: list[str] = []
    found = open_questions.wait_for_answer(ledger, "d", said.append)
    person.join()
    assert (found.state, found.notes) == ("rejected", "too dear")
    assert len(said) == 1
    assert "qafila approve d --by NAME" in said[0]


def test_a_budget_in_another_currency_is_refused(
    ledger: psycopg.Connection, source_url: str
) -> None:
    apply_demo(ledger, source_url, budget={"currency": "EUR", "monthly": 800})
    with pytest.raises(BadInput, match="never mixed"):
        steps.measure_need.fn(NAME)


def test_a_projection_scales_the_text(ledger: psycopg.Connection, source_url: str) -> None:
    apply_demo(ledger, source_url, projection={"queries_per_month": 5, "documents": 1_200_000})
    need, how = steps.measure_need.fn(NAME)
    assert need.documents == 1_200_000
    assert need.text_bytes == pytest.approx(1_200_000 * 108, rel=0.02)
    assert how.startswith("projected; 120 counted")


@pytest.mark.parametrize(
    ("change", "says"),
    [({"table": "nowhere"}, "no table 'nowhere'"), ({"text": ["title", "novel"]}, "novel")],
)
def test_a_wrong_table_or_column_is_named(
    source_url: str, change: dict[str, Any], says: str
) -> None:
    with (
        psycopg.connect(source_url, autocommit=True) as source,
        pytest.raises(BadInput, match=says),
    ):
        volume_of(PostgresTable(source, OPERATIONS.model_copy(update=change)), "docs")


def test_a_slow_count_becomes_an_estimate(source_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(source_url, autocommit=True) as source:
        source.execute(
            "CREATE VIEW slow AS SELECT operation_id, title,"
            " body || left(pg_sleep(0.01)::text, 0) AS body FROM operation"
        )
        source.execute("ANALYZE operation")
        monkeypatch.setattr("qafila.sources.relation.COUNT_TIMEOUT_MS", 50)
        settings = OPERATIONS.model_copy(update={"table": "slow"})
        found = volume_of(PostgresTable(source, settings), "docs")
    assert found.how == "estimated from the source's statistics"


def test_prices_are_kept_once_until_they_change(ledger: psycopg.Connection) -> None:
    book, now = decision.load_price_book(), datetime.now(UTC)
    assert decision.store_prices(ledger, book, now)
    assert not decision.store_prices(ledger, book, now + timedelta(days=1))
    item = next(iter(book.prices))
    dearer = {
        **book.prices,
        item: book.prices[item].__class__(**{**vars(book.prices[item]), "amount": Decimal("99.5")}),
    }
    changed = PriceBook(dearer, book.tariffs, book.models, book.gpus)
    assert decision.store_prices(ledger, changed, now + timedelta(days=2))
    newest = {p.item: p.amount for p in decision.newest_prices(ledger)}
    assert newest[item] == Decimal("99.5")
    assert len(newest) == len(book.prices)


def test_no_pattern_is_a_fail_and_never_stands(ledger: psycopg.Connection, source_url: str) -> None:
    _, generation = apply_demo(ledger, source_url, budget={"currency": "USD", "monthly": 1})
    generation = audit(ledger, generation)
    need, how = steps.measure_need.fn(NAME)
    body = steps.compare_patterns.fn(NAME, need, how, steps.read_audit.fn(NAME), 1, 400)
    assert body["chosen"] is None
    steps.record_decision.fn(NAME, generation.number, body)
    stored = latest_evidence(ledger, NAME, "decision")
    assert stored is not None
    assert stored.verdict == Verdict.FAIL
    assert decision.standing_decision(ledger, generation) is None
    record_evidence(ledger, "other", "chain goes on")
    assert check_chain(ledger).intact


@pytest.mark.parametrize("dimensions", [64, 256])
def test_the_index_size_formula_agrees_with_pgvector(target_url: str, dimensions: int) -> None:
    rows, random_ = 2_000, random.Random(1)
    with psycopg.connect(target_url, autocommit=True) as target:
        target.execute(f"CREATE TABLE v (embedding vector({dimensions}))")
        with target.cursor().copy("COPY v FROM STDIN") as copy:
            for _ in range(rows):
                copy.write_row([str([round(random_.random(), 3) for _ in range(dimensions)])])
        target.execute("CREATE INDEX v_hnsw ON v USING hnsw (embedding vector_cosine_ops)")
        row = target.execute("SELECT pg_relation_size('v_hnsw')").fetchone()
    assert row is not None
    assert sizing.hnsw_bytes(rows, dimensions) == pytest.approx(row[0], rel=0.15)
