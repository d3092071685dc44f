"""Measure how many shard claims a second one PostgreSQL sustains, and what ceiling that means.

    qafila bench claims

64 claimants, in processes of several threads each, claim a shard, note it as loaded and claim the
next, with the engine's own statements. ``claims_per_s`` counts both together as one. A shard of n
rows then caps a load at n times as many rows a second, however many workers there are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.machine import NotMeasured, show
from benchmarks.setting import ROOT, ready, setting


def main() -> None:
    """Measure in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(prog="qafila bench claims", description=__doc__)
    parser.add_argument("--claimants", type=int, default=64)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--shards", type=int, default=200_000)
    parser.add_argument("--claim", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.claim:
        claim_for(given.claimants, given.seconds)
        return
    with setting() as here:
        _, generation = ready(here)
        with here.ledger() as ledger:
            ledger.execute(
                "INSERT INTO qafila.shard (workload, generation, number, rows_planned)"
                " SELECT %s, %s, n, 1000 FROM generate_series(0, %s) AS n",
                [generation.workload, generation.number, given.shards - 1],
            )
            ledger.execute("ANALYZE qafila.shard")
        each = given.claimants // given.processes
        children = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "benchmarks.claims",
                    "--claim",
                    "--claimants",
                    str(each),
                    "--seconds",
                    str(given.seconds),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                env=dict(os.environ),
            )
            for _ in range(given.processes)
        ]
        told = []
        for child in children:
            out, _ = child.communicate()
            if child.returncode:
                raise NotMeasured(f"a claimant ended with {child.returncode}")
            told.append(json.loads(out))
        with here.ledger() as ledger:
            row = ledger.execute(
                "SELECT count(*) FILTER (WHERE state = 'loaded'), max(epoch) FROM qafila.shard"
            ).fetchone()
    assert row is not None
    claims = sum(t["claims"] for t in told)
    if row[0] != claims or row[1] != 1:
        raise NotMeasured(f"{claims} claims, {row[0]} shards loaded, highest epoch {row[1]}")
    if claims >= given.shards:
        raise NotMeasured("every shard was claimed before the time was over: give --shards more")
    rate = sum(t["claims"] / t["seconds"] for t in told)
    show(
        "claims",
        {
            "claims_per_s": round(rate, 1),
            "claimants": given.claimants,
            "claimed_twice": 0,
            "claim_p50_ms": round(1e3 * sorted(t["p50_s"] for t in told)[len(told) // 2], 2),
            "ceiling_rows_per_s": {
                f"{n} rows a shard": round(rate * n) for n in (1_000, 10_000, 50_000)
            },
        },
        seed=None,
        raw_seconds={"claiming": [t["seconds"] for t in told]},
    )


def claim_for(claimants: int, seconds: float) -> None:
    """Claim with so many threads for so long; print what came of it."""
    from statistics import median

    from qafila.backfill.claims import Spent, beat_shard, claim_shard
    from qafila.ledger.ledger import newest_generation, open_ledger
    from qafila.stores.port import Checkpoint

    counts, times, lock = [0], [], threading.Lock()

    def run() -> None:
        with open_ledger() as ledger:
            generation = newest_generation(ledger, "aws-docs-search")
            assert generation is not None
            barrier.wait()
            until = time.monotonic() + seconds
            done, took = 0, []
            while time.monotonic() < until:
                began = time.perf_counter()
                shard = claim_shard(ledger, generation)
                if shard is None:
                    break
                took.append(time.perf_counter() - began)
                mark = Checkpoint(shard.number, shard.epoch, None, 1000, 1000, True)
                assert beat_shard(ledger, generation, mark, Spent())
                done += 1
            with lock:
                counts[0] += done
                times.extend(took)

    barrier = threading.Barrier(claimants + 1)
    threads = [threading.Thread(target=run) for _ in range(claimants)]
    for thread in threads:
        thread.start()
    barrier.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {"claims": counts[0], "seconds": time.perf_counter() - began, "p50_s": median(times)}
        )
    )


if __name__ == "__main__":
    main()
