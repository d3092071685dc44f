"""The ladder over real services, a real index and real judged queries."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import psycopg
import pytest
from prefect.logging import disable_run_logger

from flows.benchmark_validation import conclude
from qafila.core.judged import JudgedQuery
from qafila.core.phases import Phase
from qafila.core.verdict import Verdict
from qafila.errors import BadInput, Inconclusive, Refused, Unavailable
from tasks import validation as steps
from tasks.alias import set_trial
from tasks.evidence import check_chain, evidence_of, latest_evidence
from tasks.ledger import newest_generation, open_ledger
from tasks.search_service import SearchService
from tests.demo_services import Demo, ledger_of
from tests.edges import free_port

MACHINE = "aws-m6i-large-paris"


@pytest.fixture
def demo(search_demo: Demo) -> Iterator[Demo]:
    """The services with generation 1 on trial, its ledger, and a phase that may be validated."""
    name = search_demo.workload.name
    with ledger_of(search_demo.ledger_url), search_demo.target() as target:
        set_trial(target, name, 1, 0)
        time.sleep(0.25)  # what a service knows of the pointer row may be 0.2 s old
        yield search_demo
        httpx.post(f"{search_demo.candidate_url}/_demo/break", json={})
        target.execute("DELETE FROM qafila.alias")


def climb(demo: Demo, max_queries: int | None) -> steps.Result:
    """Climb the whole ladder as the flow does, without Prefect."""
    generation = steps.find_generation.fn(demo.workload.name)
    queries = steps.read_queries.fn(demo.workload.name, max_queries, 7)
    rows = steps.judge_rows.fn(generation)
    recall = steps.measure_recall.fn(generation, queries, 40, 7)
    answers = steps.ask_services.fn(demo.workload.name, queries, 2)
    return steps.judge_climb.fn(generation, rows, recall, queries, answers, MACHINE, 7)


def test_vectors_alone_fail_hybrid_is_measured_and_all_of_it_is_kept(demo: Demo) -> None:
    result = climb(demo, None)
    baseline, alone, hybrid = (result.systems[s] for s in steps.SYSTEMS)
    assert baseline.queries == demo.corpus.queries
    assert (baseline.errors, alone.errors, hybrid.errors) == (0, 0, 0)
    assert alone.ndcg_at_10 < baseline.ndcg_at_10 < hybrid.ndcg_at_10
    assert result.verdicts["vector_only"].verdict is Verdict.FAIL
    assert result.verdict in (Verdict.PASS, Verdict.INCONCLUSIVE)  # a tenth of the corpus
    assert result.recall.recall_at_10 > 0.9
    assert 0 < result.costs["candidate"] < 1
    assert len(result.worst) == 15
    page = steps.verdict_page(demo.generation, result)
    assert page.startswith(f"# {result.verdict}")
    assert "| vector_only | FAIL |" in page

    generation = steps.find_generation.fn(demo.workload.name)
    passed = replace(result, verdict=Verdict.PASS)
    assert steps.record_result.fn(generation, passed).phase == Phase.VALIDATED
    # once more is allowed, and moves nothing
    again = steps.find_generation.fn(demo.workload.name)
    assert steps.record_result.fn(again, passed).phase == Phase.VALIDATED
    with open_ledger() as ledger:
        kept = latest_evidence(ledger, demo.workload.name, "validation", generation=1)
        assert kept.verdict == "PASS"
        assert kept.body["verdicts"]["vector_only"] == "FAIL"
        assert kept.body["recall_ci"][0] <= kept.body["recall_at_10"] <= kept.body["recall_ci"][1]
        assert set(kept.body["cost_per_1000_queries"]) == {*steps.SYSTEMS, "currency"}
        arms = evidence_of(ledger, demo.workload.name, "validation-arm", generation=1)
        assert {row.body["arm"] for row in arms} == {"vector_only", "candidate"}
        assert check_chain(ledger).intact


def test_a_few_queries_are_inconclusive(demo: Demo) -> None:
    result = climb(demo, 20)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "too few" in result.sentence
    with disable_run_logger(), pytest.raises(Inconclusive, match="too few"):
        conclude(demo.generation, result)


def test_a_service_that_answers_errors_was_not_measured(demo: Demo) -> None:
    httpx.post(f"{demo.candidate_url}/_demo/break", json={"errors": 0.3})
    result = climb(demo, 60)
    assert result.verdict is Verdict.ERROR
    assert result.systems["candidate"].errors > 0
    assert "quality" not in result.rungs
    with disable_run_logger(), pytest.raises(Unavailable, match="ended in an error"):
        conclude(demo.generation, result)


def test_a_slow_candidate_fails(demo: Demo) -> None:
    httpx.post(f"{demo.candidate_url}/_demo/break", json={"slow_ms": 100})
    result = climb(demo, 31)
    assert result.rungs["latency"].verdict is Verdict.FAIL
    with disable_run_logger(), pytest.raises(Refused, match="times the baseline's"):
        conclude(demo.generation, result)


def test_a_lost_and_a_changed_row_stop_the_climb(demo: Demo) -> None:
    with demo.target() as target, target.transaction(force_rollback=False):
        table = "qafila.chunk_aws_docs_search_g1"
        target.execute(f"CREATE TABLE kept AS SELECT * FROM {table} ORDER BY source_key LIMIT 2")
        target.execute(f"DELETE FROM {table} WHERE source_key = (SELECT min(source_key) FROM kept)")
        target.execute(
            f"UPDATE {table} SET text_digest = '\\x00'"
            " WHERE source_key = (SELECT max(source_key) FROM kept)"
        )
    try:
        generation = steps.find_generation.fn(demo.workload.name)
        rows = steps.judge_rows.fn(generation)
        result = steps.judge_climb.fn(generation, rows, None, [], None, MACHINE, 7)
        assert result.verdict is Verdict.FAIL
        assert "1 missing" in result.sentence
        assert "1 stale" in result.sentence
        assert steps.record_result.fn(replace(generation, phase="backfilled"), result).phase == (
            "backfilled"
        )
        with disable_run_logger(), pytest.raises(Refused, match="1 missing"):
            conclude(generation, result)
    finally:
        with demo.target() as target:
            columns = (
                "source_key, chunk_number, start_offset, end_offset, title, text,"
                " text_digest, acl, metadata, fingerprint, generation, embedding"
            )
            target.execute(f"DELETE FROM {table} WHERE source_key IN (SELECT source_key FROM kept)")
            target.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM kept")
            target.execute("DROP TABLE kept")


def test_what_is_not_ready_is_refused_before_anything_is_measured(demo: Demo) -> None:
    with demo.target() as target:
        target.execute("UPDATE qafila.alias SET trial = NULL")
        time.sleep(0.25)
        with pytest.raises(Unavailable, match="503"):
            steps.find_generation.fn(demo.workload.name)
    with (
        SearchService(f"http://127.0.0.1:{free_port()}") as nobody,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        nobody.generation()
    with SearchService(f"http://127.0.0.1:{free_port()}") as nobody:
        assert nobody.ask("a table", 10).ranking is None
    with psycopg.connect(demo.source_url, autocommit=True) as source:
        with pytest.raises(BadInput, match="no_such_table"):
            steps.read_judged_queries(source, "no_such_table")
        with pytest.raises(BadInput, match="grade"):
            steps.read_judged_queries(source, "operation")


def test_a_sample_of_queries_is_repeatable(demo: Demo) -> None:
    name = demo.workload.name
    first: list[JudgedQuery] = steps.read_queries.fn(name, 50, 7)
    assert len(first) == 50
    assert first == steps.read_queries.fn(name, 50, 7) != steps.read_queries.fn(name, 50, 8)
    with open_ledger() as ledger:
        assert newest_generation(ledger, name).number == 1
