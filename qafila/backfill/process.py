"""A worker as a process of its own: ``python -m qafila.backfill.process``.

One JSON object on standard input says what to load and how to reach it (connections with their
secrets, so that neither arguments nor environment hold any). One JSON object a line on standard
output tells each loaded shard, and at the end how it ended. When standard input is closed, whoever
started it is gone: the worker stops at its next batch.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import psycopg

from qafila.backfill.patience import PatientLedger, first_line, is_away
from qafila.backfill.pulse import Pulse, Stopped
from qafila.backfill.source_sample import as_told, take_sample
from qafila.backfill.worker import Assignment, pulse_for, work, working_as
from qafila.endpoints import Reach
from qafila.errors import QafilaError
from qafila.ledger.ledger import Generation, generation_of, open_ledger, read_workload
from qafila.masked_output import mask_tracebacks
from qafila.session_name import working_on
from qafila.sources.port import KeyRange

_GRACE_SECONDS = 2.0


def main() -> int:
    """Work until nothing is left, or until whoever started us is gone. Return the exit code."""
    mask_tracebacks()  # standard error is the caller's own, and ends in its log
    told = json.loads(sys.stdin.readline())
    if "sample" in told:
        return _sample(told)
    assignment, reach = Assignment(**told["assignment"]), Reach(**told["reach"])
    with working_as(assignment):
        return _load(assignment, reach)


def _load(assignment: Assignment, reach: Reach) -> int:
    with PatientLedger(assignment.workload) as ledger:  # we may be started again while it is away
        generation = ledger.ask(
            lambda connection: generation_of(connection, assignment.workload, assignment.generation)
        )
    pulse = pulse_for(assignment, generation)
    threading.Thread(target=_stop_with_parent, args=[pulse], daemon=True).start()
    try:
        _say({"begun": os.getpid()})
        work(assignment, reach=reach, pulse=pulse, tell=lambda done: _say({"loaded": asdict(done)}))
    except Stopped as stopped:
        _say({"stopped": stopped.what})
        return 0
    except QafilaError as error:
        _say({"error": _told(error)})
        return 1
    _say({"done": True})
    return 0


def _sample(told: dict[str, Any]) -> int:
    """Look at the source for a plan; the caller stays small, since the model is loaded here."""
    wanted = told["sample"]
    ranges = [KeyRange(**r) for r in wanted["ranges"]]
    generation = Generation(
        **{**wanted["generation"], "phase_since": datetime.now(UTC)}  # it plays no part here
    )
    try:
        with working_on("plan", workload=generation.workload, generation=generation.number):
            with open_ledger() as ledger:
                workload, _ = read_workload(ledger, generation.workload)
            sample, rate = take_sample(workload, generation, Reach(**told["reach"]), ranges)
        _say({"sampled": as_told(sample, rate)})
    except (psycopg.Error, QafilaError) as error:
        if is_away(error):
            _say({"away": first_line(error)})
        elif isinstance(error, QafilaError):
            _say({"error": _told(error)})
        else:
            raise
        return 1
    return 0


def _told(error: QafilaError) -> dict[str, str]:
    return {
        "kind": type(error).__name__,
        "what": error.what,
        "kept": error.kept,
        "remedy": error.remedy,
    }


def _stop_with_parent(pulse: Pulse) -> None:
    while sys.stdin.readline():
        pass
    pulse.cancel("the process that started this worker is gone")
    threading.Event().wait(_GRACE_SECONDS)
    os._exit(3)


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)  # noqa: T201 - standard output is the protocol


if __name__ == "__main__":
    sys.exit(main())
