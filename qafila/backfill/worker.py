"""One worker: claim, load, claim again, until nothing is left to load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import psycopg

from qafila.backfill.claims import (
    Shard,
    claim_shard,
    left_to_load,
    let_go_of_the_dead,
    release_shard,
)
from qafila.backfill.copy import Copier, open_copier
from qafila.backfill.generations import meaning_of
from qafila.backfill.load import Loaded, Vectorise, load_claimed
from qafila.backfill.patience import AWAY, PAUSE_SECONDS, Outage, PatientLedger, first_line, is_away
from qafila.backfill.pulse import Pulse, Stopped
from qafila.backfill.vectors import open_vectorise
from qafila.endpoints import Reach, open_source, open_store, reach_of
from qafila.errors import BackfillHalted, QafilaError, StaleEpoch
from qafila.ledger.ledger import Connection, Generation, generation_of, get_plan, open_ledger
from qafila.session_name import working_on
from qafila.sources.port import Source, require_shape
from qafila.stores.port import VectorStore
from qafila.workload.model import Workload

MOST_STUMBLES = 5  # of one shard: a deadlock passes sooner, a statement that times out does not
_IDLE_SECONDS = 0.2  # between looks for a shard whose worker may have died


@dataclass(frozen=True)
class Assignment:
    """What a worker is to load.

    ``led``: it stops when nobody coordinates the load any more; with an ``epoch``, also when
    somebody else does. ``number`` is what the worker is called in a database's list of sessions.
    """

    workload: str
    generation: int
    batch_rows: int
    run_id: str | None = None
    led: bool = True
    epoch: int | None = None
    number: int | None = None


@dataclass
class Desk:
    """What a worker has open; everything is opened anew after a server was away."""

    ledger: Connection
    source: Source
    store: VectorStore
    vectorise: Vectorise
    shape: str | None
    copier: Copier | None = None
    waits_for: Callable[[], str] = lambda: ""


@dataclass
class _Shift:
    """What a worker did so far, what it could not load, and what it had in hand when cut off."""

    loaded: list[Loaded] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    in_hand: Shard | None = None
    stumbled: Counter[int] = field(default_factory=Counter)

    def stumbles_too_often(self, shard: Shard) -> bool:
        """Count one more time that a server answered a shard's rows with a refusal."""
        self.stumbled[shard.number] += 1
        return self.stumbled[shard.number] > MOST_STUMBLES


def work(
    assignment: Assignment,
    *,
    reach: Reach | None = None,
    tell: Callable[[Loaded], None] = lambda _: None,
    pulse: Pulse | None = None,
) -> list[Loaded]:
    """Load shards until none is left; ``tell`` hears of each one that is loaded.

    Servers that go away are waited for; a shard that fails for its content is given back, and the
    others are loaded all the same.

    Raises:
        Stopped: the load was cancelled; the shard is given back.
        BackfillHalted: some shards failed; names them with their reasons.
        Unavailable: a server was away for longer than two minutes.
    """
    with working_as(assignment):
        return _work(assignment, reach, tell, pulse)


def working_as(assignment: Assignment) -> AbstractContextManager[None]:
    """Name the sessions that are opened in the block after this worker."""
    return working_on(
        "load",
        workload=assignment.workload,
        generation=assignment.generation,
        worker=assignment.number,
    )


def _work(
    assignment: Assignment,
    reach: Reach | None,
    tell: Callable[[Loaded], None],
    pulse: Pulse | None,
) -> list[Loaded]:
    generation, workload, reach = _read(assignment, reach)
    shift, outage = _Shift(), Outage(assignment.workload)
    with pulse or pulse_for(assignment, generation) as beating, _empty_handed(generation, shift):
        while True:
            try:
                with open_desk(workload, generation, reach, assignment, beating) as desk:
                    outage.over()
                    _load_all(desk, workload, generation, assignment, beating, shift, tell)
                    break
            except AWAY as error:
                outage.bear(error)
                beating.wait(PAUSE_SECONDS)
    if shift.failed:
        told = "; ".join(f"shard {n}: {why}" for n, why in sorted(shift.failed.items()))
        raise BackfillHalted(
            f"{len(shift.failed)} shards could not be loaded. {told}",
            kept="all other shards and every checkpoint.",
            remedy=f"mend the cause, then: qafila run embedding-backfill {workload.name}",
        )
    return shift.loaded


def pulse_for(assignment: Assignment, generation: Generation) -> Pulse:
    """Return the pulse of a worker with this assignment, not begun yet."""
    return Pulse(generation, led=assignment.led, epoch=assignment.epoch)


def _read(assignment: Assignment, reach: Reach | None) -> tuple[Generation, Workload, Reach]:
    """Read what the work is; connections are looked up only where nobody told them.

    A worker process is told them, so it neither needs Prefect's server nor pays for its import: a
    second of processor time and 50 MB.
    """

    def read(ledger: Connection) -> tuple[Generation, Workload, Reach]:
        generation = generation_of(ledger, assignment.workload, assignment.generation)
        workload = meaning_of(ledger, generation)
        return generation, workload, reach or reach_of(ledger, workload)

    with PatientLedger(assignment.workload) as ledger:
        return ledger.ask(read)


@contextmanager
def open_desk(
    workload: Workload,
    generation: Generation,
    reach: Reach,
    assignment: Assignment,
    pulse: Pulse,
) -> Iterator[Desk]:
    """Open all that a worker needs."""
    with (
        open_ledger() as ledger,
        open_source(ledger, workload, reach) as source,
        open_store(ledger, workload, generation, reach) as store,
        open_vectorise(
            workload, generation, reach, wait=pulse.wait, run_id=assignment.run_id
        ) as vectorise,
    ):
        plan = get_plan(ledger, generation, "backfill") or {}
        with open_copier(workload, reach, store) as copier:
            yield Desk(
                ledger, source, store, vectorise, plan.get("shape"), copier, vectorise.waits_for
            )


def _load_all(
    desk: Desk,
    workload: Workload,
    generation: Generation,
    assignment: Assignment,
    pulse: Pulse,
    shift: _Shift,
    tell: Callable[[Loaded], None],
) -> None:
    claim = partial(claim_shard, desk.ledger, generation, run_id=assignment.run_id)
    _give_back(desk.ledger, generation, shift)
    while True:
        pulse.check()
        shard = claim(except_for=list(shift.failed))
        if shard is None:
            if left_to_load(desk.ledger, generation) <= len(shift.failed):
                return
            if not let_go_of_the_dead(desk.ledger, generation):
                pulse.wait(_IDLE_SECONDS)
            continue
        try:
            done = load_one(desk, workload, generation, shard, assignment.batch_rows, pulse)
        except StaleEpoch:
            continue  # somebody else loads it now
        except AWAY as error:
            if not is_away(error) and shift.stumbles_too_often(shard):
                shift.failed[shard.number] = first_line(error)
                continue
            shift.in_hand = shard
            raise
        except QafilaError:
            raise
        except Exception as error:  # noqa: BLE001 - one bad shard does not keep the others waiting
            shift.failed[shard.number] = first_line(error)
            continue
        shift.loaded.append(done)
        tell(done)


def _give_back(ledger: Connection, generation: Generation, shift: _Shift) -> None:
    """Release what could not be released while the ledger was away."""
    if shift.in_hand is not None:
        release_shard(ledger, generation, shift.in_hand)
        shift.in_hand = None


@contextmanager
def _empty_handed(generation: Generation, shift: _Shift) -> Iterator[None]:
    """Leave the block with nothing in hand, or else let the claim lapse by itself."""
    try:
        yield
    finally:
        if shift.in_hand is not None:
            with suppress(*AWAY), open_ledger() as ledger:
                _give_back(ledger, generation, shift)


def load_one(
    desk: Desk,
    workload: Workload,
    generation: Generation,
    shard: Shard,
    batch_rows: int,
    pulse: Pulse,
) -> Loaded:
    """Load one claimed shard; give it back when anything stops it, with the reason."""
    pulse.watch(shard, desk.waits_for)
    try:
        if desk.shape is not None:
            require_shape(desk.source, desk.shape)
        if desk.copier is not None:
            return desk.copier.load(
                desk.ledger,
                generation,
                shard,
                desk.store,
                batch_rows=batch_rows,
                check=pulse.check,
            )
        return load_claimed(
            desk.ledger,
            workload,
            generation,
            shard,
            desk.source,
            desk.store,
            desk.vectorise,
            batch_rows=batch_rows,
            check=pulse.check,
        )
    except BaseException as error:
        told = None if isinstance(error, Stopped | StaleEpoch) else first_line(error)
        with suppress(psycopg.Error):
            release_shard(desk.ledger, generation, shard, told)
        raise
    finally:
        pulse.watch(None)
