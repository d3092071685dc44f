"""Measure how long exact totals of a large bill take, and what memory; check every digit.

    qafila bench bills --rows 10000000

A synthetic FOCUS 1.2 bill of 31 columns is written as Parquet (not timed), from whole numbers whose
sums by service and month are known without decimals and without the file. Then a process of its own
reads it as ``qafila bills`` does: every total, closed and open months, and all defects, copies of
lines among them. ``seconds`` is the median of all rounds, of that call alone, ``process_seconds``
with the interpreter's start; ``peak_rss_mb`` is the largest of those processes. ``exact`` says that
the bill's total and each service's sum in each month equal the known ones to the last digit.
``totals_seconds`` is the part that is the one scan for the sums.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine
from benchmarks.bills_file import Known, make_file


def main() -> None:
    """Make the file, read it in processes of their own, print one JSON object."""
    parser = argparse.ArgumentParser(prog="qafila bench bills", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if given.rows < 1_000:
        raise machine.NotMeasured("fewer than 1 000 rows are over before a clock can tell.")
    with tempfile.TemporaryDirectory(prefix="qafila-bench-bills-") as folder:
        path = Path(folder) / "bill.parquet"
        known = make_file(path, given.rows, given.seed)
        size_mb = path.stat().st_size / 1e6
        runs = [_run(path) for _ in range(given.rounds)]
    machine.show(
        "bills",
        {
            "rows": runs[0]["rows"],
            "seconds": round(median(r["seconds"] for r in runs), 2),
            "peak_rss_mb": round(max(r["peak_rss_mb"] for r in runs), 1),
            "exact": all(_is_exact(r, known) for r in runs) and runs[0]["rows"] == given.rows,
            "totals_seconds": round(median(r["totals_seconds"] for r in runs), 2),
            "process_seconds": round(median(r["process_seconds"] for r in runs), 2),
            "cpu_seconds": round(median(r["cpu_seconds"] for r in runs), 2),
            "file_mb": round(size_mb, 1),
            "billed_total": runs[0]["total"],
            "defects": len(runs[0]["defects"]),
        },
        seed=given.seed,
        raw_seconds={
            name: [r[name] for r in runs] for name in ("seconds", "totals_seconds", "cpu_seconds")
        },
        notes={"load": "other work on this machine makes the seconds longer"},
    )


def _run(path: Path) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bills_run", str(path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise machine.NotMeasured(done.stderr.strip().splitlines()[-1])
    run: dict[str, Any] = json.loads(done.stdout)
    return run | {"process_seconds": time.perf_counter() - started}


def _is_exact(run: dict[str, Any], known: Known) -> bool:
    totals = {
        (service, date.fromisoformat(start)): Decimal(amount)
        for service, start, amount in run["services"]
    }
    return totals == known.totals and Decimal(run["total"]) == known.total


if __name__ == "__main__":
    main()
