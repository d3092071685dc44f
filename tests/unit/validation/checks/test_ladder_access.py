"""Who was shown what: counts decide, one row is enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.validation.checks.judge_access import (
    MOST_NAMED,
    Place,
    Reader,
    Seen,
    Service,
    judge_access,
    judge_reader,
    judge_service,
    not_seen,
)
from qafila.workload.verdict import Judgement, Verdict

HR = Reader(("hr",))
GOOD = [1.0] * 60
OPEN = Judgement(Verdict.PASS, "the service is well.")


def seen(**more: object) -> Seen:
    return Seen(
        **{
            "reader": HR,
            "rows": 100,
            "allowed": 10,
            "searches": 6,
            "hits": 60,
            "shares": list(GOOD),
            **more,
        }
    )  # type: ignore[arg-type]


def test_readers_have_names() -> None:
    assert Reader(("hr", "ops")).name == "a reader of hr and ops"
    assert Reader(("nobody-7",), stranger=True).name == "a stranger"


places = st.sets(st.tuples(st.text(max_size=3), st.none() | st.integers(0, 2)), max_size=80)


@given(places, places)
def test_one_row_too_many_or_too_few_never_passes(allowed: set[Place], visible: set[Place]) -> None:
    one = Seen(HR)
    one.compare(allowed, visible, 100)
    assert one.shown == len(visible - allowed)
    assert one.hidden == len(allowed - visible)
    assert len(one.shown_places) == min(MOST_NAMED, one.shown)
    judged = judge_reader(one, 0.9, of=1, seed=7)
    assert (judged.verdict is Verdict.PASS) == (allowed == visible)
    assert judge_access([one], None, 0.9, seed=7).verdict is judged.verdict


@given(st.lists(places, max_size=5))
def test_one_forbidden_result_never_passes(returned: list[set[Place]]) -> None:
    one = Seen(HR)
    for found in returned:
        one.search(10, sorted(found, key=str), "a query")
    assert one.searches == len(returned)
    assert one.returned == sum(map(len, returned))
    judged = judge_reader(one, 0.9, of=1, seed=7)
    assert (judged.verdict is Verdict.FAIL) == any(returned)


@pytest.mark.parametrize(
    ("one", "verdict", "said"),
    [
        (seen(), Verdict.PASS, "nothing forbidden in 60 results of 6 searches and 100 rows"),
        (seen(shown=2, shown_places=[("a", None), ("b", 1)]), Verdict.FAIL, "a, b (1)"),
        (seen(hidden=1, hidden_places=[("a", None)]), Verdict.FAIL, "hides 1 of 10 rows"),
        (seen(returned=1, returned_for=[(("a", None), "why")]), Verdict.FAIL, "as a for 'why'"),
        (seen(shares=[0.1, 0.2] * 30), Verdict.FAIL, "all of it below 0.9"),
        (seen(shares=[0.8, 1.0] * 3), Verdict.PASS, "recall@10 0.900"),  # left to all together
        (seen(shares=[]), Verdict.PASS, "10 are theirs."),
    ],
)
def test_one_reader(one: Seen, verdict: Verdict, said: str) -> None:
    judged = judge_reader(one, 0.9, of=3, seed=7)
    assert judged.verdict is verdict
    assert said in judged.sentence


@pytest.mark.parametrize(
    ("service", "verdict"),
    [
        (None, None),
        (Service(0, 0), Verdict.INCONCLUSIVE),
        (Service(60, 0), Verdict.PASS),
        (Service(60, 1), Verdict.ERROR),  # a broken service is not a leaking one
        (Service(60, 1, [(("a", None), "q")]), Verdict.ERROR),
        (Service(60, 0, [(("a", None), "q")]), Verdict.FAIL),
    ],
)
def test_the_service(service: Service | None, verdict: Verdict | None) -> None:
    judged = judge_service(service, 0.001)
    assert (judged and judged.verdict) is verdict


def test_everybody_together() -> None:
    assert judge_access([seen()], OPEN, 0.9, seed=7).verdict is Verdict.PASS
    broken = replace(OPEN, verdict=Verdict.ERROR)
    assert judge_access([seen()], broken, 0.9, seed=7).verdict is Verdict.ERROR
    leaking = Judgement(Verdict.FAIL, "the service leaks.")
    judged = judge_access([seen(shown=1, shown_places=[("a", None)])], leaking, 0.9, seed=7)
    assert judged.sentence.startswith("The service leaks. a reader of hr")
    unsure = judge_access([seen(shares=[0.8, 1.0] * 5)], OPEN, 0.9, seed=7)
    assert unsure.verdict is Verdict.INCONCLUSIVE
    assert "more recall_queries would decide" in unsure.sentence
    nothing = Seen(HR)
    assert judge_access([nothing], None, 0.9, seed=7).verdict is Verdict.INCONCLUSIVE


def test_silent_loss_names_the_remedy_and_a_leak_does_not() -> None:
    lost = judge_access([seen(shares=[0.1, 0.2] * 30)], OPEN, 0.9, seed=7, remedy="Look there.")
    assert lost.verdict is Verdict.FAIL
    assert lost.sentence.endswith("Look there.")
    shown = seen(shown=1, shown_places=[("a", None)])
    assert (
        "Look there" not in judge_access([shown], OPEN, 0.9, seed=7, remedy="Look there.").sentence
    )


def test_what_was_not_tried_has_a_bound() -> None:
    # none in 100: 1 − 0.025^(1/100) = 3.6 %
    assert "at most 3.6 %" in not_seen(100, 3, 3)
    assert "7 of 10 groups were not played" in not_seen(100, 3, 10)


def test_looking_at_every_row_leaves_nothing_to_an_interval() -> None:
    few = seen(shares=[1.0] * 10)
    assert judge_access([few], OPEN, 0.9, seed=7).verdict is Verdict.INCONCLUSIVE
    scanned = replace(few, scanned=True)
    assert judge_access([scanned], OPEN, 0.9, seed=7).verdict is Verdict.PASS
    assert "looking at all of them" in judge_reader(scanned, 0.9, of=1, seed=7).sentence
    leaking = replace(scanned, shown=1, shown_places=[("a", None)])
    assert judge_access([leaking], OPEN, 0.9, seed=7).verdict is Verdict.FAIL
