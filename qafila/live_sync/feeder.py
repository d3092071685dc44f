"""Feed the generations of a workload that are alive: all once, or for as long as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach, reach_of
from qafila.errors import QafilaError, Refused, StaleEpoch, Unavailable
from qafila.ledger.ledger import Connection, generation_of, read_workload
from qafila.live_sync.apply import Applied, Applier, open_applier
from qafila.live_sync.capture import Capture, recorded, require_installed
from qafila.live_sync.feeds import (
    FedElsewhere,
    capture_positions,
    meaning_at,
    never_captured,
    note_pruned,
)
from qafila.live_sync.outbox import Life, prune_before
from qafila.live_sync.outbox_reader import Lag, Outbox
from qafila.workload.model import Workload

POLL_SECONDS = 0.2
_LOOK_SECONDS = 2.0  # between looks for generations that begin or end, and for the capture
_PRUNE_SECONDS = 5.0
_AWAY_SECONDS = 1.0  # before a server that went away is asked again
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, Unavailable)
TAKEN = (FedElsewhere, StaleEpoch)


@dataclass(frozen=True)
class Fed:
    """What one generation got, how far behind it is, and what keeps it from getting more.

    ``note`` is for the operator to know of although it is fed.
    """

    generation: int
    applied: Applied = field(default_factory=Applied)
    lag: Lag | None = None
    problem: str = ""
    elsewhere: bool = False
    note: str = ""


def feed_all(
    ledger: Connection,
    workload: Workload,
    *,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    tell: Callable[[list[Fed]], None] = lambda _: None,
    tell_seconds: float = 5.0,
    run_id: str | None = None,
) -> list[Fed]:
    """Apply what is committed by now to every generation that is alive; prune the outbox.

    What keeps one of them from being fed is in its ``problem``; the others are fed all the same.
    ``tell`` hears of it now and then, between pages.
    """
    with _feeding(ledger, workload, reach, wait, run_id, tell, tell_seconds) as feeding:
        return feeding.round()


def follow(
    ledger: Connection,
    workload: Workload,
    *,
    seconds: float,
    every: float = POLL_SECONDS,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    tell: Callable[[list[Fed]], None] = lambda _: None,
    tell_seconds: float = 5.0,
    run_id: str | None = None,
) -> list[Fed]:
    """Feed every living generation for so many seconds; ``tell`` hears of it now and then.

    A round begins ``every`` so many seconds, or when the one before it ends, if that took longer:
    a change waits as long at most, and many that come in meanwhile share a transaction. Servers
    that go away are waited for. Return the totals and the last lag of each generation.
    """
    ends = time.monotonic() + seconds
    with _feeding(ledger, workload, reach, wait, run_id, tell, tell_seconds) as feeding:
        while True:
            begun = time.monotonic()
            totals = feeding.round()
            now = time.monotonic()
            if now >= ends:
                return totals
            wait(min(max(0.0, begun + every - now), ends - now))


@contextmanager
def _feeding(
    ledger: Connection,
    workload: Workload,
    reach: Reach | None,
    wait: Callable[[float], None],
    run_id: str | None,
    tell: Callable[[list[Fed]], None],
    tell_seconds: float,
) -> Iterator[_Feeding]:
    capture, _ = require_recorded(ledger, workload.name)
    reach = reach or reach_of(ledger, workload)
    feeding = _Feeding(ledger, workload, capture, reach, wait, run_id, tell, tell_seconds)
    try:
        yield feeding
    finally:
        feeding.close()


@dataclass
class _Feeding:
    """Appliers that stay open between rounds, one for each generation that is fed."""

    ledger: Connection
    workload: Workload
    capture: Capture
    reach: Reach
    wait: Callable[[float], None]
    run_id: str | None
    tell: Callable[[list[Fed]], None]
    tell_seconds: float
    _open: dict[int, tuple[ExitStack, Applier]] = field(default_factory=dict)
    _totals: dict[int, Fed] = field(default_factory=dict)
    _not_before: dict[int, float] = field(default_factory=dict)
    _looked: float = float("-inf")
    _pruned: float = float("-inf")
    _told: float = float("-inf")

    def round(self) -> list[Fed]:
        """Feed everybody once; return the totals."""
        if time.monotonic() >= self._looked + _LOOK_SECONDS:
            self._look()
        for number in sorted(self._totals):
            self._feed(number)
        if time.monotonic() >= self._pruned + _PRUNE_SECONDS:
            self._prune()
        self._tell()
        return self._all()

    def _all(self) -> list[Fed]:
        return [self._totals[n] for n in sorted(self._totals)]

    def _tell(self) -> None:
        if self._tell_is_due():
            self.tell(self._all())
            self._told = time.monotonic()

    def _tell_is_due(self) -> bool:
        return time.monotonic() >= self._told + self.tell_seconds

    def close(self) -> None:
        """Close every applier, each giving its feed back."""
        for number in list(self._open):
            self._shut(number)

    def _look(self) -> None:
        """See which generations begin or end, and whether the capture still holds."""
        assert self.reach.source is not None
        try:
            with connect_postgres(**self.reach.source) as database:
                require_installed(database, self.capture)
        except _LOST:
            return  # each applier will say so
        owed, feeds = capture_positions(self.ledger, self.workload.name)
        fed = {o.number for o in owed if o.life is Life.FED}
        for number in [n for n in self._totals if n not in fed]:
            self._shut(number)
            del self._totals[number]
        for number in fed - self._totals.keys():
            self._totals[number] = Fed(number)
        for number in fed - feeds.keys():
            generation = generation_of(self.ledger, self.workload.name, number)
            self._note(number, never_captured(generation).what)
        self._looked = time.monotonic()

    def _feed(self, number: int) -> None:
        if time.monotonic() < self._not_before.get(number, 0.0):
            return
        try:
            applier = self._applier(number)
            before = self._totals[number]
            note = applier.note or before.note  # it stays true when the applier is opened anew

            def page(done: Applied) -> None:
                lag = applier.lag() if self._tell_is_due() else before.lag
                self._totals[number] = Fed(number, before.applied + done, lag, note=note)
                self._tell()

            done = applier.step(page)
            self._totals[number] = Fed(number, before.applied + done, applier.lag(), note=note)
        except TAKEN as error:
            self._shut(number)
            self._totals[number] = replace(
                self._totals[number], problem=error.what, elsewhere=True, lag=None
            )
            self._not_before[number] = time.monotonic() + _AWAY_SECONDS
        except _LOST as error:
            self._shut(number)
            self._note(number, f"a server is away: {str(error).strip().splitlines()[0]}")
            self._not_before[number] = time.monotonic() + _AWAY_SECONDS
        except QafilaError as error:
            self._shut(number)
            self._note(number, error.what)
            self._not_before[number] = time.monotonic() + 10 * _AWAY_SECONDS

    def _note(self, number: int, problem: str) -> None:
        self._totals[number] = replace(self._totals[number], problem=problem, elsewhere=False)

    def _applier(self, number: int) -> Applier:
        if number not in self._open:
            generation = generation_of(self.ledger, self.workload.name, number)
            meaning = meaning_at(self.ledger, generation)
            now, _ = read_workload(self.ledger, self.workload.name)
            reach = self.reach if meaning == now else reach_of(self.ledger, meaning)
            _, pruned_before = require_recorded(self.ledger, self.workload.name)
            stack = ExitStack()
            applier = stack.enter_context(
                open_applier(
                    self.ledger,
                    self.capture,
                    meaning,
                    generation,
                    pruned_before=pruned_before,
                    reach=reach,
                    wait=self.wait,
                    run_id=self.run_id,
                )
            )
            self._open[number] = (stack, applier)
        return self._open[number][1]

    def _shut(self, number: int) -> None:
        if number in self._open:
            stack, _ = self._open.pop(number)
            try:
                stack.close()
            except (*_LOST, QafilaError):
                return  # the lease lapses by itself

    def _prune(self) -> None:
        assert self.reach.source is not None
        try:
            with connect_postgres(**self.reach.source) as database:
                prune(self.ledger, self.workload.name, Outbox(database, self.capture), self.capture)
        except _LOST:
            return
        self._pruned = time.monotonic()


def prune(ledger: Connection, workload: str, outbox: Outbox, capture: Capture) -> int:
    """Delete what every generation that has not ended has applied; return how many changes.

    Nothing goes while a generation's numbers are of another line than the server's are now.
    """
    owed, feeds = capture_positions(ledger, workload)
    ended = {one.number for one in owed if one.life is Life.FORGOTTEN}
    positions = [feed.applied for number, feed in feeds.items() if number not in ended]
    _, line = outbox.moment()
    before = prune_before(positions)
    if before is None or any(position.line != line for position in positions):
        return 0
    note_pruned(ledger, capture, before)
    return outbox.prune(before)


def require_recorded(ledger: Connection, workload: str) -> tuple[Capture, int]:
    """Return a workload's capture, and before which transaction it was pruned.

    Raises:
        Refused: it has none.
    """
    known = recorded(ledger, workload)
    if known is None:
        raise Refused(
            f"live sync of {workload} is not installed.",
            remedy=f"set corpus.live_sync to true, apply the file, then: qafila live-sync install "
            f"{workload}",
        )
    return known


def problems_of(fed: list[Fed]) -> Mapping[int, str]:
    """Return what keeps generations from being fed, but for those that others feed."""
    return {one.generation: one.problem for one in fed if one.problem and not one.elsewhere}
