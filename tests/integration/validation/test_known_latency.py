"""Rung 8 over arms whose times are known.

Arms sleep, so their times hold on a busy machine too; effects are large.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from random import Random

import pytest

from qafila.ledger.ledger import Generation
from qafila.validation.checks.latency import measure_latency
from qafila.validation.judged import Answer, JudgedQuery
from qafila.validation.model import Finding
from qafila.validation.options import LadderOptions
from qafila.validation.questions import OpenArm
from qafila.validation.suite import Climb
from qafila.workload.model import AtMostRatio
from qafila.workload.verdict import Verdict
from tests.support.corpus import demo_workload

pytestmark = pytest.mark.timing

QUERIES = [
    JudgedQuery(str(n), f"list the {n} buckets of account {n}", {"x": 1.0}) for n in range(200)
]
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
    found = measure_latency(
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
    found = measure(Sleeper(60).open, Sleeper(180, cached=True).open, at_most=1.25)
    assert found.figures["latency"]["cached"] == {"baseline": False, "candidate": True}
    assert "The candidate answers repeated questions from a cache" in found.judgement.sentence
    assert found.judgement.verdict is Verdict.FAIL


def test_what_a_first_look_leaves_open_is_asked_for_longer() -> None:
    """The candidate's answers vary much, the baseline's do not: a short look has no narrow end."""
    chance = Random(4)

    class Varies(Sleeper):
        def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
            self.ms = 20 + chance.expovariate(1 / 40)
            return super().ask(text, k, mode)

    steady, varies = Sleeper(100), Varies(20)
    found = measure(steady.open, varies.open, at_most=1.56, latency_rate=100, latency_seconds=9)
    kept = found.figures["latency"]
    assert kept["longer_s"] > 0, found.judgement.sentence
    assert f"both were asked {kept['longer_s']:.0f} s longer" in found.judgement.sentence
    lowest = kept["levels"][0]["systems"]
    assert lowest["baseline"]["sent"] == lowest["candidate"]["sent"] > 300
