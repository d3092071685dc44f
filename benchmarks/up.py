"""Measure `qafila up` in a new folder, again while it runs, after a stop, and `qafila down`.

Prints one JSON object; seconds of wall clock as the operator waits for them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def timed(*args: str) -> float:
    """Run a command of `qafila`; return its seconds."""
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "qafila.cli", *args], check=True, stdout=subprocess.DEVNULL
    )
    return round(time.monotonic() - begun, 2)


def resident_mb(home: Path) -> dict[str, float]:
    """Return the resident memory of each piece with its children, in MB."""
    state = json.loads((home / "stack.json").read_text())
    found = {}
    for piece, section in state.items():
        if isinstance(section, dict) and "pid" in section:
            process = psutil.Process(section["pid"])
            family = [process, *process.children(recursive=True)]
            found[piece] = round(sum(p.memory_info().rss for p in family) / 1e6, 1)
    return found


def main() -> None:
    """Measure in a folder of its own, which is deleted at the end."""
    home = Path(tempfile.mkdtemp(prefix="qafila-bench-"))
    os.environ["QAFILA_HOME"] = str(home)
    try:
        first = timed("up")
        memory = resident_mb(home)
        result = {
            "benchmark": "up",
            "cores": os.cpu_count(),
            "first_up_s": first,
            "up_while_running_s": timed("up"),
            "down_s": timed("down"),
            "up_again_s": timed("up"),
            "resident_mb": memory,
            "resident_total_mb": round(sum(memory.values()), 1),
        }
    finally:
        timed("down")
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
