"""The benchmark's judge of many rollouts at once is the judge of one."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.judge import exact_fixed, fixed_looks, median_look, row
from benchmarks.judge_world import LIMITS, Crowd, Judges, World
from qafila.rollout.judge.calibration import Calibration
from qafila.rollout.judge.evidence import State, e_values, update
from qafila.rollout.judge.guardrails import ArmCounts, ByTenant, Counts

ROLLOUTS = 3


def by_tenant(requests: np.ndarray, bad: np.ndarray) -> ByTenant:
    return {
        f"t{n}": ArmCounts(int(r), errors=int(b), bad=int(b))
        for n, (r, b) in enumerate(zip(requests, bad, strict=True))
        if r
    }


def whole(tenants: ByTenant) -> ArmCounts:
    return sum(tenants.values(), ArmCounts())


@pytest.mark.parametrize("tenants", [True, False])
@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_many_rollouts_at_once_are_judged_as_one_is(tenants: bool, ratio: float) -> None:
    world = World(60, (0.05, 0.25, 0.25, 0.5, 0.5, 0.5), tenants, ratio)
    crowd = Crowd(world, np.random.default_rng(11), ROLLOUTS)
    past = crowd.bake()
    many = Judges(past, named=tenants)
    ones = [State() for _ in range(ROLLOUTS)]
    bakes = []
    for n in range(ROLLOUTS):
        known = by_tenant(past.requests[n], past.bad[n])
        shares = (10.0, 20.0, 1.0, 0.02, 0.0, 600)
        bakes.append(Calibration(*shares, 1.0, known if tenants else {}, whole(known)))
    for live, look in crowd.looks():
        many.add(live, look)
        harm, fine, tenant = many.log_harm(live), many.log_fine(live), many.log_tenant(live)
        for n in range(ROLLOUTS):
            arms = (
                by_tenant(look.baseline[n], look.baseline_bad[n]),
                by_tenant(look.candidate[n], look.candidate_bad[n]),
            )
            named = arms if tenants else ({}, {})
            one = Counts(whole(arms[0]), whole(arms[1]), *named)
            ones[n] = update(ones[n], one, bakes[n], LIMITS)
            found = e_values(ones[n], LIMITS)
            assert np.log(found["errors"]) == pytest.approx(harm[n], abs=1e-6)
            assert np.log(found["fine"]) == pytest.approx(fine[n], abs=1e-6)
            assert np.log(found["tenant"]) == pytest.approx(tenant[n], abs=1e-6)


def test_a_row_says_what_others_read() -> None:
    found = row(40, 400, 0.25, True, np.random.default_rng(2))
    assert {
        "requests_per_look",
        "tenants",
        "false_abort",
        "false_promotion",
        "median_requests_to_catch",
        "fixed_sample_requests",
        "ratio",
        "z_test_false_abort",
    } <= found.keys()
    assert found["false_abort"] == 0.0
    assert found["z_test_false_abort"] > found["false_abort"]  # type: ignore[operator]


def test_the_median_look_is_where_half_were_caught() -> None:
    assert median_look(np.array([3, 1, 2, 10**6])) == 2
    assert median_look(np.array([1, 10**6, 10**6])) is None


def test_a_fixed_test_rejects_no_more_equal_canaries_than_it_may() -> None:
    equal = np.arange(100.0)[:, None].repeat(2, axis=1)
    bad = np.stack([np.full(100, 94.5), np.full(100, 95.5)], axis=1)
    # 5 of 100 may be rejected: the critical value is the 6th largest, 94; both looks are above it
    assert fixed_looks(equal, bad, 0.05, 0.5) == 1
    assert fixed_looks(equal, bad, 0.04, 0.5) == 2
    assert fixed_looks(equal, bad, 0.0, 0.5) is None


def test_the_exact_fixed_test_at_an_even_split() -> None:
    # θ(1) = ½, θ(4) = 0.8; of n bad answers c + 1 or more reject, P ≤ 1 % under ½: at n = 17 c = 13
    # (P(≥ 14 | ½) = 0.6 %, P(≥ 14 | 0.8) = 55 %) and from there on no n is under half;
    # a request is bad with 2 % · (4·½ + ½) = 5 %
    assert exact_fixed(0.5, 0.01, 0.5) == pytest.approx(17 / 0.05)
