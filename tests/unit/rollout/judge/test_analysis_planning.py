"""What proof takes, and quality on shadow queries."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.guardrails import ArmCounts, Limits
from qafila.rollout.judge.quality import Shadow
from qafila.rollout.judge.sample_plan import (
    expected_spread,
    hours_to_prove,
    plan_proof,
    requests_to_prove,
    requests_to_stay_under,
)
from qafila.rollout.judge.tenants import own_rate, prior
from qafila.workload.verdict import Verdict

LIMITS = Limits()
BAKE = Calibration(10.0, 20.0, 1.0, 0.05, 0.0, 1000)


# -- what proof takes --------------------------------------------------------------------------


def test_a_plan_says_for_each_weight_what_both_kinds_of_proof_take() -> None:
    one, quarter, all_of_it = plan_proof([1, 25, 100], BAKE, LIMITS, requests_per_s=10)
    assert one.by_ratio is not None
    assert quarter.by_ratio is not None
    assert one.by_ratio > 10 * quarter.by_ratio
    assert quarter.hours == pytest.approx(
        min(quarter.by_ratio, quarter.by_objective or math.inf) / 36_000, rel=1e-2
    )
    assert all_of_it.by_ratio is None  # nothing to compare with
    assert all_of_it.by_objective is not None


def test_where_nothing_bad_was_seen_the_objectives_are_the_only_proof() -> None:
    clean = replace(BAKE, bad_share=0.0)
    (plan,) = plan_proof([25], clean, LIMITS, requests_per_s=1)
    assert plan.by_ratio is None
    assert plan.by_objective is not None
    # under 5.2 %: log 20 / −log(1 − 0.052) canary requests = 56, four times as many of both
    assert plan.by_objective == pytest.approx(4 * math.log(20) / -math.log(1 - 0.052), abs=1)


def test_a_bad_rate_over_the_objectives_is_never_proven_under_them() -> None:
    assert requests_to_stay_under(0.5, 0.06, 0.052, LIMITS) == math.inf
    assert requests_to_stay_under(0.0, 0.0, 0.052, LIMITS) == math.inf


def test_without_traffic_no_hour_is_enough() -> None:
    assert hours_to_prove(100, 0.0) is None
    assert hours_to_prove(math.inf, 5.0) is None
    assert hours_to_prove(36_000, 10.0) == pytest.approx(1.0)
    assert hours_to_prove(1_800, 0.5) == pytest.approx(1.0)  # less than one request a second


def test_tenants_that_tell_too_little_make_a_ratio_unprovable() -> None:
    # log 2 / √(2·log 20) = 0.283
    plain = requests_to_prove(0.25, 0.05, LIMITS)
    assert requests_to_prove(0.25, 0.05, LIMITS, spread=0.2) == pytest.approx(
        plain / (1 - 0.04 / 0.0802), rel=0.01
    )
    assert requests_to_prove(0.25, 0.05, LIMITS, spread=0.29) == math.inf


def test_the_spread_to_expect_falls_as_the_weight_rises_to_half() -> None:
    tenants = {f"t{n}": ArmCounts(20, errors=1, bad=1) for n in range(50)}
    named = replace(BAKE, named=1.0, tenants=tenants, whole=ArmCounts(1000, errors=50, bad=50))
    spreads = [expected_spread(named, w) for w in (0.01, 0.05, 0.25, 0.5)]
    assert spreads == sorted(spreads, reverse=True)
    assert expected_spread(BAKE, 0.25) == 0.0  # no names: told by the skew instead
    assert expected_spread(named, 1.0) == 0.0
    assert [p.spread for p in plan_proof([25, 50], named, LIMITS, 1.0)] == spreads[2:]


def test_the_spread_to_expect_is_what_rates_drawn_again_show() -> None:
    """How far the two sides' bad rates lie apart by the chance of who is on the canary alone."""
    generator, share = np.random.default_rng(5), 0.25
    sizes = [int(n) for n in generator.integers(20, 2000, 400)]
    bad = [int(generator.binomial(n, 0.05 * generator.gamma(4, 0.25))) for n in sizes]
    arms = [ArmCounts(n, errors=b, bad=b) for n, b in zip(sizes, bad, strict=True)]
    tenants = {f"t{number}": arm for number, arm in enumerate(arms)}
    whole = ArmCounts(sum(sizes), errors=sum(bad), bad=sum(bad))
    named = replace(BAKE, named=1.0, tenants=tenants, whole=whole)
    requests, counts = np.array(sizes, float), np.array(bad, float)
    rate, weight = prior(requests, counts)
    drawn = generator.beta(
        weight * rate + counts, weight * (1 - rate) + requests - counts, (4000, len(sizes))
    )
    mean, _ = own_rate(requests, counts, rate, weight)
    on_it = np.arange(len(sizes)) % 4 == 0  # a quarter of tenants that do not differ in kind
    sides = [
        (drawn[:, side] * requests[side]).sum(axis=1) / (mean[side] * requests[side]).sum()
        for side in (on_it, ~on_it)
    ]
    seen = float(np.log(sides[0] / sides[1]).std())
    assert expected_spread(named, share) == pytest.approx(seen, rel=0.15)


@given(st.floats(0.01, 0.99), st.floats(1e-5, 0.9), st.floats(0, 0.28))
@settings(max_examples=100, deadline=None)
def test_more_doubt_about_the_users_never_shortens_a_proof(
    share: float, rate: float, spread: float
) -> None:
    plain = requests_to_prove(share, rate, LIMITS)
    assert requests_to_prove(share, rate, LIMITS, spread=spread) >= plain > 0


# -- quality on shadow queries -----------------------------------------------------------------


def shadow(gain: float, queries: int, **of: float) -> Shadow:
    random = np.random.default_rng(3)
    base = random.uniform(0.4, 0.6, queries)
    other = np.clip(base + gain + random.normal(0, 0.05, queries), 0, 1)
    return Shadow(**of).add(zip(base.tolist(), other.tolist(), strict=True))


@pytest.mark.parametrize(
    ("gain", "queries", "verdict"),
    [
        (0.2, 400, Verdict.PASS),
        (-0.3, 400, Verdict.FAIL),
        (0.0, 10, Verdict.INCONCLUSIVE),  # too few to say anything
        (-0.02, 400, Verdict.INCONCLUSIVE),  # at the line: at least 0, margin 0.02
        (0.0, 0, Verdict.INCONCLUSIVE),
    ],
)
def test_the_gain_in_ndcg_is_judged_by_its_whole_interval(
    gain: float, queries: int, verdict: Verdict
) -> None:
    judged = shadow(gain, queries).judge()
    assert judged.verdict is verdict, judged.sentence
    assert "overlap@10 not measured" in judged.sentence


def test_change_is_reported_and_judged_only_against_an_objective() -> None:
    changed = [0.3] * 200
    free = shadow(0.2, 400).add(overlaps=changed).judge()
    assert free.verdict is Verdict.PASS
    assert "not judged" in free.sentence
    held = replace(shadow(0.2, 400), overlap_at_least=0.8).add(overlaps=changed).judge()
    assert held.verdict is Verdict.FAIL
    assert "at least 0.8" in held.sentence
    unseen = replace(shadow(0.2, 400), overlap_at_least=0.8).judge()
    assert unseen.verdict is Verdict.INCONCLUSIVE


def test_a_value_that_is_no_score_is_refused() -> None:
    with pytest.raises(ValueError, match="lie outside"):
        Shadow().add(overlaps=[1.2]).judge()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=60), st.integers(1, 59))
@settings(max_examples=40, deadline=None)
def test_bounds_only_come_closer_so_a_verdict_never_turns(
    pairs: list[tuple[float, float]], cut: int
) -> None:
    before, after = Shadow().add(pairs[:cut]), Shadow().add(pairs[:cut]).add(pairs[cut:])
    first, second = before.gain(), after.gain()
    if first.low is not None and first.high is not None:
        assert second.low is not None
        assert second.high is not None
        assert first.low <= second.low < second.high <= first.high
    verdicts = {before.judge().verdict, after.judge().verdict}
    assert verdicts != {Verdict.PASS, Verdict.FAIL}
