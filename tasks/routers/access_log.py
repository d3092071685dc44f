"""Read an access log of JSON lines with the fields that Qafila's Envoy writes.

The same reader serves a router that shows no single requests, where the operator names the
service's own log: ``ts`` (Unix time, s), ``arm`` or ``served``, ``code``, ``ms``, and where known
``attempts``, ``results``, ``key``, ``bad``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from tasks.routers.envoy_config import PROBE
from tasks.routers.port import Request

_BLOCK_BYTES = 8 << 20  # of one call: a reader that was away for long catches up in several


def read_log(path: Path, cursor: int | None) -> tuple[Sequence[Request], int]:
    """Return user requests logged after ``cursor`` (a byte position); None: from now.

    Reads whole lines, at most 8 MiB of them; a line that is not ours is passed over, half a line
    waits for its end. A log that became shorter was rotated and is read from its start. Probes,
    which name their arm, are not users and are left out.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return [], 0
    if cursor is None:
        return [], size
    start = cursor if cursor <= size else 0
    with path.open("rb") as log:
        log.seek(start)
        block = log.read(min(size - start, _BLOCK_BYTES))
    whole = block[: block.rfind(b"\n") + 1]
    found = [r for line in whole.splitlines() if (r := _request(line)) is not None]
    if not whole and len(block) == _BLOCK_BYTES:
        return [], start + len(block)  # no line of ours is so long
    return found, start + len(whole)


def tenant_digest(key: str | None) -> str | None:
    """Return what stands for a sticky key: the same for the same user, and no way back to it."""
    if not key or key == "-":
        return None
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def _flags(said: str | None) -> frozenset[str]:
    named = (name.strip() for name in (said or "").split(","))
    return frozenset(name for name in named if name not in ("", "-"))


def _request(line: bytes) -> Request | None:
    """Return the request that a log line tells of; None for a probe or a line that is not ours."""
    try:
        row = json.loads(line)
        served = row.get("served") or ""
        cluster = row.get("arm") or ""
        if served.startswith(PROBE):
            return None
        arm = served or _ARM_OF_CLUSTER.get(cluster, "baseline")
        results = row.get("results")
        return Request(
            started_at=float(row["ts"]),
            arm=arm,
            status=int(row["code"]),
            latency_ms=float(row["ms"]),
            attempts=int(row.get("attempts") or 0),
            results=None if results in (None, "", "-") else int(results),
            tenant=tenant_digest(row.get("key")),
            flags=_flags(row.get("bad")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


_ARM_OF_CLUSTER = {
    "candidate": "candidate",
    "candidate_safe": "candidate",
    "baseline_twin": "twin",
}
