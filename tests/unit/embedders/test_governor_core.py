"""The arithmetic of a shared limit: never over it in any window, and always a next place."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.embedders.limit_arithmetic import (
    Clock,
    Limits,
    backoff_seconds,
    corrected,
    hint_seconds,
    learned,
    left_to_wait,
    pack,
    paused,
    price_of,
    request_tokens,
    take,
)

Calls = st.lists(
    st.tuples(
        st.floats(0, 40),  # seconds since the call before came
        st.floats(0, 1),  # share of the largest request
        st.floats(0, 1),  # share of what it may be late
        st.one_of(st.none(), st.floats(0, 30)),  # a pause that the service asks for
    ),
    min_size=1,
    max_size=60,
)
AnyLimits = st.builds(
    lambda requests, tokens, share, burst: Limits(
        requests, tokens, max(1, int(tokens * share)), burst_seconds=burst
    ),
    st.one_of(st.none(), st.integers(1, 500)),
    st.integers(100, 1_000_000),
    st.floats(0.001, 0.5),
    st.floats(0.1, 5),
)


def started(
    limits: Limits, calls: list[tuple[float, float, float, float | None]]
) -> list[tuple[float, int]]:
    """Let calls come, wait, be late and be paused as they may; return (time, tokens) of each."""
    clock, now, log = Clock(), 1000.0, []
    for gap, share, late, pause in calls:
        now += gap if gap < 35 else 0.0
        tokens = 1 + int((limits.largest - 1) * share)
        start, clock = take(clock, now, limits.seconds(tokens), limits.catch_up_seconds)
        sent = start + late * limits.late_seconds
        if pause is not None:
            clock = paused(clock, now, pause)
        if left_to_wait(start, sent, clock.paused_until, limits.late_seconds) is None:
            start, clock = take(clock, sent, limits.seconds(tokens), limits.catch_up_seconds)
            sent = start
        log.append((sent, tokens))
    return sorted(log)


@given(AnyLimits, Calls)
def test_no_window_holds_more_than_the_account_may_ask_for(
    limits: Limits, calls: list[tuple[float, float, float, float | None]]
) -> None:
    log = started(limits, calls)
    for i, (begin, _) in enumerate(log):
        window = [t for at, t in log[i:] if at < begin + limits.window_seconds - 1e-6]
        assert sum(window) <= limits.tokens * (1 + 1e-9)  # type: ignore[operator]
        assert limits.requests is None or len(window) <= limits.requests


@given(AnyLimits, Calls)
def test_a_place_is_never_further_off_than_what_stands_before_it(
    limits: Limits, calls: list[tuple[float, float, float, float | None]]
) -> None:
    clock, now, queued, free = Clock(), 0.0, 0.0, 0.0
    for gap, share, _, pause in calls:
        now += gap
        queued = max(0.0, queued - gap)
        free = max(free, now + pause) if pause is not None else free
        clock = clock if pause is None else paused(clock, now, pause)
        tokens = 1 + int((limits.largest - 1) * share)
        before = clock
        start, clock = take(clock, now, limits.seconds(tokens), limits.catch_up_seconds)
        assert now <= start <= max(now + queued, free) + 1e-6
        assert start >= before.paused_until
        queued = max(start - now, 0.0) + limits.seconds(tokens)


@given(AnyLimits)
def test_all_that_is_allowed_but_a_margin_is_used(limits: Limits) -> None:
    tight = replace(limits, requests=None, largest=max(1, limits.tokens // 32))  # type: ignore[operator]
    clock, spent, now = Clock(), 0, 0.0
    while True:
        now, clock = take(clock, now, tight.seconds(tight.largest), tight.catch_up_seconds)
        if now >= 600:
            break
        spent += tight.largest
    # 1/32 is kept for the request at the edge, and the burst of a window
    share = (1 - tight.largest / tight.tokens) * 60 / (60 + tight.burst_seconds)  # type: ignore[operator]
    assert spent / 10 >= 0.98 * share * tight.tokens - tight.largest  # type: ignore[operator]


def test_with_the_defaults_a_single_caller_may_use_95_percent() -> None:
    tokens = 1_000_000
    limits = Limits(3000, tokens, request_tokens(8000, 3000, tokens))
    a_minute = limits.largest * 60 / limits.seconds(limits.largest)
    assert a_minute / tokens > 0.95


def test_a_place_holds_at_its_time_only() -> None:
    assert left_to_wait(10, 9, 0, 0.5) == 1
    assert left_to_wait(10, 10, 0, 0.5) == left_to_wait(10, 10.5, 10, 0.5) == 0
    assert left_to_wait(10, 10.6, 0, 0.5) is None  # too late
    assert left_to_wait(10, 10, 11, 0.5) is None  # a pause came


def test_what_was_not_read_is_paid_back() -> None:
    limits = Limits(tokens=6000, largest=100)
    _, clock = take(Clock(), 0, limits.seconds(100), 0)
    back = corrected(clock, limits.seconds(100), limits.seconds(40))
    assert back.free_at == pytest.approx(limits.seconds(40))


@pytest.mark.parametrize(
    ("most", "requests", "tokens", "expected"),
    [
        (8000, None, None, 8000),
        (8000, None, 1_000_000, 8000),
        (8000, None, 32_000, 1000),  # 1/32 of a window
        (8000, 20, 32_000, 1760),  # 20 requests have to carry it: 1.1 x 32000 / 20
        (8000, 3, 9000, 3300),
        (8000, 1, 1000, 500),  # never more than half
    ],
)
def test_a_request_is_small_beside_the_window_but_large_enough(
    most: int, requests: int | None, tokens: int | None, expected: int
) -> None:
    assert request_tokens(most, requests, tokens) == expected


@given(st.lists(st.integers(1, 500)), st.integers(1, 64), st.integers(1, 1000))
def test_packing_keeps_every_text_once_in_order_and_both_bounds(
    tokens: list[int], most_texts: int, most_tokens: int
) -> None:
    batches = list(pack(tokens, most_texts, most_tokens))
    assert [i for b in batches for i in b] == list(range(len(tokens)))
    for batch in batches:
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or sum(tokens[i] for i in batch) <= most_tokens
    for one, two in pairwise(batches):  # no request could have taken the next text as well
        full = len(one) == most_texts
        assert full or sum(tokens[i] for i in one) + tokens[two[0]] > most_tokens


NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LATER = "Tue, 24 Nov 2026 12:01:30 GMT"


@pytest.mark.parametrize(
    ("hint", "date", "seconds"),
    [
        ("7", "", 7),
        ("0.5", "", 0.5),
        (LATER, "", 90),
        (LATER, "Tue, 24 Nov 2026 12:01:20 GMT", 10),  # by the service's own clock
        ("Tue, 24 Nov 2026 11:00:00 GMT", "", 0),
        ("", "", None),
        ("soon", "", None),
        ("-3", "", None),
        ("inf", "", None),
        ("nan", "", None),
    ],
)
def test_a_hint_is_seconds_or_a_date(hint: str, date: str, seconds: float | None) -> None:
    assert hint_seconds(hint, date, NOW) == seconds


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_a_backoff_has_a_ceiling_and_never_is_nothing(attempt: int, chance: float) -> None:
    assert 0.25 <= backoff_seconds(attempt, chance) <= 30


def test_money_is_exact() -> None:
    assert price_of(3, Decimal("0.02")) == Decimal("0.00000006")


def test_the_ratio_rises_at_once_and_falls_slowly() -> None:
    assert learned(None, None) is None
    assert learned(None, 1.2) == learned(1.2, None) == 1.2
    assert learned(1.0, 1.5) == 1.5
    assert learned(1.5, 1.0) == pytest.approx(1.475)  # 0.95 x 1.5 + 0.05 x 1.0
