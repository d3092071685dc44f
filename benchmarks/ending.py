"""Leave nothing behind, however a process ends: for benchmarks, and for the tests' own server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil


def _end() -> None:
    raise SystemExit(128 + signal.SIGTERM)


@contextmanager
def ended_by_sigterm(end: Callable[[], object] = _end) -> Iterator[None]:
    """Let SIGTERM leave the block by what ``end`` raises; by itself it would end us on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return

    def leave(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not cut the clean-up
        end()

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_server(data: Path, *, keep: bool = True) -> None:
    """Stop the PostgreSQL of this folder, if one runs: perhaps another one than we started.

    ``keep``: the folder is used again. Else it need not be written to disk once more, which takes
    seconds where many databases were made.
    """
    with suppress(FileNotFoundError, psutil.NoSuchProcess, psutil.TimeoutExpired):
        server = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        if str(data) in server.cmdline():  # else the number is another process's by now
            server.send_signal(signal.SIGINT if keep else signal.SIGQUIT)  # fast | immediate
            server.wait(20)
