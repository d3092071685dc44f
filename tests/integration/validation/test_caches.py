"""Rung 6 notices a service that keeps its answers by their times, so the machine must be quiet."""

from __future__ import annotations

import time

import pytest

from qafila.validation.judged import Answer
from qafila.workload.verdict import Verdict
from tests.integration.validation.test_quality import climb, quality
from tests.support.demo_services import Demo

pytestmark = pytest.mark.timing


def test_a_service_that_keeps_answers_is_reported_and_not_failed(demo: Demo) -> None:
    kept = {q.text for q in climb(demo).queries}

    def slow_when_new(answer: Answer, text: str, k: int) -> Answer:
        if text not in kept:
            time.sleep(0.2)
        return answer

    found = quality(climb(demo, candidate=slow_when_new))
    caching = found.figures["quality"]["caching"]
    assert {system: told["cached"] for system, told in caching.items()} == {
        "baseline": False,
        "candidate": True,
    }
    assert "The candidate seems to keep its answers" in found.judgement.sentence
    assert found.judgement.verdict is not Verdict.ERROR
