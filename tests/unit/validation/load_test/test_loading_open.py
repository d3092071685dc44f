"""The open loop: when requests leave, whose fault lateness is, what a jumping clock changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from qafila.validation.load_test.open_loop import Crew, Sent

pytestmark = pytest.mark.timing

Send = Callable[[float], int]


def sender(opened: list[int]) -> Callable[[], contextmanager[Send]]:
    """Return what opens senders that wait as long as the request says."""

    @contextmanager
    def open_sender() -> Iterator[Send]:
        opened.append(threading.get_ident())

        def send(wait_s: float) -> int:
            time.sleep(wait_s)
            return threading.get_ident()

        yield send
        opened.append(-threading.get_ident())

    return open_sender


def load(
    requests: list[tuple[float, float]], workers: int, stop: threading.Event | None = None
) -> list[Sent[float, int]]:
    found: list[Sent[float, int]] = []
    with Crew(sender([]), workers, stop) as crew:
        crew.load(requests, found.append)
    return sorted(found, key=lambda s: s.due_s)


def test_time_counts_from_when_a_request_was_due() -> None:
    """One thread and an answer of 300 ms: what is due meanwhile waits, and that is counted."""
    first, second = load([(0.0, 0.3), (0.05, 0.0)], workers=1)
    assert first.ms == pytest.approx(300, abs=100)
    assert second.ms >= 240
    assert second.late_ms is None  # no thread was free: not the generator's fault


def test_requests_do_not_wait_for_answers_while_threads_are_free() -> None:
    begun = time.perf_counter()
    found = load([(0.0, 0.4)] * 4, workers=4)
    assert time.perf_counter() - begun < 1.2  # four at once, not one after the other
    assert len({s.result for s in found}) == 4
    assert all(s.late_ms is not None for s in found)


def test_senders_are_opened_once_a_thread_and_closed_there() -> None:
    opened: list[int] = []
    found: list[Sent[float, int]] = []
    with Crew(sender(opened), 3) as crew:
        for _ in range(4):
            crew.load([(0.001 * n, 0.0) for n in range(20)], found.append)
        assert len(opened) == 3
    assert len(found) == 80
    assert sorted(opened) == sorted([*opened[:3], *(-i for i in opened[:3])])


def test_a_load_begins_when_all_senders_are_open() -> None:
    """One that takes long to open makes no request late."""

    @contextmanager
    def slowly() -> Iterator[Send]:
        time.sleep(0.5)
        yield lambda _: 0

    found: list[Sent[float, int]] = []
    with Crew(slowly, 4) as crew:
        crew.load([(0.0, 0.0), (0.05, 0.0)], found.append)
    assert all(s.ms < 400 for s in found)


def test_a_wall_clock_that_jumps_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(0, 10_000_000, 3600))
    monkeypatch.setattr(time, "time", lambda: 1e9 - next(hours))  # an hour back at each look
    found = load([(0.01 * n, 0.001) for n in range(20)], workers=4)
    assert len(found) == 20
    assert all(0 < s.ms < 1000 for s in found)
    assert all(s.late_ms is None or 0 <= s.late_ms < 1000 for s in found)


def test_a_load_ends_when_it_is_stopped() -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begun = time.perf_counter()
    found = load([(0.05 * n, 0.0) for n in range(1000)], 2, stop)
    assert time.perf_counter() - begun < 5
    assert 0 < len(found) < 100


def test_a_sender_that_cannot_be_opened_or_breaks_is_raised() -> None:
    @contextmanager
    def closed() -> Iterator[Send]:
        raise OSError("nobody is there")
        yield lambda _: 0

    with pytest.raises(OSError, match="nobody is there"), Crew(closed, 3) as crew:
        crew.load([(0.0, 0.0)], lambda _: None)

    @contextmanager
    def breaking() -> Iterator[Send]:
        def send(_: float) -> int:
            raise ValueError("broken while sending")

        yield send

    with pytest.raises(ValueError, match="broken while sending"), Crew(breaking, 3) as crew:
        crew.load([(0.0, 0.0), (0.1, 0.0)], lambda _: None)
