"""What ``qafila bench live`` does beside the application, in threads that can be left.

A load or an index build takes minutes, and the product waits for a server that is gone. Whoever
ends the benchmark meanwhile, by SIGTERM or Ctrl-C, waits for neither: the processes are killed, and
a thread that still goes on ends with us.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress

import psutil

from benchmarks import live_migration as migration

_LEAVE_SECONDS = 2.0  # that a thread has to end by itself when the benchmark ends early
_LOOK_SECONDS = 0.1


def calmly(what: Callable[[], None]) -> None:
    """Run something in a calm thread, and its children too; return when it is done."""
    done = _begin(what)
    try:
        done.result()
    except BaseException:
        if not done.done():
            _leave(done)
        raise


@contextmanager
def following(moving: migration.Moving) -> Iterator[None]:
    """Keep all generations in step for the block."""
    stop = threading.Event()
    done = _begin(lambda: moving.follow(stop))
    try:
        yield
    except BaseException:
        stop.set()
        _leave(done)
        raise
    stop.set()
    done.result()


def _begin(what: Callable[[], None]) -> Future[None]:
    done: Future[None] = Future()

    def run() -> None:
        try:
            migration.calm()
            what()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, daemon=True).start()
    return done


def _leave(done: Future[None]) -> None:
    """Kill the workers; give the thread a moment, so that it closes what it has open."""
    until = time.monotonic() + _LEAVE_SECONDS
    while not done.done() and time.monotonic() < until:
        for child in psutil.Process().children():
            with suppress(psutil.Error):
                if "qafila.backfill.process" in child.cmdline():
                    child.kill()
        wait([done], _LOOK_SECONDS)
