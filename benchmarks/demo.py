"""Measure the demo as a newcomer waits for it, and the memory of all its processes together.

`python -m benchmarks.demo [--bad-candidate errors]` prints one JSON object. Resident memory counts
shared pages once a process (so it overstates); PSS divides them among those that share them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from qafila.demo.bad_candidates import BadCandidate

MARK = "QAFILA_STACK"


def memory_mb(mark: str) -> tuple[float, float]:
    """Return resident and proportional memory of every process of a stack, in MB."""
    resident = proportional = 0.0
    for process in psutil.process_iter():
        try:
            ours = process.environ().get(MARK) == mark or process.name() == "postgres"
            if ours:
                resident += process.memory_info().rss
                proportional += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return resident / 1e6, proportional / 1e6


def main() -> None:
    """Run the demo in a folder of its own, sample memory each second, delete the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bad-candidate", choices=list(BadCandidate))
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="qafila-bench-"))
    os.environ["QAFILA_HOME"] = str(home)
    file, log = home / "demo.json", home / "demo.log"
    command = [sys.executable, "-m", "qafila.cli", "demo", "--json", str(file)]
    peak_rss = peak_pss = 0.0
    try:
        begun = time.monotonic()
        with log.open("w") as output:
            demo = subprocess.Popen(
                command + ["--bad-candidate", given.bad_candidate] * bool(given.bad_candidate),
                stdout=output,
                stderr=output,
            )
            while demo.poll() is None:
                time.sleep(1.0)
                try:
                    mark = str(json.loads((home / "stack.json").read_text())["id"])
                except (FileNotFoundError, KeyError):
                    continue
                rss, pss = memory_mb(mark)
                own = psutil.Process(demo.pid).memory_info().rss / 1e6 if demo.poll() is None else 0
                peak_rss, peak_pss = max(peak_rss, rss + own), max(peak_pss, pss + own)
        seconds = time.monotonic() - begun
        sys.stderr.write(log.read_text())
        result = json.loads(file.read_text())
    finally:
        subprocess.run([sys.executable, "-m", "qafila.cli", "down"], stdout=subprocess.DEVNULL)
        shutil.rmtree(home, ignore_errors=True)
    print(
        json.dumps(
            {
                "benchmark": "demo",
                "cores": os.cpu_count(),
                "exit_code": demo.returncode,
                "seconds": round(seconds, 1),
                "peak_resident_mb": round(peak_rss),
                "peak_proportional_mb": round(peak_pss),
                "phases_s": {p["name"]: p["seconds"] for p in result["phases"]},
                "result": {
                    k: result[k]
                    for k in ("outcome", "backfill", "drill", "canary", "rollback", "validation")
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
