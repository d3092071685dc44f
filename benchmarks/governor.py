"""Measure how much of a provider's limit several workers use, when its limiter answers 429.

    qafila bench governor --kind bucket --seconds 60

A provider on loopback, in a process of its own, admits so many tokens a minute and answers 429 to
the rest; workers on this machine embed with one governor in a ledger of its own. ``ratio`` is what
was admitted over what is allowed, in the measured seconds. ``untold_ratio`` is the same for workers
that know no limit and learn of it by 429 and Retry-After alone, for a quarter of the time (bucket).
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from benchmarks import machine
from benchmarks.setting import ROOT, Setting, setting
from qafila.embedders.careful import embed_carefully
from qafila.embedders.governor import Governor, Purse
from qafila.embedders.limit_arithmetic import Limits
from qafila.embedders.openai_compatible import OpenAIEmbedder
from qafila.workload.corpus import OpenAIEmbedder as Settings
from tests.support.edges import free_port
from tests.support.embedding_provider import KEY, MODEL

WINDOW_SECONDS = 60.0
_WARM_SECONDS = 3.0  # until the ratio of tokens is learned
_PURSE = Purse("bench", 1, None, Decimal(1000), "USD", Decimal("0.1"))


@dataclass(frozen=True)
class Line:
    """One request as the provider saw it."""

    at: float
    tokens: int
    status: int
    texts: int


def main() -> None:
    """Measure with a server and a provider of our own."""
    parser = argparse.ArgumentParser(prog="qafila bench governor", description=__doc__)
    parser.add_argument("--kind", choices=["bucket", "fixed"], default="bucket")
    parser.add_argument("--tokens", type=int, default=400_000, help="tokens a minute")
    parser.add_argument("--requests", type=int, default=3_000, help="requests a minute")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=WINDOW_SECONDS)
    parser.add_argument("--latency", type=float, default=0.15, help="seconds of each answer")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)  # ledger, provider
    given = parser.parse_args()
    if given.worker:
        _work(given, *given.worker)
        return
    if given.seconds < 10:
        raise machine.NotMeasured("in less than 10 s a limit a minute is hardly met.")
    with setting() as here:
        permits = _permits_per_second(here.ledger_url)
        ours, began, rows, rejected = _measure(given, here, given.tokens)
        untold = more = untold_rejected = None
        if given.kind == "bucket":  # fixed minutes show nothing in a quarter of one
            lines, at, more, untold_rejected = _measure(given, here, None)
            untold = _admitted(lines, at, given.seconds / 4) / given.tokens * 240 / given.seconds
    if rows == 0:
        raise machine.NotMeasured("no row was embedded.")
    allowed = given.tokens * given.seconds / WINDOW_SECONDS
    used = _admitted(ours, began, given.seconds)
    machine.show(
        "governor",
        {
            "ratio": round(used / allowed, 4),
            "rejected_rows": rejected + (untold_rejected or 0),
            "rows": rows + (more or 0),
            "answers_429": sum(line.status == 429 for line in ours),
            "requests": len(ours),
            "most_in_a_window_ratio": round(_fullest_window(ours) / given.tokens, 4),
            "untold_ratio": None if untold is None else round(untold, 4),
            "permits_per_s": round(permits),
            "kind": given.kind,
            "tokens_per_minute": given.tokens,
            "workers": given.workers,
        },
        seed=None,
        raw_seconds={"measured": [given.seconds]},
        notes={
            "bucket": "refills evenly and holds a tenth of a minute's tokens",
            "fixed": "minutes on the clock, each with all its tokens",
            "permits_per_s": "reserve, take a place and settle, one caller, ledger on this machine",
        },
    )


def _measure(
    given: argparse.Namespace, here: Setting, told: int | None
) -> tuple[list[Line], float, int, int]:
    """Let workers embed against a limiter; ``told`` is the limit that they know of."""
    seconds = given.seconds if told else given.seconds / 4
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "asked"
        provider = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "tests.support.embedding_provider",
                "--port",
                str(port),
                "--kind",
                given.kind,
                "--requests",
                str(given.requests),
                "--tokens",
                str(given.tokens),
                "--latency",
                str(given.latency),
                "--capacity",
                "0.1",
                "--log",
                str(log),
            ],
            cwd=ROOT,
        )
        try:
            _await_port(port, provider)
            command = [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.governor",
                "--seconds",
                str(seconds + _WARM_SECONDS + 1),
                "--tokens",
                str(told or 0),
                "--requests",
                str(given.requests if told else 0),
                "--worker",
                here.ledger_url,
                f"http://127.0.0.1:{port}/v1",
            ]
            workers = [
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                for _ in range(given.workers)
            ]
            began = _let_go(workers) + _WARM_SECONDS
            said = [worker.communicate(timeout=seconds + 120)[0].split() for worker in workers]
        finally:
            provider.send_signal(signal.SIGINT)
            provider.wait(30)
        asked = [line.split() for line in log.read_text().splitlines()]
    if any(worker.returncode for worker in workers):
        raise machine.NotMeasured("a worker failed; its error stands above.")
    lines = [Line(float(a), int(t), int(s), int(n)) for a, t, s, n in asked]
    return lines, began, sum(int(r) for r, _ in said), sum(int(x) for _, x in said)


def _let_go(workers: Sequence[subprocess.Popen[bytes]]) -> float:
    """Wait until all are ready, let them begin together, and return when that was."""
    for worker in workers:
        assert worker.stdout is not None
        if worker.stdout.readline() != b"ready\n":
            raise machine.NotMeasured("a worker did not start; its error stands above.")
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    return time.monotonic()


def _work(given: argparse.Namespace, ledger: str, provider: str) -> None:
    embedder = OpenAIEmbedder(
        Settings(
            kind="openai",
            block="provider",
            model=MODEL,
            dimensions=64,
            price_per_million_tokens=0.1,
            tokens_per_minute=given.tokens or None,
            requests_per_minute=given.requests or None,
        ),
        {"url": provider, "api_key": KEY, "timeout_seconds": 30},
        ledger,
        _PURSE,
    )
    print("ready", flush=True)
    sys.stdin.readline()
    ends, rows, rejected = time.monotonic() + given.seconds, 0, 0
    while time.monotonic() < ends:
        texts = [
            f"row {rows + n} is about buckets, queues, streams and their rights " * (1 + n % 5)
            for n in range(500)
        ]
        made = embed_carefully(embedder, texts)
        rows, rejected = rows + len(texts), rejected + len(made.rejected)
    print(rows, rejected, flush=True)
    embedder.close()


def _permits_per_second(ledger: str) -> float:
    governor = Governor(ledger, "bench permits", Limits(), _PURSE, time.sleep)
    started, calls = time.perf_counter(), 500
    for _ in range(calls):
        permit = governor.reserve(1)
        governor.take_place(permit)
        governor.settle(permit, "answered", tokens=1)
    governor.close()
    return calls / (time.perf_counter() - started)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    import socket

    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise machine.NotMeasured("the provider did not start.")


def _admitted(lines: Sequence[Line], began: float, seconds: float) -> int:
    return sum(
        line.tokens for line in lines if line.status == 200 and began <= line.at < began + seconds
    )


def _fullest_window(lines: Sequence[Line]) -> int:
    """Return the most tokens that were asked for, admitted or not, in any window."""
    ordered = sorted((line.at, line.tokens) for line in lines)
    most = held = first = 0
    for at, tokens in ordered:
        held += tokens
        while ordered[first][0] <= at - WINDOW_SECONDS:
            held -= ordered[first][1]
            first += 1
        most = max(most, held)
    return most


if __name__ == "__main__":
    main()
