"""Time the way back: flips of a real Envoy under load, seen at the client.

    python -m benchmarks.rollback --flips 20 --rps 300

Starts an Envoy and two services of its own on loopback. Prints one JSON object: ``p50_ms``,
``p99_ms`` and ``max_ms`` from the decision until clients that were on the candidate have the
baseline's answer and never the candidate's again; ``acknowledged_p99_ms``; ``failed`` and
``requests`` over all flips.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tasks.drilling import Flip, fly
from tests.edges import running_edge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--rps", type=float, default=300)
    parser.add_argument("--weight", type=int, default=25)
    parser.add_argument("--hold", type=float, default=0.3, help="seconds on each side of a flip")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_edge(Path(folder) / "edge") as edge:
        flips = [
            fly(
                edge.router, arguments.weight, epoch=1, path="/search", rate=arguments.rps,
                hold_s=arguments.hold,
            )
            for _ in range(arguments.flips)
        ]  # fmt: skip
    print(json.dumps(summary(flips)))


def summary(flips: list[Flip]) -> dict[str, float]:
    """Return the figures of all flips together; times in milliseconds."""
    times = np.array([f.seconds_to_zero for f in flips]) * 1000
    acknowledged = np.array([f.acknowledged_s for f in flips]) * 1000
    return {
        "p50_ms": round(float(np.quantile(times, 0.5)), 2),
        "p99_ms": round(float(np.quantile(times, 0.99)), 2),
        "max_ms": round(float(times.max()), 2),
        "acknowledged_p99_ms": round(float(np.quantile(acknowledged, 0.99)), 2),
        "failed": sum(f.failed for f in flips),
        "canary_after": sum(f.canary_after + f.log_after for f in flips),
        "requests": sum(f.probes for f in flips),
        "flips": len(flips),
    }


if __name__ == "__main__":
    main()
