"""Keep everything else that runs on a machine off some cores, as ``cset shield`` does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

_ROOT = Path(__file__).parents[1]
_READY = "ready\n"
_KEEPER_SECONDS = 20.0  # for it to take everything back; some milliseconds do


@dataclass
class _Moved:
    """What was moved: the cores that a thread was allowed before, by its id."""

    cores: Sequence[int]
    ours: Sequence[int]  # processes that keep to cores of their own choice
    before: dict[int, list[int]] = field(default_factory=dict)

    def take_back(self) -> None:
        """Let all threads run where they ran before, and those that they started meanwhile.

        A thread that keeps to other cores by now was moved by somebody else, and is left. A process
        that was started meanwhile gets the cores of the nearest process above it that was moved.
        """
        ours = _families(self.ours)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                above = None if process.pid in ours else _cores_above(process, self.before)
                for thread in process.threads():
                    allowed = self.before.get(thread.id, above)
                    with suppress(OSError):
                        if allowed and os.sched_getaffinity(thread.id) == set(self.cores):
                            os.sched_setaffinity(thread.id, allowed)


@contextmanager
def shield(
    cores: Sequence[int],
    within: Collection[int],
    processes: Callable[[], Iterable[psutil.Process]] = psutil.process_iter,
) -> Iterator[int]:
    """Let foreign processes run on ``cores`` only for the block; yield how many threads that were.

    A supervisor or an agent that looks at all processes every second takes some milliseconds of
    whatever core it is on, and more of them the more processes there are: a benchmark that starts
    some would take its time for its own. ``within``: processes that are not foreign, nor are their
    children, nor we and our children. Threads that we may not touch (the kernel's, another user's)
    are left. A child process waits for our end and takes everything back, however we end.
    """
    ours = [os.getpid(), *within]
    moved, family = _Moved(list(cores), ours), _families(ours)
    for process in processes():
        if process.pid not in family:
            with suppress(psutil.Error):
                for thread in process.threads():
                    with suppress(OSError):
                        moved.before[thread.id] = sorted(os.sched_getaffinity(thread.id))
    keeper = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.shield"],
        cwd=_ROOT,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in a terminal is not for it
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        keeper.stdin.write(json.dumps(asdict(moved)) + "\n")
        keeper.stdin.flush()
        if keeper.stdout.readline() != _READY:  # nothing is moved that might not be taken back
            raise ChildProcessError("the process that takes the shield back did not start")
        yield sum(_moves(thread_id, cores) for thread_id in moved.before)
    finally:
        with suppress(BrokenPipeError):
            keeper.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            keeper.wait(_KEEPER_SECONDS)
        if keeper.returncode != 0:
            keeper.kill()
            keeper.wait()
            moved.take_back()
        keeper.stdout.close()


def keep() -> None:
    """Read what was moved, wait until whoever moved it is gone, and take it back."""
    line = sys.stdin.readline()
    if not line:
        return  # nothing was moved yet
    told = json.loads(line)
    told["before"] = {int(thread_id): cores for thread_id, cores in told["before"].items()}
    print(_READY, end="", flush=True)
    sys.stdin.read()  # returns when the last one who could write is gone
    _Moved(**told).take_back()


def _moves(thread_id: int, cores: Sequence[int]) -> bool:
    """Move a thread; say whether it could be."""
    with suppress(OSError):
        os.sched_setaffinity(thread_id, cores)
        return True
    return False


def _cores_above(process: psutil.Process, before: Mapping[int, list[int]]) -> list[int] | None:
    """Return what was allowed to a process, or to the nearest above it that was moved."""
    for one in (process, *process.parents()):
        if one.pid in before:
            return before[one.pid]
    return None


def _families(heads: Collection[int]) -> set[int]:
    found = set(heads)
    for head in heads:
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid for child in psutil.Process(head).children(recursive=True)}
    return found


if __name__ == "__main__":
    keep()
