"""Whom a failed guardrail's sentence names, and that naming decides nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.rollout.judge.calibration import calibrate
from qafila.rollout.judge.evidence import State, e_alone, e_values, update
from qafila.rollout.judge.guardrails import ArmCounts, Counts, Guardrail
from qafila.rollout.judge.judgement import judge, judge_alone
from qafila.rollout.judge.tenant_names import carrier
from qafila.workload.verdict import Judgement, Verdict
from tests.unit.rollout.judge.test_analysis_tenants import LIMITS, A, crowd, judged, some

QUIET = calibrate(crowd("baseline", range(400), 5), LIMITS)
OTHERS = [*crowd("baseline", range(100, 400), 1), *crowd("candidate", range(1, 100), 1)]


def look(empty: int, requests: int, *, others: list[A] = OTHERS) -> list[A]:
    return [*others, *some("candidate", "t0", requests, empty=empty)]


def both(state: State) -> Judgement:
    assert e_values(state, LIMITS)["empty"] >= LIMITS.abort_at, "the guardrail is to be proven"
    return judge(state, QUIET, LIMITS)


def test_a_tenant_proven_at_the_same_look_as_the_guardrail_comes_first() -> None:
    state = judged([look(8, 8)] * 2, QUIET)
    verdict = both(state)
    assert verdict.verdict is Verdict.FAIL
    assert verdict.sentence.startswith("tenant t0: 16 of 16 answers of the canary failed, ")
    assert "; empty: canary 16 of 214, baseline 0 of 600 (E = " in verdict.sentence
    assert verdict.sentence.endswith(", without this tenant 0 of 198.")
    assert verdict.numbers["tenant"] == "t0"
    assert "tenant_observed" not in verdict.numbers


def test_a_tenant_who_explains_it_unproven_is_named_behind_it_as_observed() -> None:
    # A few tenants had some empty answers before: so may t0, who was asked only five times
    some_had = [a for n in range(8) for a in some("baseline", f"t{392 + n}", 5, empty=1)]
    known = calibrate(crowd("baseline", range(392), 5) + some_had, LIMITS)
    state = judged([look(5, 7)] * 2, known)
    e = e_values(state, LIMITS)
    assert e["empty"] >= LIMITS.abort_at > e["tenant"] > 100
    verdict = judge(state, known, LIMITS)
    assert verdict.sentence.startswith("empty: canary 10 of 212, baseline 0 of 600 (E = ")
    assert "; 10 of these 10 were tenant t0's, with 14 of the 212 requests " in verdict.sentence
    assert f"(observed, not proven: E(tenant) = {e['tenant']:.0f} of 400)." in verdict.sentence
    assert verdict.numbers["tenant_observed"] == "t0"
    assert "tenant" not in verdict.numbers


def test_a_tenant_who_is_proven_but_not_the_only_one_is_named_behind_it() -> None:
    others = [
        *crowd("baseline", range(100, 400), 1),
        *crowd("candidate", range(12, 100), 1),
        *[a for n in range(1, 12) for a in some("candidate", f"t{n}", 1, empty=1)],
    ]
    verdict = both(judged([look(20, 20, others=others)] * 2, QUIET))
    assert verdict.sentence.startswith("empty: canary 62 of ")
    assert "40 of these 62 were tenant t0's" in verdict.sentence
    assert "(proven: E(tenant) = " in verdict.sentence
    assert verdict.sentence.endswith("; but it is not the only one).")
    assert verdict.numbers["tenant"] == "t0"


def test_nobody_is_named_where_all_are_served_badly() -> None:
    others = [
        *crowd("baseline", range(100, 400), 1),
        *[a for n in range(1, 100) for a in some("candidate", f"t{n}", 1, empty=n % 3 > 0)],
    ]
    state = judged([look(6, 9, others=others)] * 3, QUIET)
    assert e_values(state, LIMITS)["tenant"] >= LIMITS.abort_at, "proven for many"
    verdict = both(state)
    assert verdict.sentence.startswith("empty: canary ")
    assert verdict.sentence.endswith(" ≥ 400).")
    assert "tenant" not in verdict.sentence
    assert not {"tenant", "tenant_observed"} & set(verdict.numbers)


def test_who_sends_most_requests_is_not_named_for_having_most_of_the_bad_answers() -> None:
    others = [
        *crowd("baseline", range(100, 400), 1),
        *[a for n in range(1, 31) for a in some("candidate", f"t{n}", 1, empty=n % 3 == 0)],
    ]
    state = judged([look(20, 60, others=others)], QUIET)  # a third of all, like everyone's
    verdict = both(state)
    assert state.tenants["t0"].answers.empty == 20
    assert state.counts.candidate.empty == 30
    assert "tenant" not in verdict.sentence


def test_who_always_had_most_of_the_bad_answers_is_not_named_for_it() -> None:
    # A tenth of t0's answers were empty in the bake, of the others' hardly any; now four tenths
    bake = crowd("baseline", range(400), 20) + some("baseline", "t0", 380, empty=40)
    known = calibrate(bake, LIMITS)
    state = judged([look(8, 20)] * 12, known)
    named = carrier(state, Guardrail.EMPTY, known, LIMITS, alone=False)
    assert state.tenants["t0"].answers.empty == state.counts.candidate.empty
    assert named is None, "who else was to have them?"


def test_slow_answers_of_one_tenant_are_observed_and_never_proven() -> None:
    def slow(n: int) -> list[A]:
        return [replace(a, latency_ms=500.0) for a in some("candidate", "t0", n)]

    state = judged([[*OTHERS, *slow(20)]] * 6, QUIET)
    assert e_values(state, LIMITS)["latency"] >= LIMITS.abort_at
    verdict = judge(state, QUIET, LIMITS)
    assert verdict.sentence.startswith("latency: canary 120 of ")
    assert "120 of these 120 were tenant t0's" in verdict.sentence
    assert "(observed, not proven: slowness is not tested by tenant)." in verdict.sentence


def test_without_a_baseline_the_tenant_comes_first_too() -> None:
    everyone = crowd("candidate", range(1, 400), 1)
    state = judged([look(12, 12, others=everyone)] * 2, QUIET)
    assert e_alone(state, LIMITS)["empty"] >= LIMITS.abort_at
    verdict = judge_alone(state, QUIET, LIMITS)
    assert verdict.sentence.startswith("tenant t0: 24 of 24 answers")
    assert "; empty: 24 of 822, more than " in verdict.sentence
    assert verdict.sentence.endswith(", without this tenant 0 of 798.")


def test_several_tenants_who_are_proven_only_together_are_told_as_such() -> None:
    badly = [a for n in range(3) for a in some("candidate", f"t{n}", 4, empty=4)]
    crowds = [*crowd("baseline", range(100, 400), 1), *crowd("candidate", range(3, 100), 9)]
    state = judged([[*crowds, *badly]], QUIET)
    own = math.exp(state.worst_alone)
    e = e_values(state, LIMITS)["tenant"]
    assert e == pytest.approx(3 * own, rel=0.01)
    between = replace(LIMITS, alpha=4 / (1.5 * own))  # more than one proves, less than three do
    only_tenants = replace(state, harm=State().harm)
    said = judge(only_tenants, QUIET, between)
    assert said.verdict is Verdict.FAIL
    bound = f"E = {e:.0f} ≥ {between.abort_at:.0f} for all tenants, {own:.0f} for this one"
    assert f"({bound})." in said.sentence


# -- never and always --------------------------------------------------------------------------

KINDS = ("errors", "empty", "latency")
answers = st.tuples(st.integers(0, 12), st.integers(0, 15), st.sampled_from(KINDS), st.booleans())
looks = st.lists(
    st.dictionaries(st.sampled_from([f"t{n}" for n in range(8)]), answers, max_size=8),
    min_size=1,
    max_size=8,
)


def counts_of(drawn: dict[str, tuple[int, int, str, bool]]) -> Counts:
    """Return a look; on either arm are some whom the router does not name, t7's among them."""
    arms: tuple[dict[str, ArmCounts], dict[str, ArmCounts]] = ({}, {})
    for tenant, (good, bad, kind, on_canary) in drawn.items():
        if good + bad:
            arms[on_canary][tenant] = ArmCounts(good + bad, bad=bad, **{kind: bad})
    wholes = [sum(arm.values(), ArmCounts()) for arm in arms]
    named = [{t: counts for t, counts in arm.items() if t != "t7"} for arm in arms]
    return Counts(wholes[0] + ArmCounts(40), wholes[1], named[0], named[1])


@given(looks, st.sampled_from([0.0, 1.0]), st.sampled_from([0.01, 0.9]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_naming_never_changes_verdict_or_step(
    drawn: list[dict[str, tuple[int, int, str, bool]]], share: float, alpha: float, alone: bool
) -> None:
    limits = replace(LIMITS, alpha=alpha)
    known, state = replace(QUIET, named=share), State()
    for number, one in enumerate(drawn):
        state = update(state, counts_of(one), known, limits)
        verdict = (judge_alone if alone else judge)(state, known, limits)
        e = (e_alone if alone else e_values)(state, limits)
        # What decides, in one line: an e-value beyond its threshold, whoever had the answers
        fails = any(e[name] >= limits.abort_at for name in (*limits.guardrails, "tenant"))
        assert (verdict.verdict is Verdict.FAIL) == fails, f"look {number}: {verdict.sentence}"
        # and the same with every guardrail's answers on nobody
        if any(e[g] >= limits.abort_at for g in limits.guardrails):
            nobody = replace(state, tenants={}, worst=None)
            same = (judge_alone if alone else judge)(nobody, known, limits)
            assert (same.verdict, same.numbers["e_values"]) == (verdict.verdict, e)


@given(looks, st.booleans())
@settings(max_examples=150, deadline=None)
def test_who_is_named_always_had_most_of_the_bad_answers_and_proof_is_never_claimed_without(
    drawn: list[dict[str, tuple[int, int, str, bool]]], alone: bool
) -> None:
    state = State()
    for one in drawn:
        state = update(state, counts_of(one), QUIET, LIMITS)
    for guardrail in LIMITS.guardrails:
        who = carrier(state, guardrail, QUIET, LIMITS, alone=alone)
        if who is not None:
            own = state.tenants[who.tenant].answers
            assert (who.bad, who.requests) == (own.of(guardrail), own.requests)
            assert who.bad + who.rest_bad == state.counts.candidate.of(guardrail)
            assert who.bad > who.rest_bad
            assert math.isfinite(who.rest_e)
            assert who.rest_e >= 0
    verdict = (judge_alone if alone else judge)(state, QUIET, LIMITS)
    if verdict.sentence.startswith("tenant") or "(proven:" in verdict.sentence:
        assert max(math.exp(state.tenant), math.exp(state.worst_alone)) >= LIMITS.abort_at
        assert verdict.numbers["tenant"] == state.worst
    else:
        assert "tenant" not in verdict.numbers
