"""Start a worker process, hear what it does, start it again when it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qafila import errors
from qafila.backfill.load import Loaded
from qafila.backfill.patience import PatientLedger
from qafila.backfill.pulse import stopped
from qafila.backfill.source_sample import from_told
from qafila.backfill.worker import Assignment, working_as
from qafila.endpoints import Reach, reach_of
from qafila.errors import BackfillHalted, QafilaError, Unavailable
from qafila.inspect.spread import Sample
from qafila.ledger.ledger import Connection, Generation, read_workload
from qafila.sources.port import KeyRange

MOST_RESTARTS = 5
_ROOT = Path(__file__).parents[2]


def run_worker(
    assignment: Assignment,
    reach: Reach | None = None,
    *,
    tell: Callable[[Loaded], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> list[Loaded]:
    """Run one worker process to its end; return what it loaded.

    Connections that are not given are looked up; a ledger that is away is waited for.

    A worker that is killed is started again, five times at most: its rows are in the target up to
    its last checkpoint, and its shard is claimed again.

    Raises:
        QafilaError: what the worker raised, as it was.
        BackfillHalted: it died too often, or of a fault of ours.
    """
    loaded: list[Loaded] = []
    reach = reach or _reach(assignment, note)
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


def _reach(assignment: Assignment, note: Callable[[str], None]) -> Reach:
    def read(ledger: Connection) -> Reach:
        workload, _ = read_workload(ledger, assignment.workload)
        return reach_of(ledger, workload)

    with working_as(assignment), PatientLedger(assignment.workload, note) as ledger:
        return ledger.ask(read)


def sample_apart(
    generation: Generation, reach: Reach, ranges: Sequence[KeyRange]
) -> tuple[Sample, float | None]:
    """Return what ``take_sample`` does in a process of its own: the model stays out of this one.

    Raises:
        Unavailable: a server went away meanwhile.
        BackfillHalted: the process ended of a fault of ours.
    """
    told = {
        "sample": {
            "generation": {**asdict(generation), "phase_since": None},
            "ranges": [asdict(r) for r in ranges],
        },
        "reach": asdict(reach),
    }
    found: list[dict[str, Any]] = []
    with _child(told) as child:
        for heard in _heard(child):
            if "sampled" in heard:
                found.append(heard["sampled"])
            elif "away" in heard:
                raise Unavailable(
                    f"a server went away while the source was sampled: {heard['away']}",
                    kept="everything; nothing was written.",
                    remedy=f"qafila doctor; then: qafila run embedding-backfill "
                    f"{generation.workload}",
                ) from ConnectionError(heard["away"])
        code = child.wait()
    if not found:
        raise BackfillHalted(
            f"the process that samples the source ended with code {code}.",
            kept="everything; nothing was written.",
            remedy=f"qafila run embedding-backfill {generation.workload}",
        )
    return from_told(found[0])


def _run_once(
    assignment: Assignment, reach: Reach, loaded: list[Loaded], tell: Callable[[Loaded], None]
) -> int:
    with _child({"assignment": asdict(assignment), "reach": asdict(reach)}) as child:
        for heard in _heard(child):
            if "loaded" in heard:
                done = Loaded(**heard["loaded"])
                loaded.append(done)
                tell(done)
            elif "stopped" in heard:
                raise stopped(heard["stopped"], assignment.workload)
        return child.wait()


@contextmanager
def _child(told: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """Start a process, tell it what to do, and let it end with the block."""
    child = subprocess.Popen(
        [sys.executable, "-m", "qafila.backfill.process"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with suppress(BrokenPipeError):  # it is dead already: its exit code says so
            child.stdin.write(json.dumps(told) + "\n")
            child.stdin.flush()
        yield child
    finally:
        with suppress(BrokenPipeError):
            child.stdin.close()  # tells it that we are gone
        try:
            child.wait(5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def _heard(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Yield what a process says; raise what it raised."""
    assert child.stdout is not None
    for line in child.stdout:
        heard = json.loads(line)
        if "error" in heard:
            raise _as_raised(heard["error"])
        yield heard


def _as_raised(told: dict[str, str]) -> QafilaError:
    kind = getattr(errors, told["kind"], BackfillHalted)
    if kind is errors.BadInput:
        return errors.BadInput(told["what"], remedy=told["remedy"])
    raised: QafilaError = kind(told["what"], kept=told["kept"], remedy=told["remedy"])
    return raised
