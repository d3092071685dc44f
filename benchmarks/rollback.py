"""Time the way back: flips of a real Envoy under load, seen by its users.

    python -m benchmarks.rollback --flips 200 --rps 1000

Starts an Envoy and two services on loopback, each a process of its own, and users in a third that
send ``rps`` requests a second whatever comes back. Each flip gives the candidate ``--weight`` per
cent and takes it back. Prints one JSON object: ``p50_ms``, ``p99_ms`` and ``max_ms`` from the
decision until the candidate answered the last request sent after it, and a user who was on the
candidate is on the baseline (an upper bound, as fine as such users' requests are dense);
``acknowledged_p99_ms``; ``failed`` of ``requests``, every request of the run counted;
``achieved_rps``; ``canary_after``: requests sent after the acknowledgement that the candidate
answered. In the same run, as floor: ``floor_p50_ms`` and ``floor_p99_ms``, measured alike, when a
finished route file is only renamed into place, without lock, version or fsync.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import machine
from benchmarks.edge import BenchEdge, bench_edge
from benchmarks.ending import ended_by_sigterm
from benchmarks.open_load import BASELINE, CANDIDATE, Load, Rows, failed
from qafila.routers.envoy import config as envoy_config

_WARM_S = 2.0
_FLOOR_FLIPS = 20
_ARRIVE_S = 0.1
_USERS = 64  # few enough that each is back within some milliseconds


@dataclass(frozen=True)
class Flip:
    """When a way back began and was acknowledged, and when the flip was over; Unix seconds."""

    up_at: float
    decided_at: float
    settled_at: float
    over_at: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--rps", type=float, default=1000)
    parser.add_argument("--weight", type=int, default=50, help="per cent on the candidate")
    parser.add_argument("--hold", type=float, default=0.25, help="seconds on each side of a flip")
    arguments = parser.parse_args()
    if not (1 <= arguments.flips <= 1000 and 10 <= arguments.rps <= 5000):
        parser.error("1 to 1000 flips at 10 to 5000 requests a second")
    with (
        ended_by_sigterm(),
        tempfile.TemporaryDirectory(prefix="qafila-edge-") as folder,
        bench_edge(Path(folder)) as edge,
        Load(edge.listen_url, arguments.rps, tenants=_USERS) as load,
    ):
        time.sleep(_WARM_S)
        flips = [_flip(edge, arguments.weight, arguments.hold) for _ in range(arguments.flips)]
        floor = [_bare_flip(edge, arguments.weight, arguments.hold) for _ in range(_FLOOR_FLIPS)]
        rows = load.stop()
    times = measured(rows, flips)
    machine.show(
        "rollback",
        summary(rows, flips, times, [seconds_to_zero(rows, f) for f in floor]),
        seed=None,
        raw_seconds={
            "to_zero": times,
            "acknowledged": [f.settled_at - f.decided_at for f in flips],
        },
        notes={
            "dns": "a weighted DNS record cannot go back faster than its time to live, usually "
            "60 s, and not at all for a client that keeps what it resolved; not measured here."
        },
    )


def _flip(edge: BenchEdge, weight: int, hold_s: float) -> Flip:
    edge.router.acknowledged(edge.router.write(weight, epoch=1, why="benchmark: there"))
    up_at = time.time()
    time.sleep(hold_s)
    decided_at = time.time()
    edge.router.acknowledged(edge.router.write(0, epoch=1, why="benchmark: back"))
    settled_at = time.time()
    time.sleep(hold_s)
    return _over(up_at, decided_at, settled_at)


def _bare_flip(edge: BenchEdge, weight: int, hold_s: float) -> Flip:
    """Do the same by a bare rename of what the router would have written."""
    edge.router.acknowledged(edge.router.write(weight, epoch=1, why="benchmark: there"))
    up_at = time.time()
    state, sequence = envoy_config.parse_version(edge.router.read().version)
    version = envoy_config.version_text(state.epoch, sequence + 1, 0)
    ready = edge.folder / ".floor"
    ready.write_text(json.dumps(envoy_config.routes(version, "benchmark: floor")))
    time.sleep(hold_s)
    decided_at = time.time()
    ready.rename(edge.folder / "rds.json")
    edge.router.acknowledged(version)
    settled_at = time.time()
    time.sleep(hold_s)
    return _over(up_at, decided_at, settled_at)


def _over(up_at: float, decided_at: float, settled_at: float) -> Flip:
    """End a flip, and let what was sent in it arrive before the next weight is written."""
    over_at = time.time()
    time.sleep(_ARRIVE_S)
    return Flip(up_at, decided_at, settled_at, over_at)


def seconds_to_zero(rows: Rows, flip: Flip) -> float | None:
    """Return the seconds from the decision to the proof that nobody new meets the candidate.

    That is the later of two moments: the end of the candidate's last answer to a request that was
    sent after the decision (one sent before was on its way already), and the sending of the first
    later request of a user whom this flip had sent to the candidate, answered by the baseline.
    Infinite when users stay with the candidate after the acknowledgement; None when nobody who
    was on it asked any more: the machine let users wait.
    """
    own = rows[(rows["sent"] >= flip.up_at) & (rows["sent"] < flip.over_at)]
    canary = own[own["served"] == CANDIDATE]
    users = np.unique(canary["tenant"][canary["sent"] <= flip.decided_at])
    new = canary[canary["sent"] > flip.decided_at]
    last_sent = float(new["sent"].max(initial=flip.decided_at))
    proofs = own["sent"][
        (own["served"] == BASELINE)
        & (own["status"] == 200)
        & (own["sent"] > last_sent)
        & np.isin(own["tenant"], users)
    ]
    if not proofs.size and not (new["sent"] > flip.settled_at).any():
        return None
    proven = float(proofs.min(initial=np.inf))
    return max(proven, float(new["ended"].max(initial=0.0))) - flip.decided_at


def measured(rows: Rows, flips: list[Flip]) -> list[float]:
    """Return the times of all flips in which users asked on both sides of the way back.

    Raises:
        NotMeasured: users stalled in more than a twentieth of the flips.
    """
    times = [t for f in flips if (t := seconds_to_zero(rows, f)) is not None]
    if len(times) < 0.95 * len(flips):
        raise machine.NotMeasured(
            f"in {len(flips) - len(times)} of {len(flips)} flips nobody asked in time: the "
            "machine is too busy for this load"
        )
    return times


def summary(
    rows: Rows, flips: list[Flip], times: list[float], floor: list[float]
) -> dict[str, Any]:
    """Return the figures of all flips together; times in milliseconds."""
    if not np.isfinite(times).all():
        raise machine.NotMeasured("in a flip the users of the candidate never left it")
    took = float(rows["due"][-1] - rows["due"][0])
    acknowledged = [f.settled_at - f.decided_at for f in flips]
    answered = rows[rows["status"] == 200]
    latency = (answered["ended"] - answered["due"]) * 1000
    return {
        "p50_ms": _ms(times, 0.5),
        "p99_ms": _ms(times, 0.99),
        "max_ms": _ms(times, 1.0),
        "acknowledged_p50_ms": _ms(acknowledged, 0.5),
        "acknowledged_p99_ms": _ms(acknowledged, 0.99),
        "floor_p50_ms": _ms(floor, 0.5),
        "floor_p99_ms": _ms(floor, 0.99),
        "failed": failed(rows),
        "requests": len(rows),
        "flips": len(times),
        "canary_requests": int((rows["served"] == CANDIDATE).sum()),
        "canary_after": sum(
            int(
                (
                    (rows["sent"] > f.settled_at)
                    & (rows["sent"] < f.over_at)
                    & (rows["served"] == CANDIDATE)
                ).sum()
            )
            for f in flips
        ),
        "achieved_rps": round(len(rows) / took, 1),
        "sent_late_p99_ms": _ms(list(rows["sent"] - rows["due"]), 0.99),
        "request_p50_ms": round(float(np.quantile(latency, 0.5)), 2),
        "request_p99_ms": round(float(np.quantile(latency, 0.99)), 2),
    }


def _ms(seconds: list[float], share: float) -> float:
    return round(float(np.quantile(np.array(seconds) * 1000, share)), 2)


if __name__ == "__main__":
    main()
