"""The shield moves other processes away from a core, and they are back however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[3]
CORES = sorted(os.sched_getaffinity(0))
# a foreign process, with a thread, that starts another one when it is told to
FOREIGN = """
import subprocess, sys, threading, time
threading.Thread(target=time.sleep, args=(120,), daemon=True).start()
print("begun", flush=True)
sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=-1)
print(child.pid, flush=True)
sys.stdin.readline()
child.stdin.close()
child.wait()
"""
SHIELDING = """
import signal, sys, time
import psutil
from benchmarks.ending import ended_by_sigterm
from benchmarks.shield import shield

with ended_by_sigterm():
    with shield([int(sys.argv[1])], [], lambda: [psutil.Process(int(sys.argv[2]))]) as moved:
        print(moved, flush=True)
        sys.stdin.readline()
"""

pytestmark = pytest.mark.skipif(len(CORES) < 2, reason="a shield needs two cores")


@pytest.fixture
def foreign() -> Iterator[subprocess.Popen[str]]:
    child = _start(FOREIGN)
    yield child
    _end(child)


@pytest.mark.parametrize("how", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_all_is_taken_back(foreign: subprocess.Popen[str], how: signal.Signals | None) -> None:
    assert foreign.stdin
    assert foreign.stdout
    shielding = _start(SHIELDING, str(CORES[-1]), str(foreign.pid), said="2")
    assert _cores(foreign.pid) == [{CORES[-1]}] * 2
    foreign.stdin.write("start one\n")
    foreign.stdin.flush()
    late = int(foreign.stdout.readline())
    assert _cores(late) == [{CORES[-1]}]  # it inherited them

    if how is None:
        assert shielding.stdin
        shielding.stdin.close()
    else:
        shielding.send_signal(how)
    _end(shielding)
    _becomes(lambda: _cores(foreign.pid) == [set(CORES)] * 2 and _cores(late) == [set(CORES)])


def test_what_somebody_moved_meanwhile_is_left(foreign: subprocess.Popen[str]) -> None:
    shielding = _start(SHIELDING, str(CORES[-1]), str(foreign.pid), said="2")
    os.sched_setaffinity(foreign.pid, CORES[:1])
    shielding.kill()
    _end(shielding)
    _becomes(lambda: {CORES[-1]} not in _cores(foreign.pid))
    assert os.sched_getaffinity(foreign.pid) == set(CORES[:1])


def _start(code: str, *args: str, said: str = "begun") -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *args],
        cwd=ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout
    assert child.stdout.readline().strip() == said
    return child


def _end(child: subprocess.Popen[str]) -> None:
    assert child.stdin
    assert child.stdout
    child.stdin.close()
    child.wait(30)
    child.stdout.close()


def _cores(process: int) -> list[set[int]]:
    return [os.sched_getaffinity(t.id) for t in psutil.Process(process).threads()]


def _becomes(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
