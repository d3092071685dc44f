"""Told to end while its load runs, the benchmark of a working application leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
# at a thousandth of its speed the load takes many minutes
LIVE = [
    sys.executable,
    "-W",
    "ignore",
    "-m",
    "benchmarks.live",
    "--layout",
    "table",
    "--rows",
    "3000",
    "--alone-seconds",
    "1",
    "--speed",
    "0.001",
    "--no-shield",
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own account can enter where the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="qafila-live-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left(how: signal.Signals, folder: Path) -> None:
    told = folder / "told"
    with told.open("w") as out:
        live = psutil.Popen(
            LIVE, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, "TMPDIR": str(folder)}
        )
    try:
        started = _loading(live, told)
        live.send_signal(how)
        code = live.wait(60)
        assert code == (128 + how if how == signal.SIGTERM else -how), told.read_text()
    finally:
        with suppress(psutil.NoSuchProcess):
            live.kill()
            live.wait()
    assert not [p.cmdline() for p in psutil.wait_procs(started, 10)[1]]
    assert not [p.pid for p in psutil.process_iter() if str(folder) in " ".join(_words(p))]
    assert not list(folder.glob("qafila-bench-*"))


def _loading(live: psutil.Popen, told: Path) -> list[psutil.Process]:
    """Wait until a worker has loaded for a moment; return all that the benchmark has started."""
    deadline = time.monotonic() + 180
    while True:
        assert live.poll() is None, told.read_text()
        assert time.monotonic() < deadline
        children = live.children(recursive=True)
        found = [p.pid for p in children if "qafila.backfill.process" in _words(p)]
        time.sleep(3)
        if [p for p in found if psutil.pid_exists(p)]:  # not the one that looks at a sample
            return children


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
