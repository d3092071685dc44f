"""What must hold before anything is started; every problem is found, not only the first."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

PYTHON = (3, 11)
DISK_BYTES = 1_000_000_000  # a demo run writes about 300 MB; the rest is room for WAL and logs


def free_bytes(home: Path) -> int:
    """Return the free bytes on the disk that holds, or will hold, the home folder."""
    return shutil.disk_usage(_nearest(home)).free


def problems(home: Path, root: Path) -> list[str]:
    """Return one sentence with its remedy for everything that would stop the stack."""
    found = []
    if sys.version_info < PYTHON:
        found.append(
            f"Python {sys.version.split()[0]} is too old; "
            "make the environment with Python 3.11 or newer."
        )
    nearest = _nearest(home)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        found.append(
            f"{home} cannot be written to ({nearest} forbids it); "
            "set QAFILA_HOME to a folder of yours."
        )
    elif (free := free_bytes(home)) < DISK_BYTES:
        found.append(
            f"the disk of {home} has {free / 1e6:.0f} MB free, {DISK_BYTES / 1e6:.0f} MB are "
            "needed; free some, or set QAFILA_HOME to a folder on another disk."
        )
    if not (root / "prefect.yaml").is_file():
        found.append(f"there is no prefect.yaml in {root}; run from a checkout of the project.")
    return found


def make_private(home: Path) -> None:
    """Make the home, or close it where an earlier release left it open; parents stay as they are.

    As root, others may pass through it: PostgreSQL, which refuses to run as root, runs as an
    account of its own, in a folder of its own.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    for inside in home.iterdir():
        if inside.is_symlink() or inside.name == "postgres" or inside.stat().st_uid != os.geteuid():
            continue
        inside.chmod(0o700 if inside.is_dir() else 0o600)


def _nearest(path: Path) -> Path:
    return next(p for p in (path, *path.parents) if p.exists())
