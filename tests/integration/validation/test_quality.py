"""Rungs 6 and 7 over real services: quality by class, unknown documents, caches, change."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg
import pytest

from qafila.errors import BadInput
from qafila.ledger.ledger import open_ledger
from qafila.validation.checks.change import measure_change
from qafila.validation.checks.quality import judge_quality
from qafila.validation.judged import Answer, JudgedQuery
from qafila.validation.known_item_rules import LABEL
from qafila.validation.model import Finding, NotApplicable
from qafila.validation.options import LadderOptions
from qafila.validation.questions import read_judged_queries
from qafila.validation.search_service import SearchService
from qafila.validation.suite import Climb, begin_climb, read_queries
from qafila.workload.model import Workload
from qafila.workload.verdict import Verdict
from tests.support.demo_services import Demo

Spoil = Callable[[Answer, str, int], Answer]


class Through:
    """A real service whose answers are changed on the way back."""

    def __init__(self, service: SearchService, spoil: Spoil) -> None:
        self._service, self._spoil = service, spoil

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        begun = time.perf_counter()
        answer = self._spoil(self._service.ask(text, k, mode), text, k)
        return replace(answer, ms=(time.perf_counter() - begun) * 1000)


@contextmanager
def through(url: str, spoil: Spoil) -> Iterator[Through]:
    with SearchService(url) as service:
        yield Through(service, spoil)


def climb(
    demo: Demo,
    queries: list[JudgedQuery] | None = None,
    *,
    workload: Workload | None = None,
    baseline: Spoil | None = None,
    candidate: Spoil | None = None,
    most: int | None = 80,
) -> Climb:
    started = begin_climb(demo.workload.name, LadderOptions(max_queries=most, deep_queries=20))

    def arm(url: str, spoil: Spoil | None) -> Any:
        return partial(SearchService, url) if spoil is None else partial(through, url, spoil)

    return Climb(
        workload or started.workload,
        started.generation,
        started.options,
        list(started.queries) if queries is None else queries,
        arm(demo.baseline_url, baseline),
        arm(demo.candidate_url, candidate),
    )


def quality(started: Climb) -> Finding:
    found = judge_quality(started)
    assert isinstance(found, Finding)
    return found


def test_quality_is_measured_beyond_the_first_page_and_shown_side_by_side(demo: Demo) -> None:
    queries = [
        replace(q, query_class="even" if n % 2 else "odd")
        for n, q in enumerate(climb(demo, most=200).queries)
    ]
    found = quality(climb(demo, queries))
    kept = found.figures["quality"]
    assert kept["judged_by"] == "judged queries"
    assert kept["deep"]["k"] == 100
    assert kept["deep"]["queries"] == 20
    assert 0 < kept["deep"]["candidate"] <= 1
    assert set(kept["metrics"]["candidate"]) == {"mrr", "recall_at_10"}
    assert kept["unknown_documents"] == kept["queries_without_judgement"] == []
    assert [g["value"] for g in kept["groups"] if g["by"] == "class"] == ["even", "odd"]
    assert len(kept["worst_queries"]) <= 15
    first = found.details[0]
    assert first.caption == "Where the candidate lost most"
    assert ": " in str(first.rows[0]["candidate's first three"])  # a key and its text
    assert found.details[1].caption == "By class and language"
    assert "every class and language that was judged" in found.smallest_effect


def test_a_class_without_answers_is_a_fail_that_names_it(demo: Demo) -> None:
    queries = list(climb(demo, most=200).queries)
    lost = {q.text for q in queries[:40]}
    classed = [replace(q, query_class="names" if q.text in lost else "rest") for q in queries]

    def forget(answer: Answer, text: str, k: int) -> Answer:
        return replace(answer, ranking=()) if text in lost else answer

    found = quality(climb(demo, classed, candidate=forget))
    assert found.judgement.verdict is Verdict.FAIL
    assert "class names" in found.judgement.sentence
    assert found.parts["class names"].verdict is Verdict.FAIL
    assert found.parts["class rest"].verdict is not Verdict.FAIL


def test_judged_documents_that_the_source_lacks_are_named(demo: Demo) -> None:
    queries = list(climb(demo).queries)
    some = [
        replace(q, grades={**q.grades, f"gone-{n}": 1.0}) if n < 3 else q
        for n, q in enumerate(queries)
    ]
    found = quality(climb(demo, [*some, JudgedQuery("zz", "nobody knows", {})]))
    assert "3 of" in found.judgement.sentence
    assert "gone-0" in found.judgement.sentence
    assert "1 queries have no relevant document (zz)" in found.judgement.sentence
    captions = [d.caption for d in found.details]
    assert "Judged documents that the source does not have: never found" in captions
    assert "Queries without a relevant document: not judged" in captions
    assert found.figures["quality"]["unknown_documents"] == ["gone-0", "gone-1", "gone-2"]
    # all of them in another form: nothing can be found, which looks like equality
    none = quality(climb(demo, [replace(q, grades={f"x{q.query_id}": 1.0}) for q in queries]))
    assert none.judgement.verdict is Verdict.INCONCLUSIVE


def test_a_service_of_ten_results_is_judged_by_ten(demo: Demo) -> None:
    def ten(answer: Answer, text: str, k: int) -> Answer:
        return replace(answer, ranking=answer.ranking[:10] if answer.ranking else answer.ranking)

    assert quality(climb(demo, baseline=ten)).figures["quality"]["deep"]["k"] == 10


def test_queries_of_nobody_are_made_from_the_corpus_and_say_so(demo: Demo) -> None:
    unjudged = Workload.model_validate(
        {**demo.workload.model_dump(), "queries": {"judged": {"kind": "generated", "queries": 60}}}
    )
    assert (
        Workload.model_validate(
            {k: v for k, v in demo.workload.model_dump().items() if k != "queries"}
        ).judged_table
        is None
    )
    with open_ledger() as ledger:
        queries = read_queries(ledger, unjudged, None, 7)
        assert queries == read_queries(ledger, unjudged, None, 7)
    assert 40 < len(queries) <= 60
    found = quality(climb(demo, queries, workload=unjudged))
    assert f"By {LABEL}." in found.judgement.sentence
    assert LABEL in found.compared
    assert "generated known-item" in found.on
    assert found.figures["quality"]["judged_by"] == LABEL
    changed = measure_change(climb(demo, queries, workload=unjudged))
    assert isinstance(changed, Finding)
    assert LABEL in changed.compared


def test_change_is_reported_and_decides_only_by_an_objective(demo: Demo) -> None:
    found = measure_change(climb(demo))
    assert isinstance(found, Finding)
    assert found.judgement.verdict is Verdict.PASS
    assert 0 < found.figures["change"]["overlap_at_10"] < 1
    assert found.details[0].caption == "What changed most"
    assert found.series["overlap_at_10"][-1]["queries"] == 80
    objectives = {**demo.workload.objectives.model_dump(), "overlap_at_10": {"at_least": 0.99}}
    strict = Workload.model_validate({**demo.workload.model_dump(), "objectives": objectives})
    assert measure_change(climb(demo, workload=strict)).judgement.verdict is Verdict.FAIL
    empty = climb(demo, candidate=lambda a, t, k: replace(a, ranking=None))
    assert isinstance(measure_change(empty), NotApplicable)


def test_bad_rows_of_judgements_are_one_error_that_names_all(demo: Demo) -> None:
    with psycopg.connect(demo.source_url, autocommit=True) as source:
        source.execute(
            "CREATE TABLE judged_badly (query_id text, text text, relevant text, grade text,"
            ' "class" text, language text)'
        )
        try:
            source.execute(
                "INSERT INTO judged_badly VALUES ('1', 'which?', 'a', '1', 'names', 'fr'),"
                " ('2', 'what?', NULL, NULL, NULL, NULL)"
            )
            one, two = read_judged_queries(source, "judged_badly")
            assert (one.query_class, one.language) == ("names", "fr")
            assert not two.judged
            source.execute(
                "INSERT INTO judged_badly VALUES ('1', 'other?', 'b', '1', 'names', 'fr'),"
                " ('3', 'how?', 'a', '-1', NULL, NULL), ('4', 'why?', 'a', 'good', NULL, NULL)"
            )
            with pytest.raises(BadInput) as caught:
                read_judged_queries(source, "judged_badly")
            told = "\n".join(caught.value.problems)
            assert len(caught.value.problems) == 3
            assert "'1' is there twice" in told
            assert "'-1' is no grade" in told
            assert "'good' is no grade" in told
        finally:
            source.execute("DROP TABLE judged_badly")
