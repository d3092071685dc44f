"""A short storm: workers killed, PostgreSQL stopped at once, while an application writes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nothing_is_lost_and_nothing_is_twice() -> None:
    storm = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "benchmarks.kill_storm",
            "--kills",
            "10",
            "--stops",
            "2",
            "--rows",
            "3000",
            "--seed",
            "11",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert storm.returncode == 0, storm.stderr[-2000:] + storm.stdout[-2000:]
    found = json.loads(storm.stdout)
    assert (found["kills"], found["stops"]) == (10, 2)
    # each kill met a living process in the middle of its work, and every role was hit
    assert found["kills_of_loaders"] == 6
    for role in ("index_builds", "comparisons"):
        assert found[f"kills_of_{role}"] == 1
    assert found["kills_of_appliers"] == 2
    for wrong in ("missing", "duplicates", "stale", "fingerprint_mixed", "vectors_wrong"):
        assert found[wrong] == 0
    assert found["most_redone_rows"] <= found["batch_rows"]
    assert found["writes"] > 50
