"""An open-loop load: requests start when they are due, whatever became of the ones before.

A crew of threads takes requests in the order in which they are due; each waits for its moment and
sends. Times are taken from the moment a request was due. Only a monotonic clock is read: setting
the wall clock changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_HEAD_START_S = 0.02  # until all threads are awake


@dataclass(frozen=True)
class Sent(Generic[T, R]):
    """One request: what was sent, when it was due (seconds from the start), what came of it.

    ``ms`` is from when it was due until it was answered. ``late_ms`` is how late a free thread sent
    it, which is the generator's own fault; None when no thread was free, so that it had to wait
    for answers.
    """

    request: T
    due_s: float
    ms: float
    late_ms: float | None
    result: R


class Crew(Generic[T, R]):
    """Threads that send; each opens its own sender once and keeps it over all loads.

    Entering waits until all are open. A sender that cannot be opened, or that raises, ends it: its
    error is raised to whoever enters or loads.
    """

    def __init__(
        self,
        open_sender: Callable[[], AbstractContextManager[Callable[[T], R]]],
        workers: int,
        stop: threading.Event | None = None,
    ) -> None:
        self._open_sender = open_sender
        self._stop = stop or threading.Event()
        self._begin_together = threading.Barrier(workers + 1)
        self._end_together = threading.Barrier(workers + 1)
        self._requests: _Feed[T] | None = None
        self._tell: Callable[[Sent[T, R]], None] = lambda _: None
        self._errors: list[Exception] = []
        self._threads = [
            threading.Thread(target=self._work, name=f"load-{n}", daemon=True)
            for n in range(workers)
        ]

    def __enter__(self) -> Crew[T, R]:
        for thread in self._threads:
            thread.start()
        self._meet(self._end_together)
        if self._errors:
            raise self._errors[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._requests = None
        if kind is not None:
            self._stop.set()
            self._begin_together.abort()
        else:
            self._meet(self._begin_together)
        for thread in self._threads:
            thread.join()

    def load(self, requests: Iterable[tuple[float, T]], tell: Callable[[Sent[T, R]], None]) -> None:
        """Send requests, given with the seconds from now at which they are due, rising.

        ``tell`` hears of each as soon as it is answered, from many threads. Returns when all are
        answered, or, once ``stop`` is set, when those under way are.
        """
        self._tell = tell
        self._requests = _Feed(iter(requests), time.perf_counter() + _HEAD_START_S)
        self._meet(self._begin_together)
        self._meet(self._end_together)
        if self._errors:
            raise self._errors[0]

    def _work(self) -> None:
        try:
            with self._open_sender() as send:
                self._meet(self._end_together)
                while self._meet(self._begin_together) and self._requests is not None:
                    self._send_all(send, self._requests)
                    self._meet(self._end_together)
        except Exception as error:  # noqa: BLE001 - the thread that waits raises it
            self._errors.append(error)
            self._stop.set()
            self._begin_together.abort()
            self._end_together.abort()

    def _send_all(self, send: Callable[[T], R], feed: _Feed[T]) -> None:
        while (taken := feed.take()) is not None:
            due_s, request = taken
            wait = feed.begun + due_s - time.perf_counter()
            if self._stop.wait(max(0.0, wait)):
                return
            sent = time.perf_counter()
            result = send(request)
            ms = (time.perf_counter() - feed.begun - due_s) * 1000
            late = None if wait < 0 else (sent - feed.begun - due_s) * 1000
            self._tell(Sent(request, due_s, ms, late, result))

    @staticmethod
    def _meet(barrier: threading.Barrier) -> bool:
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            return False
        return True


class _Feed(Generic[T]):
    """Requests that several threads take from; ``begun`` is on the monotonic clock."""

    def __init__(self, requests: Iterator[tuple[float, T]], begun: float) -> None:
        self.begun = begun
        self._requests = requests
        self._lock = threading.Lock()

    def take(self) -> tuple[float, T] | None:
        with self._lock:
            return next(self._requests, None)
