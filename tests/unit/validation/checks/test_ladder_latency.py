"""Rung 8: which times under load give which verdict, and how much load is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.statistics.ranking_metrics import percentile
from qafila.statistics.samples import PercentileRatio
from qafila.validation.checks import judge_latency as latency
from qafila.validation.load_test.model import (
    Block,
    Load,
    Repeats,
    answered_by_both,
    saturation,
    too_many_errors,
)
from qafila.validation.load_test.plan import (
    MOST_REQUESTS,
    Level,
    RealRate,
    pairs_more,
    plan_load,
    real_rate,
    turns,
    workers_for,
)
from qafila.workload.model import Projection
from qafila.workload.verdict import Verdict

LEVEL = Level(rate=60.0, multiple=1.0, block_s=1.0, pairs=8)
ORDER = [Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL]


def times(count: int, seed: int, factor: float = 1.0) -> list[float]:
    """Return latencies with a median of 8 ms and a tail, as a search has."""
    chance = Random(seed)
    return [factor * chance.lognormvariate(2.1, 0.4) for _ in range(count)]


def load(
    ms: Sequence[float], *, errors: int = 0, late_ms: float = 0.1, overrun_s: float = 0.0
) -> Load:
    half = len(ms) // 2
    late = (late_ms,) * half
    return Load(
        LEVEL,
        (
            Block((*ms[:half], *[None] * errors), late, 1.0, overrun_s),
            Block(tuple(ms[half:]), late, 1.0, overrun_s),
        ),
        mean_ms=8.0,
    )


def judge(candidate: Load, baseline: Load, at_most: float = 1.25) -> latency.JudgedLoad:
    return latency.judge_load(
        {"baseline": baseline, "candidate": candidate},
        at_most_ratio=at_most,
        at_most_errors=0.001,
        seed=7,
    )


def verdict(candidate: Load, baseline: Load, at_most: float = 1.25) -> Verdict:
    return judge(candidate, baseline, at_most).judgement.verdict


@pytest.mark.parametrize(
    ("factor", "at_most", "expected"),
    [
        (1.0, 2.0, Verdict.PASS),
        (0.5, 1.25, Verdict.PASS),
        (1.25, 1.25, Verdict.INCONCLUSIVE),  # exactly on the line: nothing can decide
        (1.8, 1.25, Verdict.FAIL),
        (20.0, 2.0, Verdict.FAIL),
    ],
)
def test_the_ratio_is_judged_by_its_whole_interval(
    factor: float, at_most: float, expected: Verdict
) -> None:
    values = times(500, 1)
    mixed = Random(2).sample(values, len(values))
    judged = judge(load([factor * v for v in mixed]), load(values), at_most)
    assert judged.judgement.verdict is expected
    assert judged.ratio.ratio == pytest.approx(factor)
    assert judged.ratio.ci_low <= factor * 1.0000001
    assert judged.ratio.ci_high >= factor * 0.9999999


def test_half_as_long_again_is_caught() -> None:
    """The dose of the rehearsal, on 1 500 answers a system."""
    caught = [
        verdict(load(times(1500, seed, 1.5)), load(times(1500, 100 + seed))) for seed in range(5)
    ]
    assert caught.count(Verdict.FAIL) >= 4
    clean = [verdict(load(times(1500, seed)), load(times(1500, 100 + seed))) for seed in range(5)]
    assert Verdict.FAIL not in clean


@settings(deadline=None, max_examples=30)  # each example is two bootstraps
@given(
    st.integers(0, 5),
    st.sampled_from([20, 90, 400]),
    st.floats(0.2, 30),
    st.floats(1, 5),
    st.sampled_from([1.25, 2.0]),
)
def test_slower_is_never_judged_better(
    seed: int, count: int, factor: float, slower: float, at_most: float
) -> None:
    baseline = load(times(count, 50 + seed))
    one = verdict(load(times(count, seed, factor)), baseline, at_most)
    two = verdict(load(times(count, seed, factor * slower)), baseline, at_most)
    assert ORDER.index(two) >= ORDER.index(one)


@given(st.integers(0, 50), st.integers(1, 199), st.integers(1, 199), st.floats(0.1, 20))
def test_an_exact_interval_holds_its_ratio_and_few_answers_leave_it_open(
    seed: int, mine: int, other: int, factor: float
) -> None:
    ratio = latency.compare_p95(
        load(times(mine, seed, factor)), load(times(other, seed + 1)), seed=1
    )
    assert ratio.ci_low <= ratio.ratio <= ratio.ci_high
    if mine < 72:  # .95^71 > 2.5 %: the largest of so few may lie below the percentile
        assert not isfinite(ratio.ci_high)
    if other < 72:
        assert ratio.ci_low == 0


def test_few_answers_still_show_what_is_far_beyond() -> None:
    assert verdict(load(times(80, 1, 12.0)), load(times(80, 2)), 2.0) is Verdict.FAIL
    assert verdict(load(times(40, 1, 12.0)), load(times(40, 2)), 2.0) is Verdict.INCONCLUSIVE


def test_inconclusive_says_how_many_seconds_more_would_decide() -> None:
    ratio = PercentileRatio(0.95, 11.0, 10.0, 1.1, 0.9, 1.1 * 1.3)
    judged = latency.judge_ratio(ratio, 1.25, seconds=16.0, answers=500)
    # ln 1.3 / ln (1.25 / 1.1) = 2.05: 4.2 times the time, 3.2 times 16 s more
    assert judged.numbers["seconds_more"] == 52
    assert "some 52 s more (latency_seconds) would decide" in judged.sentence
    on_it = replace(ratio, ratio=1.25, ci_high=1.4)
    assert (
        latency.judge_ratio(on_it, 1.25, seconds=16.0, answers=500).numbers["seconds_more"] is None
    )
    open_ended = replace(ratio, ci_low=0.0)  # 50 answers of 200 in 16 s: 48 s more
    assert latency.seconds_more(open_ended, 1.25, 16.0, 50) == 48
    nothing = latency.judge_ratio(None, 1.25, seconds=16.0, answers=500)
    assert nothing.verdict is Verdict.INCONCLUSIVE


def test_a_burst_of_errors_is_an_error_and_one_error_is_none() -> None:
    fine = load(times(500, 1))
    assert verdict(load(times(400, 1, 20.0), errors=100), fine) is Verdict.ERROR
    assert verdict(fine, load(times(400, 1), errors=100)) is Verdict.ERROR
    # 1 of 501: an interval of 0.005 % to 1.1 %, which does not leave what is allowed
    assert verdict(load(times(500, 1), errors=1), fine) is Verdict.PASS
    assert verdict(load([]), load([])) is Verdict.INCONCLUSIVE


def test_a_late_generator_is_never_the_fault_of_the_candidate() -> None:
    slow, fine = load(times(500, 1, 20.0)), load(times(500, 1), late_ms=30.0)
    judged = judge(slow, fine).judgement
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "load generator itself was late" in judged.sentence
    never = replace(fine, blocks=tuple(replace(b, late_ms=()) for b in fine.blocks))
    silent = replace(slow, blocks=tuple(replace(b, late_ms=()) for b in slow.blocks))
    assert verdict(silent, never) is Verdict.INCONCLUSIVE


def test_falling_behind_fails_only_where_the_baseline_keeps_up() -> None:
    fine, behind = load(times(500, 1)), load(times(500, 1), overrun_s=1.0)
    assert behind.throughput == pytest.approx(2 / (2 + 2 * (1.0 - 0.024)))
    assert verdict(behind, fine) is Verdict.FAIL
    judged = judge(behind, behind).judgement
    assert judged.verdict is Verdict.INCONCLUSIVE
    assert "measure where the baseline keeps up" in judged.sentence


@pytest.mark.parametrize(
    ("above", "says"),
    [
        (load(times(500, 2)), ""),
        (load(times(500, 2), overrun_s=0.02), ""),  # what was under way when the block ended
        (load(times(500, 2), overrun_s=0.5), "it answers 68% of what arrives"),
        (load(times(500, 2, 15.0)), "p99 is"),
        (load(times(90, 2, 15.0)), "p95 is"),
        (load(times(450, 2), errors=50), "50 of 500 requests end in an error"),
    ],
)
def test_saturation_is_named(above: Load, says: str) -> None:
    found = saturation(above, load(times(500, 1)), 0.001)
    assert found.startswith(says)
    assert bool(found) == bool(says)


def test_a_tail_is_shown_only_where_values_lie_beyond_it() -> None:
    few = load(times(400, 1)).summary()
    assert few["p95_ms"] is not None
    assert (few["p99_ms"], few["p99.9_ms"]) == (None, None)
    assert load(times(500, 1)).summary()["p99_ms"] is not None
    assert load(times(5000, 1)).summary()["p99.9_ms"] is not None
    assert sum(n for _, n in few["histogram"]) == 400


def test_a_level_ends_early_when_errors_pile_up() -> None:
    assert not too_many_errors(19, 19, 0.001)
    assert too_many_errors(20, 3, 0.001)
    assert not too_many_errors(20, 2, 0.001)
    assert not too_many_errors(20, 10, 0.6)


def test_a_cache_is_noticed() -> None:
    first = tuple(times(20, 1))
    assert Repeats(first, tuple(v / 4 for v in first)).cached
    assert "never asked before" in Repeats(first, tuple(v / 4 for v in first)).said("candidate")
    warm = Repeats(first, tuple(v * 0.7 for v in first))  # pages in memory, no cache
    assert not warm.cached
    assert warm.said("candidate") == ""
    assert not Repeats(first[:5], first[:5]).cached


def projection(**fields: float) -> Projection:
    return Projection.model_validate({"queries_per_month": 2_000_000, **fields})


def test_the_real_rate_says_where_it_is_from() -> None:
    # 2 000 000 / (730 × 3 600 s) × 3 = 2.28
    month = real_rate(projection())
    assert month.per_s == pytest.approx(2.283, abs=0.001)
    assert month.why == "2,000,000 queries a month, 3 times the mean at the peak"
    assert real_rate(projection(peak_requests_per_s=7)).per_s == 7
    assert real_rate(projection(peak_requests_per_s=7), 30.0) == RealRate(
        30.0, "as latency_rate says"
    )


def test_a_rate_too_low_for_a_percentile_is_raised_and_levels_become_one() -> None:
    plan = plan_load(real_rate(projection()), 16.0, mean_ms=8.0, users=2)
    assert [level.rate for level in plan.levels] == [pytest.approx(62.5)]  # 1 000 in 16 s
    assert plan.levels[0].multiple == pytest.approx(27.4, abs=0.1)
    assert "asked at 62.5, or 16 s would give too few answers" in plan.said
    assert plan.seconds == pytest.approx(16.0)
    # slow services are left alone: .6 × 2 users / 0.1 s
    slow = plan_load(real_rate(projection()), 16.0, mean_ms=100.0, users=2)
    assert [level.rate for level in slow.levels] == [pytest.approx(12.0)]
    # little time is no reason to hurry: .6 of one user without pause, not of two
    short = plan_load(real_rate(projection()), 2.0, mean_ms=8.0, users=2)
    assert [level.rate for level in short.levels] == [pytest.approx(75.0)]


def test_a_real_rate_is_asked_once_twice_and_four_times() -> None:
    plan = plan_load(RealRate(100.0, "x"), 16.0, mean_ms=8.0, users=2)
    assert [level.rate for level in plan.levels] == [100.0, 200.0, 400.0]
    assert "asked at" not in plan.said
    fixed = plan_load(RealRate(2.0, "x"), 16.0, mean_ms=8.0, users=2, fixed=True)
    assert [level.rate for level in fixed.levels] == [2.0, 4.0, 8.0]
    none = plan_load(RealRate(0.0, "x"), 16.0, mean_ms=8.0, users=2)
    assert [level.multiple for level in none.levels] == [None]


@given(
    st.floats(0, 100_000),
    st.floats(1, 3600),
    st.floats(0.1, 5000),
    st.integers(1, 64),
    st.booleans(),
)
def test_never_more_than_the_most_requests_nor_longer_than_was_asked(
    rate: float, seconds: float, mean_ms: float, users: int, fixed: bool
) -> None:
    if fixed and rate <= 0:
        return
    plan = plan_load(RealRate(rate, "x"), seconds, mean_ms=mean_ms, users=users, fixed=fixed)
    asked = sum(2 * v.pairs * v.block_s * v.rate for v in plan.levels)
    assert asked <= MOST_REQUESTS * (1 + 1e-9)
    assert plan.seconds <= seconds * (1 + 1e-9)
    assert all(v.rate >= rate and v.pairs >= 2 and v.block_s > 0 for v in plan.levels)
    assert 8 <= workers_for(plan.levels[-1].rate, mean_ms) <= 64


@given(st.integers(1, 9))
def test_systems_take_turns(pairs: int) -> None:
    order = turns(pairs)
    assert [s for s, _ in turns(2)] == ["baseline", "candidate", "candidate", "baseline"]
    for pair in range(pairs):
        assert sorted(s for s, n in order if n == pair) == ["baseline", "candidate"]


def test_a_judged_percentile_is_the_one_that_metrics_defines() -> None:
    values = times(500, 3)
    assert judge(load(values), load(values)).ratio.candidate == percentile(values, 0.95)


def test_what_makes_a_question_slow_for_both_cancels() -> None:
    """The same questions, one side a tenth slower at each: a narrow interval, though both vary."""
    values = times(500, 3)
    ratio = judge(load([1.1 * v for v in values]), load(values)).ratio
    assert (ratio.ci_low, ratio.ci_high) == pytest.approx((1.1, 1.1))
    shuffled = judge(load([1.1 * v for v in times(500, 4)]), load(values)).ratio
    assert shuffled.ci_high - shuffled.ci_low > 0.1


def test_a_request_that_one_side_failed_counts_for_neither() -> None:
    fine = load(times(500, 3))
    first = fine.blocks[0]
    holes = replace(fine, blocks=(replace(first, times=(None, *first.times[1:])), *fine.blocks[1:]))
    new, old = answered_by_both(holes, fine)
    assert new == old == fine.ms[1:]


def test_a_first_look_that_is_open_asks_for_a_second_where_that_would_decide() -> None:
    values = times(500, 1)
    mixed = Random(2).sample(values, len(values))
    decided = judge(load(mixed), load(values), 2.0)
    assert "(98.75 % " in decided.judgement.sentence
    assert (decided.seconds_more, decided.is_open) == (None, False)
    near = judge(load([1.1 * v for v in mixed]), load(values), 1.25)
    assert near.judgement.verdict is Verdict.INCONCLUSIVE
    assert near.seconds_more == near.judgement.numbers["seconds_more"] > 0
    assert near.is_open
    on_the_line = judge(load([1.25 * v for v in mixed]), load(values), 1.25)
    assert (on_the_line.seconds_more, on_the_line.is_open) == (None, True)
    # too few for a bootstrap: one look, of 95 %, that says what would decide and leaves it there
    few = judge(load(times(40, 1)), load(times(40, 2)), 2.0)
    assert "(95 % " in few.judgement.sentence
    assert few.judgement.numbers["seconds_more"] > 0
    assert (few.seconds_more, few.is_open) == (None, False)


def test_all_looks_pass_a_candidate_that_misses_no_more_often_than_one_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the line itself, 2.5 % of all candidates may pass: by the first look or by a later one."""
    monkeypatch.setattr(latency, "_RESAMPLES", 400)  # ten times as fast
    passed = 0
    for seed in range(40):
        mine, other = times(2000, seed, 1.25), times(2000, 1000 + seed)
        for answers in (500, 1000, 1500, 2000):
            judged = judge(load(mine[:answers]), load(other[:answers]))
            if not judged.is_open:
                break
        passed += judged.judgement.verdict is Verdict.PASS
    assert passed <= 4  # more in one of 400 such tests, at 2.5 %


def test_a_further_look_is_an_even_share_or_half_as_long_again_as_would_just_do() -> None:
    level = Level(rate=50.0, multiple=1.0, block_s=0.5, pairs=16)
    asked = {"seconds": 16.0, "sent": 1000, "longer_s": 0.0, "looks_left": 3}
    assert pairs_more(level, 10.0, **asked) == 32  # of the 96 s that are left, for three looks
    assert pairs_more(level, None, **asked) == 32  # a ratio on the line may have been moved there
    assert pairs_more(level, 40.0, **asked) == 60
    assert pairs_more(level, 900.0, **asked) == 96  # never more than six times as long
    assert pairs_more(level, None, **asked | {"longer_s": 64.0, "looks_left": 1}) == 32
    assert pairs_more(level, 900.0, **asked | {"longer_s": 95.5}) == 0
    assert pairs_more(level, None, **asked | {"sent": 19_400}) == 4
    assert pairs_more(level, 40.0, **asked | {"sent": 19_400}) == 12
    assert pairs_more(level, 10.0, **asked | {"sent": 20_000}) == 0


@given(
    st.floats(0.1, 1000),
    st.floats(0.1, 5),
    st.floats(0, 4000),
    st.floats(1, 3600),
    st.integers(0, 20_000),
    st.floats(0, 30_000),
    st.integers(1, 3),
)
def test_a_further_look_never_leaves_what_a_climb_may_send(
    rate: float, block_s: float, more: float, seconds: float, sent: int, longer: float, looks: int
) -> None:
    level = Level(rate, None, block_s, 8)
    pairs = pairs_more(level, more, seconds=seconds, sent=sent, longer_s=longer, looks_left=looks)
    assert pairs >= 0
    assert sent + 2 * pairs * block_s * rate <= max(sent, MOST_REQUESTS * (1 + 1e-9))
    assert longer + 2 * pairs * block_s <= max(longer, 6 * seconds * (1 + 1e-9))


def test_the_smallest_effect_is_by_the_interval_that_is_judged() -> None:
    ratio = PercentileRatio(0.95, 10.0, 10.0, 1.0, 1 / 1.2, 1.2)
    # 1.2 is 1.96 standard errors of the logarithm, an effect seen in four of five runs 2.80
    assert latency.smallest_ratio(ratio) == pytest.approx(1.2 ** (2.80 / 1.96), abs=1e-3)
    of_four = replace(ratio, confidence=0.9875)
    assert latency.smallest_ratio(of_four) == pytest.approx(1.2 ** (3.34 / 2.50), abs=1e-3)
