"""Feed the generations of a workload: one to a moment, all once, or for as long as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from qafila.connecting import connect_postgres
from qafila.core.outbox import Life, Snapshot, prune_before
from qafila.core.workload import Workload
from qafila.errors import QafilaError, Refused, StaleEpoch, Unavailable
from tasks.ledger import Connection, Generation, generation_of, read_workload
from tasks.live_sync.applying import Applied, Applier, open_applier
from tasks.live_sync.capture import Capture, recorded, require_installed
from tasks.live_sync.feeds import (
    FedElsewhere,
    capture_positions,
    list_feeds,
    meaning_at,
    never_captured,
    note_pruned,
)
from tasks.live_sync.reading import Lag, Outbox
from tasks.opening import Reach, reach_of

POLL_SECONDS = 0.2
_LOOK_SECONDS = 2.0  # between looks for generations that begin or end, and for the capture
_PRUNE_SECONDS = 5.0
_AWAY_SECONDS = 1.0  # before a server that went away is asked again
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, Unavailable)
_TAKEN = (FedElsewhere, StaleEpoch)


@dataclass(frozen=True)
class Fed:
    """What one generation got, how far behind it is, and what keeps it from getting more."""

    generation: int
    applied: Applied = field(default_factory=Applied)
    lag: Lag | None = None
    problem: str = ""
    elsewhere: bool = False


def drain(
    ledger: Connection,
    workload: Workload,
    generation: Generation,
    *,
    until: Snapshot | None = None,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    patience_seconds: float = 600.0,
    run_id: str | None = None,
) -> Applied:
    """Return when everything committed before the call (or shown by ``until``) is applied.

    Applies it itself; when another process feeds the generation, waits until that one has.

    Raises:
        Refused: the capture is broken, or the generation is not loaded or was never captured.
        Unavailable: the other process did not get there in time.
    """
    capture, pruned_before = require_recorded(ledger, workload.name)
    meaning = meaning_at(ledger, generation)
    reach = reach or reach_of(ledger, meaning)
    assert reach.source is not None
    give_up = time.monotonic() + patience_seconds
    with connect_postgres(**reach.source) as database:
        require_installed(database, capture)
        outbox = Outbox(database, capture)
        until = until or outbox.moment()[0]
        while True:
            try:
                with open_applier(
                    ledger, capture, meaning, generation,
                    pruned_before=pruned_before, reach=reach, wait=wait, run_id=run_id,
                ) as applier:  # fmt: skip
                    return applier.step()
            except _TAKEN as error:
                feed = list_feeds(ledger, workload.name).get(generation.number)
                if feed is None:
                    raise never_captured(generation) from error
                if not outbox.lag(feed.applied, until).changes:
                    return Applied()
                if time.monotonic() > give_up:
                    raise Unavailable(
                        f"another process feeds generation {generation.number} of {workload.name} "
                        f"and has not caught up in {patience_seconds:.0f} s.",
                        kept="what it has applied; it goes on.",
                        remedy=f"qafila live-sync status {workload.name}",
                    ) from error
                wait(POLL_SECONDS)


def feed_all(
    ledger: Connection,
    workload: Workload,
    *,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    run_id: str | None = None,
) -> list[Fed]:
    """Apply what is committed by now to every generation that is alive; prune the outbox.

    What keeps one of them from being fed is in its ``problem``; the others are fed all the same.
    """
    with _feeding(ledger, workload, reach, wait, run_id) as feeding:
        return feeding.round()


def follow(
    ledger: Connection,
    workload: Workload,
    *,
    seconds: float,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    tell: Callable[[list[Fed]], None] = lambda _: None,
    tell_seconds: float = 5.0,
    run_id: str | None = None,
) -> list[Fed]:
    """Feed every living generation for so many seconds; ``tell`` hears of it now and then.

    Servers that go away are waited for. Return the totals and the last lag of each generation.
    """
    ends, next_tell = time.monotonic() + seconds, 0.0
    with _feeding(ledger, workload, reach, wait, run_id) as feeding:
        while True:
            before = feeding.changes
            totals = feeding.round()
            now = time.monotonic()
            if now >= next_tell:
                tell(totals)
                next_tell = now + tell_seconds
            if now >= ends:
                return totals
            if feeding.changes == before:
                wait(min(POLL_SECONDS, max(0.0, ends - now)))


@contextmanager
def _feeding(
    ledger: Connection,
    workload: Workload,
    reach: Reach | None,
    wait: Callable[[float], None],
    run_id: str | None,
) -> Iterator[_Feeding]:
    capture, _ = require_recorded(ledger, workload.name)
    reach = reach or reach_of(ledger, workload)
    feeding = _Feeding(ledger, workload, capture, reach, wait, run_id)
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
    changes: int = 0
    _open: dict[int, tuple[ExitStack, Applier]] = field(default_factory=dict)
    _totals: dict[int, Fed] = field(default_factory=dict)
    _not_before: dict[int, float] = field(default_factory=dict)
    _looked: float = float("-inf")
    _pruned: float = float("-inf")

    def round(self) -> list[Fed]:
        """Feed everybody once; return the totals."""
        if time.monotonic() >= self._looked + _LOOK_SECONDS:
            self._look()
        for number in sorted(self._totals):
            self._feed(number)
        if time.monotonic() >= self._pruned + _PRUNE_SECONDS:
            self._prune()
        return [self._totals[n] for n in sorted(self._totals)]

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
            done = applier.step()
            self.changes += done.changes
            before = self._totals[number]
            self._totals[number] = Fed(number, before.applied + done, applier.lag(), applier.note)
        except _TAKEN as error:
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
                    self.ledger, self.capture, meaning, generation, pruned_before=pruned_before,
                    reach=reach, wait=self.wait, run_id=self.run_id,
                )
            )  # fmt: skip
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
