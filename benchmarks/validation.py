"""Measure the validation ladder itself: what it catches, what it invents, how long it takes.

    qafila bench validation --clean-runs 100

Over the demo's corpus and services: one climb with every judged query (``seconds``); then a
rehearsal on a copy (``faults``, ``caught``, ``missed``); then clean climbs, each over a fresh copy
with an index of its own and with another seed (``clean_runs``, ``false_alarms``: a FAIL or an
ERROR where nothing is wrong). Clean copies are of the small corpus, so that a hundred fit into
minutes. Last, keys and digests of a larger generation are compared (``rows_per_s``). Starts a
PostgreSQL and both services of its own on loopback and stops them again. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.comparison import measure
from benchmarks.machine import show
from qafila.demo.corpus import Scale
from qafila.demo.services import ALIAS_SECONDS
from qafila.ledger.ledger import open_ledger
from qafila.stack import postgres
from qafila.stores.pointer_row import set_trial
from qafila.validation.ladder import LADDER, REHEARSED
from qafila.validation.options import LadderOptions
from qafila.validation.outcome import Outcome, stops
from qafila.validation.rehearsal.judge_rehearsal import judge_rehearsal
from qafila.validation.rehearsal.record import trial_rows
from qafila.validation.rehearsal.rehearsal import rehearse
from qafila.validation.suite import begin_climb
from qafila.workload.verdict import Verdict
from tests.support.demo_services import Demo, ledger_of, running_demo

ALPHA = 0.05  # of a whole climb: what the ladder states


def main() -> None:
    """Measure in a folder of its own, which is deleted at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clean-runs", type=int, default=100)
    parser.add_argument("--clean-queries", type=int, default=120, help="judged queries a clean run")
    parser.add_argument("--scale", choices=["full", "small"], default="full")
    parser.add_argument("--only-clean", action="store_true", help="leave climb and rehearsal out")
    parser.add_argument("--rows", type=int, default=200_000, help="of the comparison")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    raw: dict[str, list[float]] = {"climb": [], "rehearsal": [], "clean": []}
    compared, raw_compared = measure(given.rows, seed=given.seed)
    figures = {"rows_per_s": compared["rows_per_s"], "rows": given.rows}
    raw |= {f"comparison {name}": seconds for name, seconds in raw_compared.items()}
    if not given.only_clean:
        with demo(given.scale) as here:
            figures |= climb_once(here, given.seed, raw)
            _say(f"{figures}")
            figures |= rehearse_once(here, given.seed, raw)
    with demo("small") as here:
        figures |= clean_runs(here, given.clean_runs, given.clean_queries, given.seed, raw)
    show("validation", figures, seed=given.seed, raw_seconds=raw)


@contextmanager
def demo(scale: Scale) -> Iterator[Demo]:
    """Serve the demo's corpus, generation 1 on trial."""
    folder = Path(tempfile.mkdtemp(prefix="qafila-bench-"))
    server = postgres.start(folder / "pg")
    try:
        with running_demo(server, scale=scale) as here, ledger_of(here.ledger_url):
            with here.target() as target:
                set_trial(target, here.workload.name, here.generation.number, 0)
            time.sleep(2 * ALIAS_SECONDS)  # until the candidate has seen the pointer row
            yield here
    finally:
        os.kill(server.pid, signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


def climb_once(here: Demo, seed: int, raw: dict[str, list[float]]) -> dict[str, Any]:
    """Climb the whole ladder over the services, with every query."""
    begun = time.perf_counter()
    climb = begin_climb(here.workload.name, LadderOptions(seed=seed))
    climbed = []
    for check in LADDER:
        climbed.append(check(climb))
        if stops(climbed[-1]):
            break
    outcome = Outcome(climbed)
    raw["climb"].append(time.perf_counter() - begun)
    return {
        "seconds": round(raw["climb"][-1], 1),
        "documents": here.corpus.documents,
        "queries": here.corpus.queries,
        "verdict": outcome.verdict.value,
        "sentence": outcome.sentence,
        "rungs": {
            f.rung.value: {"verdict": f.judgement.verdict.value, "seconds": round(f.seconds, 2)}
            for f in outcome.findings
        },
    }


def rehearse_once(here: Demo, seed: int, raw: dict[str, list[float]]) -> dict[str, Any]:
    """Plant every fault in a copy."""
    climb = begin_climb(here.workload.name, LadderOptions(seed=seed))
    with open_ledger() as ledger:
        rehearsed = rehearse(ledger, climb, REHEARSED, told=_say)
    raw["rehearsal"] += [t.seconds for t in rehearsed.trials]
    judged = judge_rehearsal(rehearsed.clean.judgement, rehearsed.trials)
    return {
        **judged.numbers,
        "rehearsal_seconds": round(rehearsed.seconds, 1),
        "rehearsal_clean": rehearsed.clean.verdict.value,
        "trials": trial_rows(rehearsed.trials),
    }


def clean_runs(
    here: Demo, runs: int, queries: int, seed: int, raw: dict[str, list[float]]
) -> dict[str, Any]:
    """Climb over copies in which nothing is wrong; count what the ladder invents."""
    alarms, inconclusive = [], 0
    with open_ledger() as ledger:
        for number in range(runs):
            options = LadderOptions(
                seed=seed + number, max_queries=queries, latency_seconds=4.0, access_readers=4
            )
            climb = begin_climb(here.workload.name, options)
            rehearsed = rehearse(ledger, climb, REHEARSED, faults=())
            raw["clean"].append(rehearsed.seconds)
            verdict = rehearsed.clean.verdict
            if verdict in (Verdict.FAIL, Verdict.ERROR):
                alarms.append(rehearsed.clean.sentence)
            inconclusive += verdict is Verdict.INCONCLUSIVE
            times = {f.rung.value: round(f.seconds, 1) for f in rehearsed.clean.findings}
            _say(f"clean {number + 1}: {verdict} {times}")
    return {
        "clean_runs": runs,
        "false_alarms": len(alarms),
        "alpha": ALPHA,
        "false_alarm_sentences": alarms,
        "clean_inconclusive": inconclusive,
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
