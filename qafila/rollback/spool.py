"""What was done without a ledger, kept until one answers: then it becomes evidence.

One file, ``QAFILA_HOME/spool/rollbacks.jsonl``, a line a rollback, each synced to the disk before
its rollback returns, and sealed with the key of the rollback cards: a line that somebody else wrote
or changed never becomes evidence. Taking it in is idempotent by the line's id.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg

from qafila import settings
from qafila.errors import QafilaError, Refused, Unavailable
from qafila.ledger.evidence import record_evidence
from qafila.ledger.evidence_head import keep_head
from qafila.ledger.ledger import Connection, generation_of, move_phase, open_ledger
from qafila.rollback.card import card_key, key_to_seal_with
from qafila.seal import Seal, seal, seal_problem
from qafila.sql import statement
from qafila.whole_file import write_whole
from qafila.workload.phases import Event, Phase
from qafila.workload.verdict import Verdict

KIND = "rollback"
ACCEPT_VARIABLE = "QAFILA_ACCEPT_SPOOL"


@dataclass(frozen=True)
class Spooled:
    """One rollback that no ledger knows of yet; ``body`` is what its evidence will hold.

    ``moved`` is False where the target's pointer row was not put back: the phase then stays, so
    that the next rollback finds something to do.
    """

    id: str
    workload: str
    generation: int
    fingerprint: str
    epoch: int
    at: str
    run_id: str | None
    event: str
    moved: bool
    verdict: str
    sentence: str
    body: dict[str, Any]


def spool_path() -> Path:
    """Return the file in which this machine keeps them."""
    return settings.home() / "spool" / "rollbacks.jsonl"


def spool(entry: Spooled) -> None:
    """Append one sealed line and sync it to the disk."""
    body = json.loads(json.dumps(asdict(entry)))  # as whoever reads the line will have it
    line = {"rollback": body, "seal": asdict(seal(body, key_to_seal_with()))}
    with _locked(), spool_path().open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def has_spooled() -> bool:
    """Say whether something waits for a ledger; costs one look at a file."""
    try:
        return spool_path().stat().st_size > 0
    except OSError:
        return False


def take_in_spool(ledger: Connection, tell: Callable[[str], None] = lambda line: None) -> int:
    """Make every waiting line evidence, raise the lease's epoch, move the phase; return how many.

    A line of another ledger's generation stays and is told of, and so does one whose seal does not
    hold, unless ``QAFILA_ACCEPT_SPOOL`` names its digest. Two callers wait for one another.
    """
    if not has_spooled():
        return 0
    taken, kept = 0, []
    with _locked():
        for line in spool_path().read_text().splitlines():
            try:
                entry = _opened(line)
                _take_in(ledger, entry)
            except (ValueError, TypeError, QafilaError) as error:
                what = error.what if isinstance(error, QafilaError) else str(error)
                tell(f"a rollback without a ledger stays in {spool_path()}: {what}")
                kept.append(line)
            else:
                taken += 1
                tell(f"{entry.workload}: the rollback of {entry.at} without a ledger is evidence")
        if taken:
            write_whole(spool_path(), "".join(line + "\n" for line in kept))
    if taken:
        keep_head(ledger)
    return taken


def take_in_where_possible(ledger: Connection, tell: Callable[[str], None]) -> None:
    """Take in what waits; a fault is told and never keeps a command from its own work."""
    try:
        take_in_spool(ledger, tell)
    except (OSError, psycopg.Error) as error:
        tell(f"what waits in {spool_path()} was not taken in: {error}")


def take_in_at_start(tell: Callable[[str], None]) -> None:
    """Take in what waits before a command begins; while the ledger is silent it goes on waiting."""
    if not has_spooled():
        return
    try:
        with open_ledger() as ledger:
            take_in_where_possible(ledger, tell)
    except Unavailable:
        return


def _opened(line: str) -> Spooled:
    """Return what a line says; refuse one that was not sealed with the key at hand.

    Raises:
        Refused: its seal does not hold.
    """
    content = json.loads(line)
    body = content.get("rollback", content)
    found = Seal(**content["seal"]) if "seal" in content else None
    key = card_key()
    if found is None:
        problem: str | None = "it has none; an earlier version or somebody else wrote it"
    elif key is None:
        problem = "there is no key here to check it with"
    else:
        problem = seal_problem(body, found, key)
    digest = hashlib.sha256(line.encode()).hexdigest()
    if problem is not None and os.environ.get(ACCEPT_VARIABLE) != digest:
        raise Refused(
            f"the seal of a line does not hold: {problem}. Where you know that rollback, take the "
            f"line in with {ACCEPT_VARIABLE}={digest} qafila evidence verify"
        )
    return Spooled(**body)


def _take_in(ledger: Connection, entry: Spooled) -> None:
    generation = generation_of(ledger, entry.workload, entry.generation)
    if generation.fingerprint != entry.fingerprint:
        raise QafilaError(
            f"generation {entry.generation} of {entry.workload} is another one in this ledger."
        )
    known = {"workload": entry.workload, "kind": KIND, "id": entry.id}
    fence = {"workload": entry.workload, "epoch": entry.epoch}
    with ledger.transaction():
        newest = ledger.execute(statement("ledger", "raise_epoch"), fence).fetchone() is not None
        if ledger.execute(statement("ledger", "spooled_evidence"), known).fetchone() is None:
            record_evidence(
                ledger,
                KIND,
                entry.sentence,
                workload=entry.workload,
                generation=entry.generation,
                verdict=Verdict(entry.verdict),
                body={**entry.body, "spool_id": entry.id, "done_at": entry.at},
                run_id=entry.run_id,
            )
        if newest and entry.moved and generation.phase in (Phase.CANARY, Phase.PROMOTED):
            onward = Event(entry.event) if generation.phase == Phase.CANARY else Event.ROLLBACK
            move_phase(ledger, generation, onward)


@contextmanager
def _locked() -> Iterator[None]:
    path = spool_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
