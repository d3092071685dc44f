"""Processes that outlive the terminal, known by pid *and* start time, so a reused pid is safe."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MARK = "QAFILA_STACK"  # set in the environment of what we start; its children inherit it


@dataclass(frozen=True)
class Recorded:
    """A process as we wrote it down: two processes never share both numbers."""

    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Recorded:
        """Return the record of a process that runs now."""
        return cls(pid, psutil.Process(pid).create_time())

    @classmethod
    def read(cls, section: Mapping[str, Any] | None) -> Recorded | None:
        """Return what a section of stack.json recorded; None when it names no process."""
        if not section or "pid" not in section or "started" not in section:
            return None
        return cls(int(section["pid"]), float(section["started"]))

    def process(self) -> psutil.Process | None:
        """Return the live process; None when it ended or the pid now belongs to another."""
        try:
            process = psutil.Process(self.pid)
            # The kernel counts start times in hundredths of a second since boot.
            same = abs(process.create_time() - self.started) < 0.05
            if same and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except psutil.NoSuchProcess:
            pass
        return None

    @property
    def alive(self) -> bool:
        return self.process() is not None

    def section(self) -> dict[str, Any]:
        """Return the two numbers as stack.json keeps them."""
        return {"pid": self.pid, "started": self.started}


def launch(
    command: Sequence[str | Path], *, log: Path, env: Mapping[str, str], cwd: Path
) -> Recorded:
    """Start a process in a session of its own, its output appended to ``log``."""
    if (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        # A shell's `&` leaves SIGINT ignored; a Prefect worker would inherit that and then
        # never obey SIGTERM, which it answers by sending itself SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    # We never wait for it: it outlives us. Marking it as waited for keeps Popen's destructor quiet.
    process.returncode = 0
    return Recorded.of(process.pid)


def family(record: Recorded) -> list[psutil.Process]:
    """Return a recorded process and everything below it, itself first; empty when it ended."""
    process = record.process()
    if process is None:
        return []
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return [process]


def marked(mark: str) -> list[psutil.Process]:
    """Return every process that carries our mark, also orphans of a killed parent; never us."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def stop(
    processes: Iterable[psutil.Process], *, patience_s: float, ask: signal.Signals = signal.SIGTERM
) -> list[int]:
    """Ask processes to end, wait, then kill what is left; return the pids that had to be killed."""
    asked = list(processes)
    for process in asked:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(ask)
    _, left = psutil.wait_procs(asked, timeout=patience_s)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    return [process.pid for process in left]
