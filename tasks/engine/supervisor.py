"""Start a worker process, hear what it does, start it again when it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from qafila import errors
from qafila.errors import BackfillHalted, QafilaError
from tasks.engine.loading import Loaded
from tasks.engine.pulse import Stopped
from tasks.engine.worker import Assignment
from tasks.opening import Reach

MOST_RESTARTS = 5
_ROOT = Path(__file__).parents[2]


def run_worker(
    assignment: Assignment,
    reach: Reach,
    *,
    tell: Callable[[Loaded], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> list[Loaded]:
    """Run one worker process to its end; return what it loaded.

    A worker that is killed is started again, five times at most: its rows are in the target up to
    its last checkpoint, and its shard is claimed again.

    Raises:
        QafilaError: what the worker raised, as it was.
        BackfillHalted: it died too often, or of a fault of ours.
    """
    loaded: list[Loaded] = []
    for attempt in range(MOST_RESTARTS + 1):
        code = _run_once(assignment, reach, loaded, tell)
        if code == 0:
            return loaded
        if code > 0:
            raise BackfillHalted(
                f"a worker process ended with code {code}; its last words are in the run's output.",
                kept="everything up to its last checkpoint.",
                remedy=f"qafila run embedding-backfill {assignment.workload}",
            )
        note(f"a worker was killed by {signal.Signals(-code).name}; started again")
        if attempt == MOST_RESTARTS:
            break
    raise BackfillHalted(
        f"a worker was killed {MOST_RESTARTS + 1} times.",
        kept="everything up to its last checkpoint.",
        remedy="look for what kills it (memory?), then: "
        f"qafila run embedding-backfill {assignment.workload}",
    )


def _run_once(
    assignment: Assignment, reach: Reach, loaded: list[Loaded], tell: Callable[[Loaded], None]
) -> int:
    child = subprocess.Popen(
        [sys.executable, "-m", "tasks.engine.process"],
        cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        told = {"assignment": asdict(assignment), "reach": asdict(reach)}
        try:
            child.stdin.write(json.dumps(told) + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            return child.wait()
        for line in child.stdout:
            heard = json.loads(line)
            if "loaded" in heard:
                done = Loaded(**heard["loaded"])
                loaded.append(done)
                tell(done)
            elif "error" in heard:
                raise _as_raised(heard["error"])
            elif "stopped" in heard:
                raise Stopped(heard["stopped"], kept="everything up to the last checkpoints.")
        return child.wait()
    finally:
        child.stdin.close()  # tells it that we are gone
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def _as_raised(told: dict[str, str]) -> QafilaError:
    kind = getattr(errors, told["kind"], BackfillHalted)
    if kind is errors.BadInput:
        return errors.BadInput(told["what"], remedy=told["remedy"])
    raised: QafilaError = kind(told["what"], kept=told["kept"], remedy=told["remedy"])
    return raised
