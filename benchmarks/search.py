"""Measure the demo's two services: quality of every mode, and latency under an open-loop load.

    python -m benchmarks.search --rate 60 --seconds 20

Starts a PostgreSQL and both services of its own, loads the whole corpus (``--scale small`` for a
quick look), and prints one JSON object: counts and seconds of loading; nDCG@10, MRR and paired
differences over all known-item queries; p50 and p95 in milliseconds at ``--rate`` requests a
second, each service alone, as its users see them; resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg

sys.path.insert(0, str(Path(__file__).parents[1]))

from qafila.demo.load import read_texts, run_load
from qafila.demo.services import ALIAS_SECONDS
from qafila.stack import postgres
from qafila.statistics.paired import compare_paired
from qafila.statistics.ranking_metrics import percentile
from qafila.stores.pointer_row import set_trial
from qafila.validation.judged import both_measured, measure_arm, ndcg_scores
from qafila.validation.questions import CHALLENGERS, SYSTEMS, ask_all, read_judged_queries
from qafila.validation.search_service import SearchService
from tests.support.demo_services import Demo, running_demo


def main() -> None:
    """Measure in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="of load on each service")
    parser.add_argument("--scale", choices=["full", "small"], default="full")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="qafila-bench-"))
    server = postgres.start(folder / "pg")
    try:
        begun = time.perf_counter()
        with running_demo(server, scale=given.scale) as demo:
            ready = time.perf_counter() - begun
            with demo.target() as target:
                set_trial(target, demo.workload.name, demo.generation.number, 0)
            time.sleep(2 * ALIAS_SECONDS)  # until the candidate has seen the pointer row
            result = {
                "benchmark": "search",
                "cores": os.cpu_count(),
                "documents": demo.corpus.documents,
                "queries": demo.corpus.queries,
                "loaded_and_serving_s": round(ready, 1),
                **quality(demo),
                "rate": given.rate,
                "load": load(demo, given.rate, given.seconds, folder),
                "resident_mb": resident_mb(),
            }
    finally:
        os.kill(server.pid, signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result, indent=2))


def quality(demo: Demo) -> dict[str, Any]:
    """Return what each system reaches, through HTTP, and how it differs from the baseline."""
    with psycopg.connect(demo.source_url) as source:
        assert demo.workload.judged_table is not None
        queries = read_judged_queries(source, demo.workload.judged_table[1])
    begun = time.perf_counter()
    answers = ask_all(
        partial(SearchService, demo.baseline_url),
        partial(SearchService, demo.candidate_url),
        queries,
        concurrency=2,
    )
    seconds = time.perf_counter() - begun
    scores = {s: ndcg_scores(queries, answers[s]) for s in SYSTEMS}
    return {
        "asked_s": round(seconds, 1),
        "systems": {s: asdict(measure_arm(queries, answers[s])) for s in SYSTEMS},
        "paired": {
            s: asdict(compare_paired(*both_measured(scores[s], scores["baseline"]), seed=7))
            for s in CHALLENGERS
        },
    }


def load(demo: Demo, rate: float, seconds: float, folder: Path) -> dict[str, dict[str, Any]]:
    """Return latencies of each service alone under the load; ``cpu_s`` is the generator's own."""
    texts = read_texts(demo.source_url)
    found = {}
    for arm, url in (("baseline", demo.baseline_url), ("candidate", demo.candidate_url)):
        log = folder / f"{arm}.jsonl"
        cpu = time.process_time()
        statistics = run_load(
            url, texts, rate=rate, seconds=seconds, log=log, stop=threading.Event()
        )
        times = [json.loads(line)["ms"] for line in log.read_text().splitlines()]
        found[arm] = {
            "requests": statistics["requests"],
            "failed": statistics["failed"],
            "p50_ms": percentile(times, 0.50),
            "p95_ms": percentile(times, 0.95),
            "generator_cpu_s": round(time.process_time() - cpu, 2),
        }
    return found


def resident_mb() -> dict[str, float]:
    """Return the resident memory of the service processes that we started, in MB."""
    found = {}
    for process in psutil.Process().children():
        command = process.cmdline()
        if "qafila.demo.services" in command:
            arm = command[command.index("qafila.demo.services") + 1]
            found[arm] = round(process.memory_info().rss / 1e6, 1)
    return found


if __name__ == "__main__":
    main()
