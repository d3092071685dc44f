"""The access log of the stack's own Envoy: private, bounded in size, and kept for days only.

Envoy cannot hash what it logs, so the log holds users' keys as they came; whoever reads it keys
them before anything is kept (``tenant_digest``). The log itself lies in the home, which its owner
alone enters.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx

from qafila import settings
from qafila.connections.envoy import connect_envoy_admin

ACCESS_LOG = "access.jsonl"
MOST_BYTES = 64 << 20  # of the log, and as much of the one before it
LONGEST_S = 86_400.0


def tend_log() -> bool:
    """Rotate the log of this home's Envoy where it is due; return whether it was. Never raises."""
    try:
        section = settings.stack_state().get("envoy")
        if not section:
            return False
        return rotate_when_due(Path(section["directory"]), str(section["admin_url"]), time.time())
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return False  # Envoy is away, or the record is being written; the next look tries again


def rotate_when_due(directory: Path, admin_url: str, now: float) -> bool:
    """Put the log aside as ``access.jsonl.1`` where it is large or old; delete that when it is old.

    Envoy writes under the old name until it is told, so no line is lost: readers finish the file
    that was put aside before they go on with the new one.

    Raises:
        httpx.HTTPError: Envoy does not answer; the log is as it was.
        OSError: the folder cannot be written to.
    """
    log = directory / ACCESS_LOG
    aside = directory / (ACCESS_LOG + ".1")
    if aside.exists() and now - aside.stat().st_mtime > LONGEST_S:
        aside.unlink()
    if not log.exists() or not _is_due(log, now):
        return False
    with connect_envoy_admin(admin_url) as admin:
        admin.get("/ready")  # before anything is renamed: does it answer at all?
        log.replace(aside)
        admin.post("/reopen_logs").raise_for_status()
    return True


def _is_due(log: Path, now: float) -> bool:
    size = log.stat().st_size
    if size == 0 or size > MOST_BYTES:
        return size > 0
    with log.open("rb") as file:
        first = file.readline(1 << 16)
    try:
        return now - float(json.loads(first)["ts"]) > LONGEST_S
    except (ValueError, KeyError, TypeError):
        return False
