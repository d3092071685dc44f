"""Users of the demo: a bounded, open-loop load of real questions.

    python -m qafila.demo.load --url http://127.0.0.1:10000 --rate 60 --seconds 600 \
        --queries-from postgresql://… --log load.jsonl

Requests start when they are due, whether or not earlier ones have been answered, and their time is
taken from when they were due: a service that stalls is not spared the requests that it delayed.
Arrivals are a Poisson process. Users belong to tenants, of which a few are heavy: the one of rank
n sends in proportion to n^-0.7, so that the first five of 400 send 16 % of the requests. Each
request is one JSON line of the log (``t`` Unix time when due, ``tenant``, ``status`` 0 when there
was no answer, ``ms``, ``served``, ``results``); once a second the counts are written to
``LOG.stats.json``. Stops by itself after ``--seconds``, or on SIGTERM.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import psycopg

from qafila.sql import statement
from qafila.statistics.ranking_metrics import percentile
from qafila.validation.load_test.arrivals import poisson
from qafila.validation.load_test.open_loop import Crew, Sent
from qafila.validation.search_service import KeptConnection, Reply
from qafila.whole_file import write_whole

LONGEST_SECONDS = 3600.0
WORKERS = 24
TENANTS = 400
_HEAVY = 0.7  # how much less the tenant of the next rank sends
TIMEOUT_SECONDS = 10.0
_RECENT = 600  # requests whose latency the statistics speak of


@dataclass(frozen=True)
class Answer:
    """One request as its user saw it."""

    due_at: float
    tenant: str
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
            {
                "t": round(answer.due_at, 4),
                "tenant": answer.tenant,
                "status": answer.status,
                "ms": round(answer.ms, 2),
                "served": answer.served,
                "results": answer.results,
            }
        )
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


Question = tuple[str, str]  # path, tenant


def questions(
    texts: Sequence[str], rate: float, seconds: float, seed: int
) -> Iterator[tuple[float, Question]]:
    """Yield when each request is due, in seconds from the start, its path and its tenant."""
    paths = [f"/search?q={quote_plus(text)}&k=10" for text in texts]
    chance = random.Random(seed)
    # by the hash of these names Envoy puts .7, 3, 22 and 48 % of the requests on 1, 5, 25 and 50 %
    names = [f"client-{rank:03d}" for rank in range(1, TENANTS + 1)]
    heavier = list(accumulate(rank**-_HEAVY for rank in range(1, TENANTS + 1)))
    for due in poisson(rate, seconds, chance):
        (tenant,) = chance.choices(names, cum_weights=heavier)
        yield due, (chance.choice(paths), tenant)


@contextmanager
def user(url: str) -> Iterator[Callable[[Question], Reply | None]]:
    """Open one user, who keeps a connection; no answer at all is None."""
    connection = KeptConnection(url, timeout_s=TIMEOUT_SECONDS)

    def ask(question: Question) -> Reply | None:
        path, tenant = question
        try:
            return connection.get(path, {"x-tenant-id": tenant})
        except (OSError, http.client.HTTPException):
            return None

    try:
        yield ask
    finally:
        connection.close()


def answer_of(sent: Sent[Question, Reply | None]) -> Answer:
    """Return a request, answered just now, as its user saw it."""
    due_at, reply = time.time() - sent.ms / 1000, sent.result
    _, tenant = sent.request
    if reply is None:
        return Answer(due_at, tenant, 0, sent.ms, None, None)
    results = reply.headers.get("x-qafila-results")
    return Answer(
        due_at,
        tenant,
        reply.status,
        sent.ms,
        reply.headers.get("x-qafila-served"),
        None if results is None else int(results),
    )


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

    def send() -> None:
        with Crew(partial(user, url), WORKERS, stop) as crew:
            crew.load(
                questions(texts, rate, seconds, seed),
                lambda sent: tally.add(answer_of(sent)),
            )

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    while sending.is_alive():
        sending.join(1.0)
        if stop.is_set():
            sending.join(TIMEOUT_SECONDS)
        _write(tally, log, running=sending.is_alive())
    return _write(tally, log, running=False)


def _write(tally: Tally, log: Path, *, running: bool) -> dict[str, Any]:
    """Append new lines to the log, then replace the statistics in one step."""
    statistics, lines = tally.take(running=running)
    if lines:
        with log.open("a") as file:
            file.write("\n".join(lines) + "\n")
    target = log.with_name(log.name + ".stats.json")
    write_whole(target, json.dumps(statistics))
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
            given.url,
            read_texts(given.queries_from),
            rate=given.rate,
            seconds=given.seconds,
            log=given.log,
            stop=stop,
            seed=given.seed,
        )
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
