"""Watch the leases: when a holder of weights dies, the baseline gets all traffic back.

The ledger decides, not the state of any run: a process that was killed cannot say so. While the
ledger itself is silent, the rollback cards of this machine decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg

from qafila import settings
from qafila.errors import QafilaError, Unavailable
from qafila.ledger.connections import open_postgres
from qafila.ledger.leases import LeaseRow, held_leases, lapsed_leases, release_lease
from qafila.ledger.ledger import Connection, open_ledger, read_workload
from qafila.ledger.watchdog_mark import mark_watchdog
from qafila.rollback.agreement import compare, restore
from qafila.rollback.card import Card, read_card
from qafila.rollback.rollback import RolledBack, generations_on_the_road, roll_back
from qafila.rollback.rollback_by_card import give_promoted_its_weight, roll_back_by_card
from qafila.rollback.spool import take_in_where_possible
from qafila.routers.envoy.log_rotation import tend_log
from qafila.routers.highest_weight import read_highest_weight
from qafila.routers.lookup import router_from, router_of
from qafila.stores.pointer_row import read_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.phases import Event, Phase

POLL_S = 0.5
LEDGER_DOWN_SECONDS = 10.0  # a living controller has lost its lease and gone back by then
_MARK_S = 5.0
_TEND_S = 10.0  # between two looks at the size of the stack's access log
_WATCHED_S = 2.0  # two beats: by then a living holder has been seen to live

Tell = Callable[[str], None]


def take_back_lapsed(ledger: Connection, tell: Tell) -> list[RolledBack]:
    """Roll back every workload whose lease lapsed by the database's clock; say one line for each.

    A promoted generation was proven and serves on; its router gets back its weight. A failure for
    one workload is told and does not keep the others waiting.
    """
    return _take_all_back(ledger, lapsed_leases(ledger), tell)


class Watch:
    """What a watchdog remembers between two looks; ``clock`` gives seconds that never jump.

    A lease has lapsed when its heartbeat has not changed for its time to live, or when the
    database's clock says so and it did not change for two beats. So a database whose clock jumps
    back hides no dead holder, and one whose clock jumps forward ends no living rollout.
    """

    def __init__(
        self,
        tell: Tell,
        *,
        ledger_down_s: float = LEDGER_DOWN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._ledger_down_s = ledger_down_s
        self._clock = clock
        self._beats: dict[str, tuple[int, str | None, float]] = {}
        self._silent_since: float | None = None
        self._told: set[str] = set()

    def look(self, ledger: Connection) -> list[RolledBack]:
        """Take back whatever lapsed; while the ledger answers, it alone decides."""
        if self._silent_since is not None:
            take_in_where_possible(ledger, self._tell)
        self._silent_since = None
        self._told.clear()
        now, lapsed, held = self._clock(), [], {}
        for lease in held_leases(ledger):
            known = self._beats.get(lease.workload)
            if known is None or known[:2] != (lease.epoch, lease.beat):
                known = (lease.epoch, lease.beat, now)
            held[lease.workload] = known
            still_s = now - known[2]
            watched_s = min(_WATCHED_S, lease.ttl_seconds)
            if still_s >= lease.ttl_seconds or (lease.lapsed and still_s >= watched_s):
                lapsed.append(lease)
        self._beats = held
        return _take_all_back(ledger, lapsed, self._tell)

    def look_without_ledger(self, why: str) -> list[RolledBack]:
        """Take back by its card what nobody can lead any more, once the silence lasts long enough.

        That is a candidate that its target's pointer row does not call serving; where the target
        is silent too, one with part of the traffic, or whose lease was held when the ledger was
        heard last. What is promoted stays, and gets back the weight that a drill took from it.
        """
        now = self._clock()
        if self._silent_since is None:
            self._silent_since = now
            self._once(f"watchdog: the ledger does not answer ({why}); trying again.")
        if now - self._silent_since < self._ledger_down_s:
            return []
        done: list[RolledBack] = []
        for path in sorted((settings.home() / "cards").glob("*.json")):
            try:
                done += self._by_card(path, now - self._silent_since)
            except (QafilaError, OSError) as error:
                what = error.what if isinstance(error, QafilaError) else str(error)
                self._once(f"{path.stem}: {what}")
        return done

    def _by_card(self, path: Path, silent_s: float) -> Iterable[RolledBack]:
        card = read_card(path)
        name = card.workload.name
        router = router_from(card.workload, card.find)
        try:
            state = read_highest_weight(router)
            if not (state.candidate_percent or state.twin_percent or state.mirror_percent):
                return []
            serves = _serves(card)
            why = f"the ledger gives no answer for {silent_s:.0f} s, and nobody can lead it"
            if serves and state.candidate_percent < 100:
                self._tell(give_promoted_its_weight(card, router, why))
                return []
        finally:
            router.close()
        held = name in self._beats
        if serves or (serves is None and state.candidate_percent == 100 and not held):
            self._once(f"{name}: promoted, or it cannot be known; it stays without the ledger.")
            return []
        self._tell(f"{name}: {why}")
        outcome = roll_back_by_card(path, why, event=Event.ABORT)
        self._tell(f"{name}: {outcome.verdict}: {outcome.sentence}")
        return [outcome]

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)


def watch(
    tell: Tell,
    *,
    seconds: float | None = None,
    once: bool = False,
    ledger_down_s: float = LEDGER_DOWN_SECONDS,
) -> list[RolledBack]:
    """Look twice a second for so many seconds (None: for ever); return what was taken back.

    Survives a restart of the ledger, and says a line when something changes. With ``once`` one
    look, by the database's clock alone.

    Raises:
        Unavailable: with ``once``, the ledger does not answer.
    """
    if once:
        with open_ledger() as ledger:
            mark_watchdog(ledger)
            take_in_where_possible(ledger, tell)
            return take_back_lapsed(ledger, tell)
    watching = Watch(tell, ledger_down_s=ledger_down_s)
    done: list[RolledBack] = []
    connected: Connection | None = None
    begun, marked, tended = time.monotonic(), float("-inf"), float("-inf")
    while seconds is None or time.monotonic() - begun < seconds:
        if time.monotonic() - tended >= _TEND_S:
            tend_log()
            tended = time.monotonic()
        try:
            if connected is None:
                connected = _open()
                tell("watchdog: the ledger answers; watching.")
            if time.monotonic() - marked >= _MARK_S:
                mark_watchdog(connected)
                marked = time.monotonic()
            done += watching.look(connected)
        except (psycopg.Error, Unavailable) as error:
            if connected is not None:
                connected.close()
            connected = None
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            done += watching.look_without_ledger(first)
        time.sleep(POLL_S)
    if connected is not None:
        connected.close()
    return done


def _open() -> Connection:
    """Open the ledger so that one that hangs counts as silent."""
    ledger = open_ledger()
    ledger.execute("SELECT set_config('statement_timeout', '5s', false)")
    take_in_where_possible(ledger, lambda line: None)
    return ledger


def _take_all_back(ledger: Connection, lapsed: Iterable[LeaseRow], tell: Tell) -> list[RolledBack]:
    done = []
    for lease in lapsed:
        try:
            outcome = _take_back(ledger, lease, tell)
        except QafilaError as error:
            tell(f"{lease.workload}: {error.what}")
            continue
        if outcome is not None:
            done.append(outcome)
    return done


def _take_back(ledger: Connection, lease: LeaseRow, tell: Tell) -> RolledBack | None:
    """Roll back; None where a promoted generation serves: that was proven, and it stays."""
    silence = f"{lease.age_seconds:.1f} s" if lease.age_seconds is not None else "some time"
    why = f"lease lapsed: {lease.holder} (epoch {lease.epoch}) gave no sign of life for {silence}"
    tell(f"{lease.workload}: {why}")
    road = generations_on_the_road(ledger, lease.workload)
    if road and road[0].phase == Phase.PROMOTED:
        release_lease(ledger, lease.workload, lease.epoch)
        _restore_if_moved(ledger, lease.workload, why, tell)
        return None
    outcome = roll_back(ledger, lease.workload, why, holder="watchdog", event=Event.ABORT)
    release_lease(ledger, lease.workload, lease.epoch)
    tell(f"{lease.workload}: {outcome.verdict}: {outcome.sentence}")
    return outcome


def _restore_if_moved(ledger: Connection, workload: str, why: str, tell: Tell) -> None:
    spec, _ = read_workload(ledger, workload)
    router = router_of(ledger, spec)
    try:
        if compare(ledger, spec, router).agrees:
            tell(f"{workload}: what is promoted serves on; the lease is free.")
        else:
            restore(ledger, spec, router, why)
            tell(f"{workload}: what is promoted has its weight again; the lease is free.")
    finally:
        router.close()


def _serves(card: Card) -> bool | None:
    """Say whether the pointer row calls the card's generation serving; None: nobody can say."""
    target = card.workload.corpus.target
    if not isinstance(target, PgvectorTarget):
        return None
    try:
        with open_postgres(card.find(target.block), target.block) as database:
            now = read_alias(database, card.workload.name)
    except (QafilaError, psycopg.Error):
        return None
    return now is not None and now.generation == card.generation
