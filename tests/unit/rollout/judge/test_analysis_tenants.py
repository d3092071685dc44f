"""Users who are not alike, and one tenant who fares badly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qafila.rollout.judge.calibration import Calibration, calibrate
from qafila.rollout.judge.evidence import State, e_values, update
from qafila.rollout.judge.guardrails import ArmCounts, Counts, Guardrail, Limits, count
from qafila.rollout.judge.judgement import judge, judge_alone
from qafila.rollout.judge.tenants import (
    MOST_TENANTS,
    own_rate,
    prior,
    spread_of,
    wary_weight,
    worse_than_before,
)
from qafila.workload.verdict import Verdict

LIMITS = Limits(error_rate=0.01, blast_radius=10**9)


def variation_of(rate: float, weight: float) -> float:
    """Return variance over squared mean of a Beta distribution of so many requests' worth."""
    return float(stats.beta(rate * weight, (1 - rate) * weight).var() / rate**2)


@pytest.mark.parametrize("with_some", [0, 1, 20, 5000])
def test_few_tenants_with_bad_answers_count_beside_five_that_differ_much(with_some: int) -> None:
    """Five of a variation of 50 are mixed in, which is what is believed where nobody had any."""
    bad = np.zeros(6000)
    bad[:with_some] = 3
    mixed = (with_some * variation_of(0.01, 300.0) + 5 * 50.0) / (with_some + 5)
    found = float(wary_weight(bad, 0.01, 300.0))
    assert variation_of(0.01, found) == pytest.approx(mixed, rel=1e-6)


@dataclass(frozen=True)
class A:
    arm: str
    tenant: str | None
    status: int = 200
    latency_ms: float = 5.0
    attempts: int = 1
    results: int | None = 3
    flags: frozenset[str] = frozenset()


def some(
    arm: str, tenant: str | None, requests: int, *, failed: int = 0, empty: int = 0
) -> list[A]:
    rest = requests - failed - empty
    return [
        *[A(arm, tenant, status=500)] * failed,
        *[A(arm, tenant, results=0)] * empty,
        *[A(arm, tenant)] * rest,
    ]


def crowd(arm: str, tenants: range, requests: int, *, failed: int = 0) -> list[A]:
    return [a for n in tenants for a in some(arm, f"t{n}", requests, failed=failed)]


def judged(looks: list[list[A]], calibration: Calibration, limits: Limits = LIMITS) -> State:
    state = State()
    for look in looks:
        counted = count(look, calibration.slow_ms, guardrails=limits.guardrails)
        state = update(state, counted, calibration, limits)
    return state


# -- heavy tenants -----------------------------------------------------------------------------

BAKE = crowd("baseline", range(40), 25) + some("baseline", "heavy", 500, failed=100)
LOOK = [
    *crowd("baseline", range(30), 5),
    *crowd("candidate", range(30, 40), 5),
    *some("candidate", "heavy", 100, failed=20),  # as always
]


def test_a_heavy_tenant_who_always_had_errors_is_no_fault_of_the_canary() -> None:
    known = calibrate(BAKE, LIMITS)
    verdict = judge(judged([LOOK] * 60, known), known, LIMITS)
    assert verdict.verdict is not Verdict.FAIL, verdict.sentence


def test_the_same_traffic_without_names_would_be_taken_for_harm() -> None:
    nameless = [replace(a, tenant=None) for a in BAKE]
    unknown = calibrate(nameless, LIMITS)
    assert unknown.named == 0.0
    looks = [[replace(a, tenant=None) for a in LOOK]] * 60
    assert judge(judged(looks, unknown), unknown, LIMITS).verdict is Verdict.FAIL


def test_a_canary_that_makes_the_heavy_tenant_worse_is_caught() -> None:
    known = calibrate(BAKE, LIMITS)
    worse = [
        *crowd("baseline", range(30), 5),
        *crowd("candidate", range(30, 40), 5, failed=1),  # 20 % of those who never had an error
        *some("candidate", "heavy", 100, failed=60),
    ]
    verdict = judge(judged([worse] * 5, known), known, LIMITS)
    assert verdict.verdict is Verdict.FAIL


def test_the_prior_is_the_tenant_in_the_middle_and_at_least_as_wide_as_its_rate() -> None:
    # 100 tenants of 10 requests, 1 bad each: no pair of bad answers, so no variation is seen; the
    # least is the mean's square: p = 0.1, k = (1 − p)/p − 1
    rate, weight = prior(np.full(100, 10), np.ones(100))
    assert rate == pytest.approx(0.1)
    assert weight == pytest.approx(8)
    # 10 tenants have half, 90 none: p = 0.05, E[p²] = 0.1·(5·4)/(10·9), variation E[p²]/p² − 1
    rate, weight = prior(np.full(100, 10), np.repeat([5, 0], [10, 90]))
    assert rate == pytest.approx(0.05)
    assert weight == pytest.approx(0.95 / (0.05 * (0.1 * 20 / 90 / 0.05**2 - 1)) - 1)
    # a heavy one does not speak for the others
    rate, _ = prior([500] + [25] * 40, [100] + [0] * 40)
    assert rate < 0.01
    # nothing bad at all: less than one in the requests seen
    rate, _ = prior([10, 20], [0, 0])
    assert rate == pytest.approx(0.5 / 31)


def test_a_tenants_own_rate_leans_on_the_population_when_it_asked_little() -> None:
    mean, variance = own_rate([0, 1000], [0, 100], 0.02, 49.0)
    assert mean == pytest.approx([0.02, (49 * 0.02 + 100) / 1049])
    assert variance[1] < variance[0]


def test_the_spread_falls_with_the_number_of_tenants_and_is_none_for_one_on_both_arms() -> None:
    few = spread_of([1, 1, 0, 0], [0, 0, 1, 1], np.full(4, 0.1), np.full(4, 0.01))
    many = spread_of(
        [1] * 50 + [0] * 50, [0] * 50 + [1] * 50, np.full(100, 0.1), np.full(100, 0.01)
    )
    # of each arm n tenants with variation 1: Var(log) = 1/n on either side
    assert few == pytest.approx(math.sqrt(1 / 2 + 1 / 2))
    assert many == pytest.approx(math.sqrt(1 / 50 + 1 / 50))
    assert spread_of([5, 5], [10, 10], np.full(2, 0.1), np.full(2, 0.01)) == pytest.approx(0.0)


# -- one tenant --------------------------------------------------------------------------------


def test_one_tenant_of_four_hundred_who_gets_empty_answers_is_found_and_named() -> None:
    known = calibrate(crowd("baseline", range(400), 5), LIMITS)
    look = crowd("baseline", range(100, 400), 2) + crowd("candidate", range(1, 100), 2)
    state = judged([look + some("candidate", "t0", 3, empty=3)] * 2, known)
    verdict = judge(state, known, LIMITS)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.sentence.startswith("tenant t0: 6 of 6 answers of the canary failed, were empty")
    assert "0 of 5 in the A/A bake" in verdict.sentence
    assert verdict.numbers["tenant"] == "t0"
    assert e_values(state, LIMITS)["tenant"] >= LIMITS.abort_at


def test_a_tenant_who_always_got_empty_answers_is_no_alarm() -> None:
    known = calibrate(
        crowd("baseline", range(100), 5) + some("baseline", "t0", 20, empty=18), LIMITS
    )
    look = crowd("baseline", range(50, 100), 2) + some("candidate", "t0", 3, empty=3)
    state = judged([look] * 5, known)
    assert e_values(state, LIMITS)["tenant"] < 2


def test_trouble_that_the_baseline_has_too_is_not_held_against_the_canary() -> None:
    known = calibrate(crowd("baseline", range(100), 5), LIMITS)
    outage = crowd("baseline", range(50, 100), 2, failed=2) + crowd(
        "candidate", range(50), 2, failed=2
    )
    state = judged([outage] * 3, known)
    assert e_values(state, LIMITS)["tenant"] <= 1
    assert judge(state, known, LIMITS).verdict is not Verdict.FAIL


def test_one_tenant_is_found_also_where_no_baseline_is_left() -> None:
    known = calibrate(crowd("baseline", range(400), 5), LIMITS)
    look = crowd("candidate", range(1, 400), 2) + some("candidate", "t0", 3, empty=3)
    verdict = judge_alone(judged([look] * 2, known), known, LIMITS)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.sentence.startswith("tenant t0")


def test_an_answer_that_is_wrong_in_two_ways_is_one_wrong_answer() -> None:
    ways = {Guardrail.UNGROUNDED: 0.01, Guardrail.FLAGGED: 0.01}
    limits = replace(LIMITS, at_most=ways)
    twice = frozenset(guardrail.value for guardrail in ways)
    look = [
        *some("candidate", "t0", 5),
        *[replace(a, flags=twice) for a in some("candidate", "t0", 3)],
    ]
    known = calibrate(crowd("baseline", range(50), 5), limits)
    state = judged([look], known, limits)
    assert (state.tenants["t0"].wrong, state.tenants["t0"].judged) == (3, 8)
    assert state.blast == 3
    once = [replace(a, flags=frozenset({"flagged"}) & a.flags) for a in look]
    assert judged([once], known, limits).tenant == state.tenant


def test_what_is_kept_is_bounded() -> None:
    known = calibrate(crowd("baseline", range(3000), 1) + some("baseline", "big", 9), LIMITS)
    assert len(known.tenants) == MOST_TENANTS
    assert "big" in known.tenants
    state = judged([crowd("candidate", range(5000, 9000), 1)], known)
    assert len(state.tenants) <= MOST_TENANTS
    unknown = calibrate(some("baseline", None, 50), LIMITS)
    state = judged([crowd("candidate", range(4000), 1)] * 2, unknown)
    assert len(state.tenants) == MOST_TENANTS


@pytest.mark.parametrize("allowed", [0.002, 0.05])
@pytest.mark.parametrize(("before", "n"), [((0, 0), 12), ((40, 3), 25), ((5, 5), 8)])
def test_a_tenants_e_value_is_at_most_one_on_average_under_either_null(
    before: tuple[int, int], n: int, allowed: float
) -> None:
    rate, weight = 0.03, 20.0
    ys = np.arange(n + 1)
    e = np.exp(worse_than_before(np.full(n + 1, n), ys, before, rate, weight, allowed))
    a, b = weight * rate + before[1], weight * (1 - rate) + before[0] - before[1]
    assert (stats.betabinom.pmf(ys, n, a, b) * e).sum() <= 1 + 1e-9
    assert (stats.binom.pmf(ys, n, allowed) * e).sum() <= 1 + 1e-9
    assert (stats.binom.pmf(ys, n, allowed / 3) * e).sum() <= 1 + 1e-9  # composite: any less
    # and one more wrong answer never helps
    assert (np.diff(e) >= 0).all()


# -- never and always --------------------------------------------------------------------------

tenant_counts = st.dictionaries(
    st.sampled_from([f"t{n}" for n in range(12)]),
    st.tuples(st.integers(1, 12), st.integers(0, 12), st.booleans()),
    max_size=12,
)


def counts_of(drawn: Mapping[str, tuple[int, int, bool]], clean: bool = False) -> Counts:
    arms: tuple[dict[str, ArmCounts], dict[str, ArmCounts]] = ({}, {})
    for tenant, (requests, errors, on_canary) in drawn.items():
        bad = 0 if clean and on_canary else min(requests, errors)
        arms[on_canary][tenant] = ArmCounts(requests, errors=bad, bad=bad)
    wholes = [sum(arm.values(), ArmCounts()) for arm in arms]
    return Counts(wholes[0], wholes[1], arms[0], arms[1])


def bake_of(drawn: Mapping[str, tuple[int, int, bool]]) -> Calibration:
    tenants = {t: ArmCounts(n, errors=min(n, b), bad=min(n, b)) for t, (n, b, _) in drawn.items()}
    whole = sum(tenants.values(), ArmCounts(1))
    return Calibration(
        10.0, 20.0, 1.0, whole.bad / whole.requests, 0.0, whole.requests, 1.0, tenants, whole
    )


def run(looks: list[Counts], calibration: Calibration) -> State:
    state = State()
    for look in looks:
        state = update(state, look, calibration, LIMITS)
    return state


@given(tenant_counts, st.lists(tenant_counts, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_canary_without_a_bad_answer_is_never_aborted(
    bake: Mapping[str, tuple[int, int, bool]], looks: list[Mapping[str, tuple[int, int, bool]]]
) -> None:
    known = bake_of(bake)
    state = run([counts_of(look, clean=True) for look in looks], known)
    assert judge(state, known, LIMITS).verdict is not Verdict.FAIL
    assert judge_alone(state, known, LIMITS).verdict is not Verdict.FAIL
    assert e_values(state, LIMITS)["tenant"] <= 1


@given(tenant_counts, st.lists(tenant_counts, max_size=5), st.permutations(range(12)))
@settings(max_examples=60, deadline=None)
def test_a_digest_by_itself_never_decides(
    bake: Mapping[str, tuple[int, int, bool]],
    looks: list[Mapping[str, tuple[int, int, bool]]],
    order: list[int],
) -> None:
    name = {f"t{n}": f"t{order[n]}" for n in range(12)}
    first = run([counts_of(look) for look in looks], bake_of(bake))
    renamed = [counts_of({name[t]: v for t, v in look.items()}) for look in looks]
    second = run(renamed, bake_of({name[t]: v for t, v in bake.items()}))
    assert e_values(first, LIMITS) == pytest.approx(e_values(second, LIMITS), rel=1e-6)


@given(tenant_counts, st.lists(tenant_counts, max_size=6))
@settings(max_examples=60, deadline=None)
def test_e_values_are_always_finite_and_the_state_small(
    bake: Mapping[str, tuple[int, int, bool]], looks: list[Mapping[str, tuple[int, int, bool]]]
) -> None:
    state = run([counts_of(look) for look in looks], bake_of(bake))
    assert all(math.isfinite(e) and e >= 0 for e in e_values(state, LIMITS).values())
    assert len(state.tenants) <= 12


@given(tenant_counts, st.lists(tenant_counts, min_size=2, max_size=5), st.randoms())
@settings(max_examples=40, deadline=None)
def test_the_order_of_looks_never_matters(
    bake: Mapping[str, tuple[int, int, bool]],
    looks: list[Mapping[str, tuple[int, int, bool]]],
    random: object,
) -> None:
    counted = [counts_of(look) for look in looks]
    shuffled = list(counted)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    known = bake_of(bake)
    first, second = e_values(run(counted, known)), e_values(run(shuffled, known))
    assert first == pytest.approx(second, rel=1e-6)
