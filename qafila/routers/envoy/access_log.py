"""Read an access log of JSON lines with the fields that Qafila's Envoy writes.

The same reader serves a router that shows no single requests, where the operator names the
service's own log: ``ts`` (Unix time, s), ``arm`` or ``served``, ``code``, ``ms``, and where known
``attempts``, ``results``, ``key``, ``bad``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from qafila.home_keys import ensure_key
from qafila.routers.envoy.config import PROBE
from qafila.routers.port import Request

_BLOCK_BYTES = 1 << 20  # held at a time, however long the log is
_CALL_BYTES = 8 << 20  # of one call: a reader that was away for long catches up in several
_POSITION_BITS = 48  # of a cursor; above them is which file the position is in
_FILE_MASK = (1 << 32) - 1


def read_log(path: Path, cursor: int | None) -> tuple[Sequence[Request], int]:
    """Return user requests logged after ``cursor``; None: from now.

    Reads whole lines, at most 8 MiB of them; a line that is not ours is passed over, half a line
    waits for its end. A log that was renamed, with a new one in its place, is read to its end
    first, as long as it lies beside it under a name that begins with the log's own. A log that
    became shorter is read from its start. Probes, which name their arm, are not users and are left
    out. A cursor is opaque; 0 is the start of the log.
    """
    present = _identity(path)
    if cursor is None:
        return [], 0 if present is None else _cursor(present, path.stat().st_size)
    file, position = cursor >> _POSITION_BITS, cursor & ((1 << _POSITION_BITS) - 1)
    found: list[Request] = []
    left = _CALL_BYTES
    if file not in (0, present):
        old = _renamed(path, file)
        if old is not None:
            more, position, ended = _read(old, position, left)
            found.extend(more)
            if not ended or present is None:
                return found, _cursor(file, position)
            left -= min(left - 1, position)
        elif present is None:
            return [], cursor  # between the old log and the new one
        position = 0
    if present is None:
        return [], 0
    more, position, _ = _read(path, position, left)
    return [*found, *more], _cursor(present, position)


def _cursor(file: int, position: int) -> int:
    return file << _POSITION_BITS | position


def _identity(path: Path) -> int | None:
    """Return what tells a file from the one that takes its name; None: there is no file."""
    try:
        return path.stat().st_ino & _FILE_MASK or 1
    except FileNotFoundError:
        return None


def _renamed(path: Path, file: int) -> Path | None:
    beside = path.parent.glob(path.name + "?*")
    return next((other for other in beside if _identity(other) == file), None)


def _read(path: Path, start: int, at_most: int) -> tuple[list[Request], int, bool]:
    """Return the requests of whole lines from ``start``, the end of the last, and if it was all."""
    found: list[Request] = []
    with path.open("rb") as log:
        size = os.fstat(log.fileno()).st_size
        position = start if start <= size else 0
        end = min(size, position + at_most)
        log.seek(position)
        rest = b""
        while position + len(rest) < end:
            block = rest + log.read(min(_BLOCK_BYTES, end - position - len(rest)))
            whole = block[: block.rfind(b"\n") + 1]
            found.extend(r for line in whole.splitlines() if (r := _request(line)) is not None)
            position += len(whole)
            rest = block[len(whole) :]
            if len(rest) >= _BLOCK_BYTES:  # no line of ours is so long
                position, rest = position + len(rest), b""
    return found, position, end == size


def tenant_digest(key: str | None) -> str | None:
    """Return what stands for a sticky key: the same for the same user of this home.

    Keyed (HMAC) with the home's key, so that nobody without it finds a user by trying names.
    """
    if not key or key == "-":
        return None
    secret = _tenant_secret(os.environ.get("QAFILA_HOME"))
    return hmac.new(secret, key.encode(), hashlib.sha256).hexdigest()[:16]


@cache
def _tenant_secret(home: str | None) -> bytes:
    """Return the key for one value of QAFILA_HOME, which decides where the key lies."""
    return bytes.fromhex(ensure_key("tenant-ids"))


def _flags(said: str | None) -> frozenset[str]:
    named = (name.strip() for name in (said or "").split(","))
    return frozenset(name for name in named if name not in ("", "-"))


def _request(line: bytes) -> Request | None:
    """Return the request that a log line tells of; None for a probe or a line that is not ours."""
    if not line.lstrip().startswith(b"{"):  # json.loads would raise once per line, which is slow
        return None
    try:
        row = json.loads(line)
        served = row.get("served") or ""
        cluster = row.get("arm") or ""
        if served.startswith(PROBE):
            return None
        by_cluster = _ARM_OF_CLUSTER.get(cluster, "baseline")
        # What the route is called proves nothing where its requests went to the candidate.
        arm = by_cluster if by_cluster == "candidate" else served or by_cluster
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
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


_ARM_OF_CLUSTER = {
    "candidate": "candidate",
    "candidate_safe": "candidate",
    "baseline_twin": "twin",
}
