"""One region of one AWS account, read only."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any, TypeVar

from botocore.config import Config

from qafila.audit.collectors.aws_refusals import (
    Refusal,
    RegionNotEnabled,
    Standing,
    code_and_status,
    refusal_of,
)
from qafila.audit.collectors.aws_wire import asked_seconds, page_size, sign_the_payload, under
from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.port import Look
from qafila.audit.estate import Outcome, outcome_of_error
from qafila.embedders.limit_arithmetic import backoff_seconds

T = TypeVar("T")

_UNKNOWN = Standing()
_MAKING = threading.Lock()  # a session makes clients one at a time; the clients may be shared
_EARLIEST = "qafila_earliest"  # in a request's context: when it may go out again
_BROKEN_ATTEMPTS = 3  # of a call that got no answer, or a fault of the server
_AHEAD = 8  # items begun for each that is looked at, while the first of them waits its turn


@dataclass(frozen=True)
class Limits:
    """How far a collector goes.

    ``pages`` of one list; ``attempts`` of one call that is throttled; ``retries`` of the whole
    collector, and one more for every call that was answered. Calls are tried again in this layer
    alone: the SDK's own retries are off. ``at_once``: items of one list that are looked at side by
    side, so that a distant region is read at the permitted rate, and not at its distance.
    """

    pages: int = 200
    attempts: int = 8
    retries: int = 50
    timeout_s: float = 20.0
    at_once: int = 8


@dataclass
class _Tally:
    """What all looks of one collector share; changed under the lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    calls: int = 0
    answered: int = 0
    retries: int = 0
    end: Refusal | None = None


class Account(Look):
    """One region of one account, read only. Counts every request that leaves, retries included.

    ``pacing`` is shared by all looks of an audit, which may run on threads; a look itself belongs
    to one thread, and :meth:`each` gives every thread one. ``account``: its number, where it is
    known.
    """

    def __init__(
        self,
        session: Any,
        region: str,
        *,
        account: str = "",
        endpoint_url: str | None = None,
        limits: Limits = Limits(),
        pacing: Pacing | None = None,
        standing: Standing = _UNKNOWN,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._tally = _Tally()
        super().__init__(region, account)
        self._session = session
        self._endpoint_url = endpoint_url
        self._limits = limits
        self._pacing = pacing or Pacing()
        self._standing = standing
        self._now = now
        self._clients: dict[tuple[str, str], Any] = {}

    @property
    def calls(self) -> int:
        """Return how many requests left so far."""
        return self._tally.calls

    @calls.setter
    def calls(self, calls: int) -> None:
        self._tally.calls = calls

    def client(self, service: str, region: str | None = None) -> Any:
        """Return the client of one service in this region, or in another one; made once.

        Raises:
            RegionNotEnabled: the region is known to be switched off, so nothing is sent.
        """
        if self._standing.enabled is False:
            raise RegionNotEnabled(self.region)
        place = (service, region or self.region)
        with _MAKING:
            if place not in self._clients:
                self._clients[place] = self._make(*place)
            return self._clients[place]

    def pages(self, client: Any, operation: str, key: str, **parameters: Any) -> Iterator[Any]:
        """Yield the items under ``key`` of all pages, up to the page limit; says when it stops.

        ``key`` may lead into a structure: ``DistributionList.Items``.
        """
        if not client.can_paginate(operation):
            yield from under(getattr(client, operation)(**parameters), key)
            return
        size = page_size(client, operation, parameters)
        paginator = client.get_paginator(operation)
        pages = iter(paginator.paginate(**parameters, PaginationConfig=size))
        for _ in range(self._limits.pages):
            page = next(pages, None)
            if page is None:
                return
            yield from under(page, key)
        if next(pages, None) is not None:
            where = "".join(f" {v}" for v in parameters.values() if isinstance(v, str))
            self.missed(
                Outcome.TRUNCATED, f"more than {self._limits.pages} pages", f"{operation}{where}"
            )

    def each(self, items: Iterable[T], work: Callable[[Account, T], None]) -> None:
        """Do the same for every item, several at once, each with a look of its own.

        What the looks find comes in the order of the items, as if one had followed the other. An
        error that ``work`` does not tolerate ends the rest, as it ends a loop.
        """
        waiting: deque[Future[tuple[Account, Exception | None]]] = deque()
        errors: list[Exception] = []

        def take_in(most: int) -> None:
            while len(waiting) > most:
                future = waiting.popleft()
                if errors and future.cancel():
                    continue
                look, error = future.result()
                self.take_in(look)
                errors.extend([] if error is None else [error])

        with ThreadPoolExecutor(self._limits.at_once, thread_name_prefix="look") as pool:
            try:
                for item in items:
                    waiting.append(pool.submit(self._one, work, item))
                    take_in(_AHEAD * self._limits.at_once)
                    if errors:
                        break
            finally:
                take_in(0)
        if errors:
            raise errors[0]

    def _one(self, work: Callable[[Account, T], None], item: T) -> tuple[Account, Exception | None]:
        """Work on one item; an error is handed over, since what was found before it is kept."""
        look = Account(
            self._session,
            self.region,
            account=self.account,
            endpoint_url=self._endpoint_url,
            limits=self._limits,
            pacing=self._pacing,
            standing=self._standing,
            now=self._now,
        )
        look._clients, look._tally, look._depth = self._clients, self._tally, self._depth
        try:
            work(look, item)
        except Exception as error:  # noqa: BLE001  raised again by each()
            return look, error
        return look, None

    def outcome_of(self, error: Exception) -> tuple[Outcome, str] | None:
        refusal = refusal_of(
            error,
            region=self.region,
            answered=self._tally.answered,
            standing=self._standing,
            now=self._now(),
        )
        if refusal is None:
            return None
        if refusal.over:
            with self._tally.lock:  # of several at once, the first one tells
                refusal = self._tally.end = self._tally.end or refusal
            self.over = True
        return refusal.outcome, refusal.said

    def _make(self, service: str, region: str) -> Any:
        client = self._session.client(
            service,
            region_name=region,
            endpoint_url=self._endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 1},
                connect_timeout=5,
                read_timeout=self._limits.timeout_s,
            ),
        )
        name = client.meta.service_model.service_name

        def wait(request: Any, operation_name: str, **_: Any) -> None:
            earliest = request.context.get(_EARLIEST, -inf)
            self._pacing.wait(self.account, region, name, operation_name, earliest=earliest)

        def judge(
            response: Any, attempts: int, operation: Any, request_dict: Any, **_: Any
        ) -> float | None:
            seconds = self._again(response, attempts, (region, name, operation.name))
            if seconds is None:
                return None
            request_dict["context"][_EARLIEST] = self._pacing.moment(seconds)
            return 0.0  # it waits in the queue of its bucket, see wait()

        events = client.meta.events
        events.register_first("request-created", wait)  # before it is signed: signatures age
        events.register("before-sign", sign_the_payload)
        events.register_first("before-send", self._count)
        events.register_first("needs-retry", judge)
        return client

    def _again(self, response: Any, attempts: int, call: tuple[str, str, str]) -> float | None:
        """Return after how many seconds to send a call again; None: its answer stands."""
        bucket = (self.account, *call)
        if response is None:  # no answer at all
            return self._backoff(attempts, _BROKEN_ATTEMPTS)
        http, parsed = response
        code, status = code_and_status(parsed)
        if http.status_code < 300 and not code:
            with self._tally.lock:
                self._tally.answered += 1
            self._pacing.answered(*bucket)
            return None
        if outcome_of_error(code, status) is Outcome.THROTTLED:
            self._pacing.refused(*bucket, asked_seconds(http))
            return self._backoff(attempts, self._limits.attempts)
        self._pacing.answered(*bucket)
        broken = http.status_code in (500, 502, 504)
        return self._backoff(attempts, _BROKEN_ATTEMPTS) if broken else None

    def _backoff(self, attempts: int, most: int) -> float | None:
        """Return how long a call waits before it goes out again; None: it was tried enough."""
        tally = self._tally
        with tally.lock:
            budget = self._limits.retries + tally.answered
            if attempts >= min(most, self._limits.attempts) or tally.retries >= budget:
                return None
            tally.retries += 1
        return backoff_seconds(attempts, random.random(), base=0.2, most=10.0)

    def _count(self, **_: Any) -> None:
        with self._tally.lock:
            self._tally.calls += 1


def tags_of(pairs: list[dict[str, str]] | None) -> dict[str, str]:
    """Return tags as a mapping, whichever of the two AWS spellings they come in."""
    return {p.get("Key", p.get("key", "")): p.get("Value", p.get("value", "")) for p in pairs or []}
