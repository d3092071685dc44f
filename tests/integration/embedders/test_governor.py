"""One governor for all callers: the ledger's clock, money under concurrency, a real limiter."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qafila.embedders import governor as module
from qafila.embedders.governor import Governor, Purse, service_name
from qafila.embedders.limit_arithmetic import Clock, Limits, corrected, learned, paused, take
from qafila.errors import SpendCapReached
from qafila.sql import statement
from tests.support.embedding_provider import KEY, MODEL, Limiter, Provider, serving

pytestmark = pytest.mark.timing

SERVICE = "http://provider/v1 small-1"
Open = Callable[..., Governor]


@pytest.fixture
def open_governor(ledger_url: str) -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(
            limits: Limits | None = None, cap: str = "1", price: str = "1", **purse: object
        ) -> Governor:
            owner = Purse("docs", 1, None, Decimal(cap), "USD", Decimal(price))
            made = Governor(ledger_url, SERVICE, limits or Limits(), owner, time.sleep)
            stack.callback(made.close)
            return made

        yield opened


def spending(ledger: psycopg.Connection) -> tuple[Decimal, Decimal]:
    row = ledger.execute("SELECT settled, reserved FROM qafila.spending").fetchone()
    assert row is not None
    return row[0], row[1]


Steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.floats(0, 3)),
        st.tuples(st.just("pause"), st.floats(0, 3)),
        st.tuples(st.just("correct"), st.floats(-1, 1)),
        st.tuples(st.just("learn"), st.floats(0.5, 3)),
    ),
    max_size=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=Steps, catch_up=st.floats(0, 2))
def test_the_ledger_moves_the_clock_as_the_arithmetic_says(
    ledger: psycopg.Connection, steps: list[tuple[str, float]], catch_up: float
) -> None:
    ledger.execute("DELETE FROM qafila.governor")
    ledger.execute(statement("governor", "open_service"), {"service": SERVICE})
    clock, ratio = Clock(0, 0), None
    for step, value in steps:
        values = {"service": SERVICE, "catch_up": catch_up, "seconds": value, "ratio": None}
        if step == "take":
            row = ledger.execute(statement("governor", "take_place"), values).fetchone()
            assert row is not None
            start, now = row
            expected, clock = take(clock, now, value, catch_up)
            assert start == pytest.approx(expected, abs=0.01)
        elif step == "pause":
            before = _now(ledger)
            ledger.execute(statement("governor", "pause_service"), values)
            until = _paused_until(ledger)  # the statement's own time lies between these two
            earliest, latest = (paused(clock, t, value) for t in (before, _now(ledger)))
            assert earliest.paused_until - 0.001 <= until <= latest.paused_until + 0.001
            clock = replace(clock, paused_until=until)
        elif step == "correct":
            ledger.execute(statement("governor", "correct_service"), values)
            clock = corrected(clock, 0, value)
        else:
            told = {**values, "seconds": 0, "ratio": value}
            row = ledger.execute(statement("governor", "correct_service"), told).fetchone()
            assert row is not None
            ratio = learned(ratio, value)
            assert row[0] == pytest.approx(ratio)
        row = ledger.execute(
            "SELECT extract(epoch FROM free_at), extract(epoch FROM paused_until)"
            " FROM qafila.governor"
        ).fetchone()
        assert row is not None
        assert float(row[0]) == pytest.approx(clock.free_at, abs=0.01)
        assert float(row[1]) == pytest.approx(clock.paused_until, abs=0.01)


def _paused_until(ledger: psycopg.Connection) -> float:
    row = ledger.execute("SELECT extract(epoch FROM paused_until) FROM qafila.governor").fetchone()
    assert row is not None
    return float(row[0])


def _now(ledger: psycopg.Connection) -> float:
    row = ledger.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    assert row is not None
    return float(row[0])


def test_callers_queue_in_the_order_in_which_they_came(open_governor: Open) -> None:
    limits = Limits(tokens=6100, largest=100, window_seconds=60, burst_seconds=0)
    one, two = open_governor(limits), open_governor(limits)
    starts = [g.take_place(g.reserve(100)).start for g in (one, two, one, two)]
    gaps = [b - a for a, b in pairwise(starts)]
    assert gaps == pytest.approx([1.0] * 3, abs=0.01)  # 100 of 6000 tokens a minute


def test_a_place_is_lost_when_the_service_asks_for_a_pause(open_governor: Open) -> None:
    one, two = open_governor(), open_governor()
    place = one.take_place(one.reserve(10))
    assert one.left_to_wait(place) == 0
    two.pause(30)
    assert one.left_to_wait(place) is None
    again = one.take_place(one.reserve(10))
    assert 29 < again.wait_seconds <= 30


def test_money_is_reserved_before_and_settled_after(
    open_governor: Open, ledger: psycopg.Connection
) -> None:
    governor = open_governor()
    permit = governor.reserve(200_000)
    assert spending(ledger) == (0, Decimal("0.2"))
    assert governor.settle(permit, "answered", tokens=150_000) == Decimal("0.15")
    governor.settle(permit, "answered", tokens=150_000)  # a second time changes nothing
    assert spending(ledger) == (Decimal("0.15"), 0)
    unsent = governor.reserve(300_000)
    governor.settle(unsent, "not sent", tokens=0)
    unheard = governor.reserve(100_000)
    governor.settle(unheard, "not answered", tokens=None)  # nobody knows: as expected
    assert spending(ledger) == (Decimal("0.25"), 0)


def test_a_crashed_caller_stays_counted_as_expected_and_is_put_right_when_it_lives(
    open_governor: Open, ledger: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIFETIME_SECONDS", 0.0)
    governor = open_governor()
    permit = governor.reserve(900_000)
    with pytest.raises(SpendCapReached) as caught:
        governor.reserve(200_000)
    assert caught.value.spent + Decimal("0.2") > caught.value.cap
    assert spending(ledger) == (Decimal("0.9"), 0)  # lapsed
    governor.settle(permit, "answered", tokens=500_000)  # it was slow, not dead
    assert spending(ledger) == (Decimal("0.5"), 0)
    governor.settle(permit, "answered", tokens=1)
    assert spending(ledger) == (Decimal("0.5"), 0)


def test_many_at_once_never_cross_the_cap(open_governor: Open, ledger: psycopg.Connection) -> None:
    """Eight callers ask for 30 000 tokens each time, until refused; the cap is worth 33 times."""
    workers = [open_governor() for _ in range(8)]
    granted: list[Decimal] = []

    def spend(governor: Governor) -> None:
        while True:
            try:
                permit = governor.reserve(30_000)
            except SpendCapReached:
                return
            granted.append(governor.settle(permit, "answered", tokens=30_000))

    threads = [threading.Thread(target=spend, args=(w,)) for w in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert 25 <= len(granted) <= 33
    assert spending(ledger) == (sum(granted), 0)
    assert sum(granted) <= 1


def test_nothing_is_spent_at_a_cap_of_nothing_unless_it_is_free(open_governor: Open) -> None:
    open_governor(cap="0", price="0").reserve(1000)
    with pytest.raises(SpendCapReached):
        open_governor(cap="0").reserve(1)


def test_the_ledger_may_go_away_for_a_moment(
    open_governor: Open, ledger: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RECONNECT_SECONDS", 0.01)
    governor = open_governor()
    permit = governor.reserve(1000)
    ledger.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    governor.settle(permit, "answered", tokens=1000)
    assert spending(ledger) == (Decimal("0.001"), 0)


def test_the_name_of_a_service_holds_no_secret() -> None:
    url = "https://user:secret@host.example:8443/v1/?key=secret"
    assert service_name(url, "m") == "https://host.example:8443/v1 m"


WORKER = """
import sys, time
from decimal import Decimal
from qafila.workload.corpus import OpenAIEmbedder as Settings
from qafila.embedders.careful import embed_carefully
from qafila.embedders.governor import Purse
from qafila.embedders.openai_compatible import OpenAIEmbedder
ledger, url, key, model, number, seconds, tokens, window = sys.argv[1:]
embedder = OpenAIEmbedder(
    Settings(kind="openai", block="p", model=model, dimensions=64, price_per_million_tokens=0,
             tokens_per_minute=int(tokens), requests_per_minute=100000),
    {"url": url, "api_key": key, "timeout_seconds": 10}, ledger,
    Purse("docs", 1, None, Decimal(0), "USD", Decimal(0)),
    window_seconds=float(window), burst_seconds=0.15,
)
print("ready", flush=True)
sys.stdin.readline()
ends, rows, rejected = time.monotonic() + float(seconds), 0, 0
while time.monotonic() < ends:
    texts = [f"worker {number} row {rows + n} about buckets and streams" for n in range(200)]
    made = embed_carefully(embedder, texts)
    rows, rejected = rows + len(texts), rejected + len(made.rejected)
print(rows, rejected, flush=True)
embedder.close()
"""


def test_three_workers_use_nine_tenths_of_the_limit_and_no_row_fails(ledger_url: str) -> None:
    """In small: windows of 6 s with 60 000 tokens. ``qafila bench governor`` does it at length.

    The provider's bucket holds a tenth of a window, so only an even pace gets through.
    """
    window, tokens, watched = 6.0, 60_000, 6.0
    provider = Provider(64)
    provider.latency_seconds = 0.05
    with serving(provider):
        command = [sys.executable, "-c", WORKER, ledger_url, provider.url, KEY, MODEL]
        workers = [
            subprocess.Popen(
                [*command, str(n), str(watched + 1.5), str(tokens), str(window)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for n in range(3)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        provider.limiter = Limiter("bucket", 10**6, tokens, window, capacity_share=0.1)
        began = time.monotonic()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        said = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert all(w.returncode == 0 for w in workers)
    assert [rejected for _, rejected in said] == ["0"] * 3
    settled = began + 1.0  # the ratio of tokens is learned from the first replies
    used = sum(a.tokens for a in provider.admitted if settled <= a.at < settled + watched)
    assert used >= 0.9 * tokens * watched / window
    assert used <= tokens * (watched / window + 1)  # a real limiter admitted them
