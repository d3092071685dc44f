"""Audit an AWS estate whose every resource is known, while calls are throttled and denied.

    qafila bench audit --resources 10000 --throttle 0.2

A moto server behind a gate stands in a process of its own (``benchmarks/aws_server.py``): it
throttles a share of the calls by chance, throttles whatever exceeds the rates that AWS documents,
denies SQS and DynamoDB, and pages EC2's lists. ``resources`` stand in four regions in services that
may be read; more stand in the two that are denied. All registered AWS collectors run at once under
one pacing, in a fresh process whose peak memory is ``peak_rss_mb``.

``seconds`` is of the whole reading. ``limit_seconds`` is 1.25 times what the permitted rate allows
(``permitted_seconds``): half of what AWS documents for each account, region and service, and the
bucket that takes longest for the calls it got, repeated ones included, since AWS counts them, too.
``permitted_seconds_of_first_calls`` is the same without the repeated ones: as if nothing had been
throttled.

Everything holds when ``found`` is ``resources``, the two are named and ``ok`` is true.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from benchmarks import machine
from benchmarks.aws_estate import HIDDEN, REGIONS, fill
from benchmarks.aws_server import COUNTS, SEEDER
from blocks.aws import AwsAccount
from qafila.audit.collectors import COLLECTORS, Account, Collector
from qafila.audit.collectors.pace import Pacing
from qafila.audit.collectors.read import aws_places, read_places
from qafila.embedders.request_rate import DEFAULT, Rate

DENIED = tuple(sorted(HIDDEN))
_SLACK = 1.25
_MOST_MB = 500


def main() -> None:
    """Measure, or be the auditing process of a measurement."""
    parser = argparse.ArgumentParser(prog="qafila bench audit", description=__doc__)
    parser.add_argument("--resources", type=int, default=10_000)
    parser.add_argument("--throttle", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--read", metavar="URL", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(json.dumps(read(given.read)))
        return
    figures = measure(given.resources, throttle=given.throttle, seed=given.seed)
    machine.show(
        "audit",
        figures,
        seed=given.seed,
        raw_seconds={"audit": [figures["seconds"]], "seeding": [figures["seeding_seconds"]]},
        notes={
            "found": "of the resources in services that may be read; the denied ones hold "
            "hidden_resources more, which nobody may see and which are named instead",
            "limit_seconds": "1.25 x the time of the slowest token bucket for the calls it got",
            "throttled_calls": "by chance; calls_over_rate were throttled for exceeding AWS's rate",
        },
    )


def measure(resources: int, *, throttle: float = 0.2, seed: int = 7) -> dict[str, Any]:
    """Return the figures.

    Raises:
        NotMeasured: there are too few resources, or a process ended early.
    """
    if resources < 200 or not 0 <= throttle < 0.5:
        raise machine.NotMeasured("it takes 200 resources or more, and a throttle from 0 to 0.49.")
    with _server(throttle, seed) as url:
        begun = time.perf_counter()
        seeded, hidden = fill(url, resources)
        seeding = time.perf_counter() - begun
        _warm(url)
        told = _in_a_process("benchmarks.audit", "--read", url)
        counts = httpx.get(f"{url}{COUNTS}").json()
    ids = set(told.pop("ids"))
    permitted = max(use["least_seconds"] for use in told["buckets"])
    limit = round(_SLACK * permitted, 2)
    found = len(seeded & ids)
    named = sorted({c["collector"] for c in told["outcomes"] if c["outcome"] == "denied"})
    calls, throttled = (sum(counts[what].values()) for what in ("calls", "throttled"))
    return {
        "resources": len(seeded),
        "found": found,
        "found_share": round(found / len(seeded), 6),
        "denied_named": named,
        "hidden_resources": len(hidden),
        "seconds": told["seconds"],
        "limit_seconds": limit,
        "peak_rss_mb": told["peak_rss_mb"],
        "ok": found == len(seeded)
        and named == list(DENIED)
        and told["seconds"] <= limit
        and told["peak_rss_mb"] <= _MOST_MB,
        "permitted_seconds": round(permitted, 2),
        "permitted_seconds_of_first_calls": round(
            max(use["least_seconds_of_first_calls"] for use in told["buckets"]), 2
        ),
        "also_found": len(ids - seeded),
        "cpu_seconds": told["cpu_seconds"],
        "calls": calls,
        "calls_counted_by_collectors": told["calls"],
        "throttled_calls": throttled,
        "throttled_share": round(throttled / calls, 4),
        "calls_over_rate": sum(counts["over_rate"].values()),
        "regions": len(REGIONS),
        "outcomes": told["outcomes"],
        "slowest_looks": told["slowest_looks"],
        "slowest_buckets": told["buckets"][:5],
        "seeding_seconds": round(seeding, 2),
    }


def _account(url: str, key: str, regions: Sequence[str]) -> AwsAccount:
    return AwsAccount(
        regions=list(regions),
        endpoint_url=url,
        access_key_id=key,
        secret_access_key=SecretStr(key),
    )


def _warm(url: str) -> None:
    """Let the server load what it answers with, which takes it seconds, by reading it once."""
    unhurried = Pacing({DEFAULT: Rate(1e6, 1000)})
    read_places(aws_places(_account(url, SEEDER, REGIONS), pacing=unhurried), concurrency=4)


def read(url: str) -> dict[str, Any]:
    """Read the whole estate as an audit does, in this process."""
    pacing = Pacing()
    spans: list[tuple[str, str, float, float]] = []
    begun = time.perf_counter()

    def timed(collector: Collector) -> Collector:
        def read_timed(look: Account) -> None:
            start = time.perf_counter() - begun
            try:
                collector.read(look)
            finally:
                end = time.perf_counter() - begun
                spans.append((collector.name, look.region, round(start, 2), round(end, 2)))

        return replace(collector, read=read_timed)

    places = aws_places(
        _account(url, "reader", REGIONS), pacing=pacing, collectors=map(timed, COLLECTORS)
    )
    collected = read_places(places)
    seconds = time.perf_counter() - begun
    return {
        "seconds": round(seconds, 2),
        "peak_rss_mb": _peak_mb(),
        "cpu_seconds": round(time.process_time(), 2),
        "ids": sorted({r.id for part in collected for r in part.resources}),
        "calls": sum(part.calls for part in collected),
        "outcomes": [
            {
                "collector": c.collector,
                "region": c.region,
                "outcome": c.outcome.value,
                "resources": len(c.resources),
                "calls": c.calls,
                "missed": c.missed,
            }
            for c in collected
            if c.outcome != "complete"
        ],
        "slowest_looks": sorted(spans, key=lambda span: span[2] - span[3])[:8],
        "buckets": [
            {
                "region": use.region,
                "bucket": use.bucket,
                "per_second": use.rate.per_second,
                "burst": use.rate.burst,
                "calls": use.calls,
                "throttled": use.refused,
                "slowest": round(use.slowest, 3),
                "least_seconds": use.least_seconds,
                "least_seconds_of_first_calls": use.rate.least_seconds(use.calls - use.refused),
            }
            for use in pacing.uses()
        ],
    }


def _peak_mb() -> float:
    """Return this process's peak memory, as the kernel counts it since it began."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise machine.NotMeasured("this kernel does not say how much memory a process took.")


def _in_a_process(module: str, *arguments: str) -> Any:
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise machine.NotMeasured(f"the auditing process ended with {ended.returncode}.")
    return json.loads(ended.stdout)


@contextmanager
def _server(throttle: float, seed: int) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "benchmarks.aws_server",
            str(port),
            "--throttle",
            str(throttle),
            "--denied",
            ",".join(DENIED),
            "--seed",
            str(seed),
        ],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise machine.NotMeasured("the AWS server did not come up.")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}{COUNTS}", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    main()
