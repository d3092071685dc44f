"""Users of the demo: a bounded, open-loop load of real questions.

    python -m qafila.demo.load --url http://127.0.0.1:10000 --rate 60 --seconds 600 \
        --queries-from postgresql://… --log load.jsonl

Requests start when they are due, whether or not earlier ones have been answered, and their time is
taken from when they were due: a service that stalls is not spared the requests that it delayed.
Arrivals are a Poisson process. Each request is one JSON line of the log (``t`` Unix time when due,
``status`` 0 when there was no answer, ``ms``, ``served``, ``results``); once a second the counts
are written to ``LOG.stats.json``. Stops by itself after ``--seconds``, or on SIGTERM.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import psycopg

from qafila.core.metrics import percentile
from qafila.sql import statement

LONGEST_SECONDS = 3600.0
WORKERS = 24
TENANTS = 400
TIMEOUT_SECONDS = 10.0
_RECENT = 600  # requests whose latency the statistics speak of


@dataclass(frozen=True)
class Answer:
    """One request as its user saw it."""

    due_at: float
    status: int  # 0: no answer
    ms: float
    served: str | None
    results: int | None

    @property
    def failed(self) -> bool:
        return self.status == 0 or self.status >= 500


@dataclass
class Tally:
    """Counts so far; the lock guards everything in it."""

    started_at: float
    counts: Counter[str] = field(default_factory=Counter)
    by_arm: dict[str, Counter[str]] = field(default_factory=dict)
    last_by_arm: dict[str, float] = field(default_factory=dict)
    recent_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    lines: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, answer: Answer) -> None:
        """Count one answer and keep its line for the log."""
        line = json.dumps(
            {"t": round(answer.due_at, 4), "status": answer.status, "ms": round(answer.ms, 2),
             "served": answer.served, "results": answer.results}
        )  # fmt: skip
        arm = answer.served or "nobody"
        with self.lock:
            for counter in (self.counts, self.by_arm.setdefault(arm, Counter())):
                counter["requests"] += 1
                counter["failed"] += answer.failed
                counter["empty"] += answer.results == 0
            self.last_by_arm[arm] = answer.due_at
            self.recent_ms.append(answer.ms)
            self.lines.append(line)

    def take(self, *, running: bool) -> tuple[dict[str, Any], list[str]]:
        """Return the statistics and the lines that were not written yet."""
        with self.lock:
            lines, self.lines = self.lines, []
            recent = list(self.recent_ms)
            statistics = {
                "running": running,
                "started_at": self.started_at,
                "written_at": time.time(),
                "requests": self.counts["requests"],
                "failed": self.counts["failed"],
                "empty": self.counts["empty"],
                "recent_p50_ms": percentile(recent, 0.50),
                "recent_p95_ms": percentile(recent, 0.95),
                "by_arm": {
                    arm: {
                        "requests": counter["requests"],
                        "failed": counter["failed"],
                        "empty": counter["empty"],
                        "last_at": self.last_by_arm[arm],
                    }
                    for arm, counter in self.by_arm.items()
                },
            }
        return statistics, lines


class Arrivals:
    """When each request is due and what it asks; shared by all workers."""

    def __init__(self, texts: Sequence[str], rate: float, seconds: float, seed: int) -> None:
        self._paths = [f"/search?q={quote_plus(text)}&k=10" for text in texts]
        self._rate = rate
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._due = time.time()
        self._end = self._due + seconds

    def next(self) -> tuple[float, str, str] | None:
        """Return (Unix time, path, tenant) of the next request; None after the last."""
        with self._lock:
            self._due += self._random.expovariate(self._rate)
            if self._due > self._end:
                return None
            tenant = f"tenant-{self._random.randrange(TENANTS):03d}"
            return self._due, self._random.choice(self._paths), tenant


class User:
    """One connection that is kept, as a browser keeps it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, due_at: float, path: str, tenant: str) -> Answer:
        """Ask once; once more when a kept connection had been closed before it answered."""
        headers = {"x-tenant-id": tenant}
        for last in (False, True):
            kept = self._connection is not None
            connection = self._connection or http.client.HTTPConnection(
                *self._address, timeout=TIMEOUT_SECONDS
            )
            self._connection = connection
            try:
                connection.request("GET", path, headers=headers)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                closed = isinstance(error, http.client.RemoteDisconnected | ConnectionError)
                if kept and closed and not last:
                    continue
                return Answer(due_at, 0, (time.time() - due_at) * 1000, None, None)
            results = response.headers.get("x-qafila-results")
            return Answer(
                due_at,
                response.status,
                (time.time() - due_at) * 1000,
                response.headers.get("x-qafila-served"),
                None if results is None else int(results),
            )
        raise AssertionError("the second attempt always returns")

    def close(self) -> None:
        """Close the connection; the next question opens another one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def run_load(
    url: str,
    texts: Sequence[str],
    *,
    rate: float,
    seconds: float,
    log: Path,
    stop: threading.Event,
    seed: int = 1,
) -> dict[str, Any]:
    """Send requests until the time is over or ``stop`` is set; return the last statistics.

    Raises:
        ValueError: there is no question, or rate or time are out of bounds.
    """
    if not texts or not 0 < rate <= 1000 or not 0 < seconds <= LONGEST_SECONDS:
        raise ValueError("needs questions, a rate up to 1000/s and at most 3600 seconds")
    tally = Tally(time.time())
    arrivals = Arrivals(texts, rate, seconds, seed)
    workers = [
        threading.Thread(target=_work, args=(url, arrivals, tally, stop), daemon=True)
        for _ in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        stop.wait(1.0)
        if stop.is_set():
            for worker in workers:
                worker.join(TIMEOUT_SECONDS)
        _write(tally, log, running=any(worker.is_alive() for worker in workers))
    return _write(tally, log, running=False)


def _work(url: str, arrivals: Arrivals, tally: Tally, stop: threading.Event) -> None:
    user = User(url)
    while (request := arrivals.next()) is not None:
        due_at, path, tenant = request
        if stop.wait(max(0.0, due_at - time.time())):
            break
        tally.add(user.ask(due_at, path, tenant))
    user.close()


def _write(tally: Tally, log: Path, *, running: bool) -> dict[str, Any]:
    """Append new lines to the log, then replace the statistics in one step."""
    statistics, lines = tally.take(running=running)
    if lines:
        with log.open("a") as file:
            file.write("\n".join(lines) + "\n")
    target = log.with_name(log.name + ".stats.json")
    partial = target.with_name(target.name + ".part")
    partial.write_text(json.dumps(statistics))
    os.replace(partial, target)
    return statistics


def read_texts(url: str) -> list[str]:
    """Return the texts of the known-item queries of a source database."""
    with psycopg.connect(url, connect_timeout=5) as connection:
        return [row[0] for row in connection.execute(statement("demo", "query_texts"))]


def main(arguments: Sequence[str] | None = None) -> None:
    """Send load until the time is over or SIGTERM comes."""
    parser = argparse.ArgumentParser(prog="python -m qafila.demo.load", description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--seconds", type=float, required=True, help="at most 3600")
    parser.add_argument("--queries-from", required=True, help="address of the source database")
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        run_load(
            given.url, read_texts(given.queries_from), rate=given.rate, seconds=given.seconds,
            log=given.log, stop=stop, seed=given.seed,
        )  # fmt: skip
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
