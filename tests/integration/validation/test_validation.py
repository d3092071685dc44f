"""The ladder over real services, a real index and real judged queries."""

from __future__ import annotations

import time
from dataclasses import replace

import httpx
import psycopg
import pytest
from prefect.logging import disable_run_logger

from qafila.errors import BadInput, Inconclusive, Refused, Unavailable
from qafila.ledger.evidence import check_chain, evidence_of, latest_evidence
from qafila.ledger.ledger import open_ledger
from qafila.report.page import render_validation
from qafila.report.validation import validation_of
from qafila.report.workload_page import collect_facts
from qafila.validation.ladder import LADDER
from qafila.validation.model import Rung
from qafila.validation.options import LadderOptions
from qafila.validation.outcome import Outcome, stops
from qafila.validation.phrases import verdict_page
from qafila.validation.questions import SYSTEMS, read_judged_queries
from qafila.validation.record import record_outcome
from qafila.validation.search_service import SearchService
from qafila.validation.suite import Climb, begin_climb, read_queries
from qafila.workload.phases import Phase
from qafila.workload.verdict import Verdict
from tasks.benchmark_validation import conclude
from tests.support.demo_services import Demo
from tests.support.edges import free_port


def climb(demo: Demo, max_queries: int | None, **load: float) -> Outcome:
    """Climb the whole ladder as the flow does, without Prefect."""
    options = LadderOptions(
        max_queries=max_queries, recall_queries=40, **{"latency_seconds": 3, **load}
    )
    return climb_all(begin_climb(demo.workload.name, options))


def climb_all(started: Climb) -> Outcome:
    climbed = []
    for check in LADDER:
        climbed.append(check(started))
        if stops(climbed[-1]):
            break
    return Outcome(climbed)


def test_vectors_alone_fail_hybrid_is_measured_and_all_of_it_is_kept(demo: Demo) -> None:
    started = begin_climb(demo.workload.name, LadderOptions(recall_queries=40, latency_seconds=3))
    outcome = Outcome([check(started) for check in LADDER])
    body = outcome.body()
    baseline, alone, hybrid = (body["systems"][s] for s in SYSTEMS)
    assert baseline["queries"] == demo.corpus.queries
    assert (baseline["errors"], alone["errors"], hybrid["errors"]) == (0, 0, 0)
    assert alone["ndcg_at_10"] < baseline["ndcg_at_10"] < hybrid["ndcg_at_10"]
    assert outcome.verdicts["vector_only"].verdict is Verdict.FAIL
    assert outcome.verdict is not Verdict.ERROR  # a tenth of the corpus: hybrid is slow on it
    assert body["recall_at_10"] > 0.9
    assert 0 < float(body["cost_per_1000_queries"]["candidate"]) < 1
    assert len(outcome.finding(Rung.QUALITY).details[0].rows) == 15
    page = verdict_page(demo.generation, outcome)
    assert page.startswith(f"# {outcome.verdict}")
    assert "| vector_only | FAIL |" in page

    generation = begin_climb(demo.workload.name, LadderOptions()).generation
    passed = Passed(outcome.climbed)
    with open_ledger() as ledger:
        assert record_outcome(ledger, generation, passed).phase == Phase.VALIDATED
    # once more is allowed, and moves nothing
    again = begin_climb(demo.workload.name, LadderOptions()).generation
    with open_ledger() as ledger:
        assert record_outcome(ledger, again, passed).phase == Phase.VALIDATED
        kept = latest_evidence(ledger, demo.workload.name, "validation", generation=1)
        assert kept.verdict == "PASS"
        assert kept.body["verdicts"]["vector_only"] == "FAIL"
        assert kept.body["recall_ci"][0] <= kept.body["recall_at_10"] <= kept.body["recall_ci"][1]
        assert set(kept.body["cost_per_1000_queries"]) == {*SYSTEMS, "currency"}
        arms = evidence_of(ledger, demo.workload.name, "validation-arm", generation=1)
        assert {row.body["arm"] for row in arms} == {"vector_only", "candidate"}
        assert check_chain(ledger).intact
        facts = collect_facts(ledger, demo.workload.name, 1)
    told = validation_of(facts)
    assert [line.name for line in told.lines] == list(Rung)
    drawn = {s.line.name for s in told.sections if s.pictures}
    # where every row of a reader is looked at, access leaves no interval to draw
    readers = body["access"]["by_reader"].values()
    left = {"access"} if any(r.get("ci_low") is not None for r in readers) else set()
    assert drawn == {"meaning", "index", "quality", "change", "latency"} | left
    shown = {caption: found for s in told.sections for caption, found, _ in s.compared}
    worst = shown["Where the candidate lost most"]
    assert len(worst) == 10
    assert any(found.known for one in worst for found in one.baseline)
    assert f"{demo.corpus.queries} queries" in render_validation(facts, told)


class Passed(Outcome):
    """An outcome whose verdict is PASS, whatever was found."""

    verdict = Verdict.PASS  # type: ignore[assignment]


def test_a_few_queries_are_inconclusive(demo: Demo) -> None:
    outcome = climb(demo, 20)
    quality = outcome.finding(Rung.QUALITY)
    assert quality.judgement.verdict is Verdict.INCONCLUSIVE
    assert "too few" in quality.judgement.sentence
    only = Outcome([quality])
    with disable_run_logger(), pytest.raises(Inconclusive, match="too few"):
        conclude(demo.generation, only)


def test_a_service_that_answers_errors_was_not_measured(demo: Demo) -> None:
    httpx.post(f"{demo.candidate_url}/_demo/break", json={"errors": 0.3})
    outcome = climb(demo, 60)
    assert outcome.verdict is Verdict.ERROR
    assert outcome.stopped_at is Rung.QUALITY
    assert outcome.body()["systems"]["candidate"]["errors"] > 0
    assert "nDCG@10" not in outcome.finding(Rung.QUALITY).parts
    with disable_run_logger(), pytest.raises(Unavailable, match="ended in an error"):
        conclude(demo.generation, outcome)


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
        started = begin_climb(demo.workload.name, LadderOptions())
        outcome = climb_all(started)
        assert outcome.verdict is Verdict.FAIL
        assert outcome.stopped_at is Rung.KEYS
        assert "1 missing" in outcome.sentence
        assert "1 stale" in outcome.sentence
        before = replace(started.generation, phase="backfilled")
        with open_ledger() as ledger:
            assert record_outcome(ledger, before, outcome).phase == "backfilled"
        with disable_run_logger(), pytest.raises(Refused, match="1 missing"):
            conclude(started.generation, outcome)
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
            begin_climb(demo.workload.name, LadderOptions())
    with (
        SearchService(f"http://127.0.0.1:{free_port()}") as nobody,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        nobody.generation()
    with SearchService(f"http://127.0.0.1:{free_port()}") as nobody:
        assert nobody.ask("a table", 10).ranking is None
    with psycopg.connect(demo.source_url, autocommit=True) as source:
        with pytest.raises(BadInput, match="no_such_table"):
            read_judged_queries(source, "no_such_table")
        with pytest.raises(BadInput, match="grade"):
            read_judged_queries(source, "operation")


def test_a_sample_of_queries_is_repeatable(demo: Demo) -> None:
    with open_ledger() as ledger:
        first = read_queries(ledger, demo.workload, 50, 7)
        assert len(first) == 50
        assert first == read_queries(ledger, demo.workload, 50, 7)
        assert first != read_queries(ledger, demo.workload, 50, 8)
