"""The drill's verdict: fast, complete, nobody failed, and somebody was there."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.report.drill_chart import drill_histogram
from qafila.rollout.drill import Shot, measure, way_of
from qafila.rollout.judge_drill import Flip, judge_flips, judged_seconds, times_of
from qafila.routers.envoy.access_log import tenant_digest
from qafila.routers.port import Request
from qafila.workload.verdict import Verdict

GOOD = Flip(0.010, 0.002, 100, 20, 0, 50, 0, 0)


def flip(**change: Any) -> Flip:
    return Flip(**{**GOOD.__dict__, **change})


@pytest.mark.parametrize(
    ("change", "verdict", "says"),
    [
        ({}, Verdict.PASS, "0 of 300 failed."),
        ({"canary_after": 1}, Verdict.FAIL, "1 met it after"),
        ({"log_after": 2}, Verdict.FAIL, "2 met it after"),
        ({"failed": 1}, Verdict.FAIL, "1 of 300 failed"),
        ({"seconds_to_zero": 1.5}, Verdict.FAIL, "1500 ms"),
        ({"seconds_to_zero": math.inf}, Verdict.FAIL, "never left"),
        ({"canary_before": 0}, Verdict.INCONCLUSIVE, "no probe met it before"),
    ],
)
def test_one_bad_flip_decides(change: dict[str, Any], verdict: Verdict, says: str) -> None:
    judged = judge_flips([GOOD, flip(**change)], 1.0)
    assert judged.verdict is verdict
    assert says in judged.sentence


def test_without_users_it_says_that_probes_were_alone() -> None:
    alone = flip(users=0)
    judged = judge_flips([alone], 1.0)
    assert judged.verdict is Verdict.PASS
    assert "by probes alone" in judged.sentence
    assert judged.numbers["user_requests"] == 0
    assert judge_flips([alone], 1.0, least_users=1).verdict is Verdict.INCONCLUSIVE
    assert judge_flips([GOOD], 1.0, least_users=50).verdict is Verdict.PASS


def test_a_name_that_lives_a_minute_is_not_asked_to_be_faster() -> None:
    slow = flip(seconds_to_zero=58.0)
    assert judge_flips([slow], 1.0).verdict is Verdict.FAIL
    judged = judge_flips([slow], 1.0, slowest_s=60.0)
    assert judged.verdict is Verdict.PASS
    assert judged.numbers["most_seconds"] == 60.0


def test_from_a_hundred_flips_on_p99_is_judged() -> None:
    # 99 flips: the slowest decides; 100: the 99th of them, so one may be slow; 200: two may.
    slow = flip(seconds_to_zero=2.0)
    assert judge_flips([GOOD] * 98 + [slow], 1.0).verdict is Verdict.FAIL
    judged = judge_flips([GOOD] * 99 + [slow], 1.0)
    assert judged.verdict is Verdict.PASS
    assert (judged.numbers["p99_ms"], judged.numbers["max_ms"]) == (10.0, 2000.0)
    assert judge_flips([GOOD] * 98 + [slow] * 2, 1.0).verdict is Verdict.FAIL


@given(st.lists(st.floats(0, 300), min_size=1, max_size=300))
def test_percentiles_never_cross_and_are_times_that_were_measured(seconds: list[float]) -> None:
    times = times_of(seconds)
    assert times.p50_ms <= times.p99_ms <= times.max_ms == round(max(seconds) * 1000, 2)
    assert judged_seconds(seconds) in seconds


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_a_failed_or_stray_request_never_passes(rows: list[tuple[float, int, int]]) -> None:
    flips = [flip(seconds_to_zero=s, failed=f, canary_after=a) for s, f, a in rows]
    verdict = judge_flips(flips, 1.0).verdict
    assert (verdict is Verdict.PASS) <= all(not f and not a for _, f, a in rows)


def logged(at: float, arm: str, key: str, status: int = 200) -> Request:
    return Request(at, arm, status, 1.0, 1, None, tenant_digest(key))


def test_a_flip_is_timed_from_the_decision_to_the_first_proof() -> None:
    shots = [
        Shot(9.98, 9.99, 200, "candidate"),
        Shot(10.001, 10.004, 200, "candidate"),  # on its way while the router took the change
        Shot(10.005, 10.007, 200, "baseline"),  # the proof: 7 ms after the decision
        Shot(10.100, 10.102, 200, "baseline"),
    ]
    log = [
        logged(9.9, "candidate", "user-1"),
        logged(10.2, "baseline", "user-1", 503),
        logged(10.1, "baseline", "drill-3"),  # the drill's own: no user
    ]
    found = measure(shots, log, 10.0, 10.0045, 0.0045)
    assert found.seconds_to_zero == pytest.approx(0.007)
    assert (found.canary_before, found.canary_after, found.log_after) == (1, 0, 0)
    assert (found.users, found.failed) == (2, 1)
    assert measure(shots[:2], log, 10.0, 10.0045, 0.0045).seconds_to_zero == math.inf


def test_after_a_promotion_the_way_goes_to_the_baseline_and_back() -> None:
    way = way_of(100, 1)
    assert (way.home_percent, way.away_percent, way.home, way.away) == (
        100,
        99,
        "candidate",
        "baseline",
    )
    shots = [Shot(9.9, 9.95, 200, "baseline"), Shot(10.01, 10.02, 200, "candidate")]
    found = measure(shots, [], 10.0, 10.01, 0.01, away=way.away)
    assert (found.canary_before, found.canary_after) == (1, 0)
    assert found.seconds_to_zero == pytest.approx(0.02)


def test_the_picture_shows_the_flips_and_a_bound_that_is_near() -> None:
    near = drill_histogram([GOOD, flip(seconds_to_zero=0.02)], title="w g1", most_ms=50)
    far = drill_histogram([GOOD, flip(seconds_to_zero=math.inf)], title="w g1", most_ms=1000)
    assert near.startswith("<svg")
    assert "#c0392b" in near
    assert "#c0392b" not in far
