"""Keep everything else that runs on a machine off some cores, as ``cset shield`` does."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil


@contextmanager
def shield(cores: Sequence[int], within: Collection[int]) -> Iterator[int]:
    """Let foreign processes run on ``cores`` only for the block; yield how many threads that were.

    A supervisor or an agent that looks at all processes every second takes some milliseconds of
    whatever core it is on, and more of them the more processes there are: a benchmark that starts
    some would take its time for its own. ``within``: processes that are not foreign, nor are their
    children, nor we and our children. Threads that we may not touch (the kernel's, another user's)
    are left. What a foreign process starts meanwhile inherits the cores and keeps them.
    """
    before: dict[int, set[int]] = {}
    ours = _families({os.getpid(), *within})
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        with suppress(psutil.Error):
            for thread in process.threads():
                with suppress(OSError):
                    allowed = os.sched_getaffinity(thread.id)
                    os.sched_setaffinity(thread.id, cores)
                    before[thread.id] = allowed
    try:
        yield len(before)
    finally:
        for thread_id, allowed in before.items():
            with suppress(OSError):
                os.sched_setaffinity(thread_id, allowed)


def _families(heads: Collection[int]) -> set[int]:
    found = set(heads)
    for head in heads:
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid for child in psutil.Process(head).children(recursive=True)}
    return found
