"""A token bucket never lets more through than it may, and slows down only for a reason."""

from __future__ import annotations

import heapq
import random
import threading
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.audit.collectors.pace import Pacing, documented_rates
from qafila.embedders.request_rate import (
    DEFAULT,
    Pace,
    Rate,
    after_answer,
    after_refusal,
    next_start,
    rate_of,
    request_rates,
    seconds_to_stay_out,
)
from qafila.errors import BadInput

TABLE = (files("qafila.data") / "aws_request_rates.toml").read_text()


@given(
    st.floats(0.5, 50),
    st.integers(1, 30),
    st.lists(
        st.tuples(
            st.floats(0, 3),
            st.sampled_from(["answered", "throttled", "asked to wait"]),
            st.lists(st.floats(0, 10), max_size=4),
        ),
        max_size=40,
    ),
)
def test_no_span_ever_holds_more_starts_than_the_bucket_permits(
    per_second: float, burst: int, requests: list[tuple[float, str, list[float]]]
) -> None:
    """Repeated calls included, each with a wait of its own that passes in the queue."""
    rate, pace = Rate(per_second, burst), Pace()
    coming: list[tuple[float, int, bool, float, list[float]]] = []
    now, starts = 100.0, []
    for number, (gap, _, backoffs) in enumerate(requests):
        now += gap
        heapq.heappush(coming, (now, number, True, now, backoffs))
    while coming:
        now, number, stayed_out, earliest, backoffs = heapq.heappop(coming)
        if not stayed_out:
            out = seconds_to_stay_out(pace, rate, now, earliest)
            heapq.heappush(coming, (now + out, number, True, earliest, backoffs))
            continue
        start, pace = next_start(pace, rate, max(now, earliest))
        assert start >= max(now, earliest)
        starts.append(start)
        answer = requests[number][1]
        if answer == "answered":
            pace = after_answer(pace)
        else:
            pace = after_refusal(pace, now, 1.0 if answer == "asked to wait" else None)
        assert 0 < pace.slowed <= 1
        if backoffs:
            heapq.heappush(coming, (start, number, False, start + backoffs[0], backoffs[1:]))
    assert len(starts) == sum(1 + len(backoffs) for _, _, backoffs in requests)
    starts.sort()
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            span = starts[last] - begin
            assert last - first + 1 <= burst + per_second * span + 1e-6


@pytest.mark.parametrize(("burst", "out"), [(1, (0.0, 0.0, 0.7)), (6, (0.0, 0.0, 0.2))])
def test_who_waits_by_itself_lets_the_others_start(burst: int, out: tuple[float, ...]) -> None:
    rate, pace = Rate(10, burst), Pace()
    for _ in range(burst + 2):
        _, pace = next_start(pace, rate, 0.0)
    # the next turn is at 0.3 s; an idle bucket saves up (burst - 1) / 10 s
    for earliest, expected in zip((0.25, 0.3, 1.0), out, strict=True):
        assert seconds_to_stay_out(pace, rate, 0.0, earliest) == pytest.approx(expected)
    turn, _ = next_start(pace, rate, 0.0)
    assert turn == pytest.approx(0.3)
    waits, behind = next_start(pace, rate, 0.3 + rate.least_seconds(2 * burst - 1))
    assert waits == pytest.approx(0.3 + (burst - 1) / 10)
    other, _ = next_start(behind, rate, 0.0)
    assert other == pytest.approx(0.4)  # as if it had not waited by itself


@pytest.mark.parametrize(
    ("requests", "seconds"),
    [(0, 0), (20, 0), (21, 0.1), (120, 10)],  # (120 - 20) / 10
)
def test_the_least_time_begins_with_a_full_bucket(requests: int, seconds: float) -> None:
    assert Rate(10, 20).least_seconds(requests) == pytest.approx(seconds)


def slowed_by(refused: float, calls: int, seed: int) -> list[float]:
    chance, pace, slowed = random.Random(seed), Pace(), []
    for _ in range(calls):
        pace = after_refusal(pace, 0) if chance.random() < refused else after_answer(pace)
        slowed.append(pace.slowed)
    return slowed


@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_refused_hardly_slows_it_and_two_thirds_do(seed: int) -> None:
    usual, too_fast = slowed_by(0.2, 3000, seed), slowed_by(0.67, 3000, seed)
    assert sum(usual) / len(usual) > 0.95
    assert sum(too_fast[100:]) / len(too_fast[100:]) < 0.1


def test_eight_refusals_in_a_row_slow_it_and_answers_bring_it_back() -> None:
    pace = Pace()
    for _ in range(7):  # 7 ln(.5 / .2) = 6.4 < ln 1000 = 6.9
        pace = after_refusal(pace, 0)
    assert pace.slowed == 1.0
    pace = after_refusal(pace, 0)
    assert pace.slowed == pytest.approx(0.6)
    for _ in range(26):  # 0.6 * 1.02^26 > 1
        pace = after_answer(pace)
    assert pace.slowed == 1.0


def test_a_part_of_a_rate_still_lets_one_through() -> None:
    assert Rate(5, 1).part(0.5) == Rate(2.5, 1)


def test_each_documented_rate_has_a_source_and_a_date() -> None:
    rates = request_rates(TABLE)
    assert all(rate.source and rate.as_of for rate in rates.values())
    assert rate_of(rates, "cloudwatch", "GetMetricData")[0] == "cloudwatch.GetMetricData"
    assert rate_of(rates, "ec2", "DescribeVolumes") == ("ec2", rates["ec2"])
    assert rate_of(rates, "efs", "DescribeFileSystems") == ("efs", rates[DEFAULT])


def test_a_table_that_is_not_usable_names_every_row() -> None:
    bad = '[[rate]]\nservice = "x"\nper_second = 0\nburst = 1\nsource = ""\nas_of = 2026-01-01\n'
    with pytest.raises(BadInput) as caught:
        request_rates(bad + '[[rate]]\nservice = "y"\n')
    assert len(caught.value.problems) == 3


def test_threads_share_one_bucket_and_regions_do_not() -> None:
    slept: list[float] = []
    pacing = Pacing({DEFAULT: Rate(10, 5)}, share=1.0, clock=lambda: 50.0, sleep=slept.append)
    threads = [
        threading.Thread(target=pacing.wait, args=("1", region, "efs", "Describe"))
        for region in ("a", "b")
        for _ in range(15)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 5 at once, the others 0.1 s apart, in each of two regions
    slept = sorted(seconds for seconds in slept if seconds > 1e-9)
    assert slept == pytest.approx(sorted(2 * [n / 10 for n in range(1, 11)]))
    assert [(use.calls, use.least_seconds) for use in pacing.uses()] == [(15, 1.0), (15, 1.0)]


def test_what_a_call_waits_by_itself_passes_while_it_waits_for_its_turn() -> None:
    now, slept = [50.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pacing = Pacing({DEFAULT: Rate(10, 1)}, share=1.0, clock=lambda: now[0], sleep=sleep)
    call = ("1", "eu-west-3", "efs", "Describe")
    for _ in range(3):
        pacing.wait(*call)
    # the turn comes in 0.1 s: nothing is added to 0.05 s, and 0.25 s are not cut short
    for seconds in (0.05, 0.25):
        pacing.wait(*call, earliest=pacing.moment(seconds))
    assert sum(slept) == pytest.approx(0.1 + 0.1 + 0.1 + 0.25)


def test_half_of_what_is_documented_is_left_to_others() -> None:
    pacing = Pacing(sleep=lambda _: None)
    pacing.wait("1", "eu-west-3", "lambda", "ListFunctions")
    pacing.refused("1", "eu-west-3", "lambda", "ListFunctions")
    (use,) = pacing.uses()
    assert use.rate.per_second == documented_rates()["lambda"].per_second / 2
    assert (use.calls, use.refused) == (1, 1)
