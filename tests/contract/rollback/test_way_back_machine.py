"""Whatever controllers, watchdogs, operators, cards and crashes do, in whatever order: a way back
that was proven holds until somebody newer writes, and epochs never fall."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qafila.errors import Refused, StaleEpoch
from qafila.rollback import traffic as descent
from qafila.rollback.rollback_by_card import STEP
from qafila.rollback.traffic import Descent, descend
from qafila.routers.memory import MemoryRouter
from qafila.routers.port import Abilities, Request
from qafila.workload.verdict import Verdict

NAMES = st.sampled_from(["a", "b", "c"])
WEIGHTS = st.sampled_from([1, 25, 50, 100])


class Busy(MemoryRouter):
    """Users ask whenever somebody looks; ``meanwhile`` happens once, in the midst of a descent."""

    meanwhile: Callable[[], object] | None = None

    def acknowledged(self, version: str, *, timeout_s: float = 5.0) -> float:
        waiting, self.meanwhile = self.meanwhile, None
        if waiting is not None:
            waiting()
        return super().acknowledged(version, timeout_s=timeout_s)

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        for n in range(20):
            self.send(f"user-{n}")
        return super().observed(cursor)


class Lease:
    """The ledger's row, as its statements move it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.holder: str | None = None
        self.lapsed = False

    def take(self, holder: str, *, above: int, force: bool = False) -> int:
        if self.holder is not None and not self.lapsed and not force:
            raise Refused(f"{self.holder} holds it.")
        self.epoch = max(self.epoch, above) + 1
        self.holder, self.lapsed = holder, False
        return self.epoch

    def release(self, epoch: int) -> None:
        if self.epoch == epoch:
            self.holder = None

    def raise_to(self, epoch: int) -> None:
        if self.epoch <= epoch:
            self.epoch, self.holder = epoch, None


@dataclass
class Controller:
    """One that leads a canary; ``seen`` is the router's epoch as it read it before its lease."""

    seen: int
    epoch: int | None = None


class WayBack(RuleBasedStateMachine):
    """Each rule is one step of one actor; two steps of one actor may have anything between them."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.lease = Busy(), Lease()
        self.controllers: dict[str, Controller] = {}
        self.card: int | None = None
        self.spooled: list[int] = []
        self.highest = 0
        self.proven: int | None = None

    # -- controllers ---------------------------------------------------------------------------

    @rule(name=NAMES)
    def a_controller_reads_the_router(self, name: str) -> None:
        self.controllers[name] = Controller(self.router.read().epoch)

    @rule(name=NAMES)
    def it_takes_the_lease_and_writes_its_card(self, name: str) -> None:
        found = self.controllers.get(name)
        if found is None or found.epoch is not None:
            return
        try:
            found.epoch = self.lease.take(name, above=found.seen)
        except Refused:
            return
        self.card = found.epoch

    @rule(name=NAMES, weight=WEIGHTS)
    def it_writes_a_weight(self, name: str, weight: int) -> None:
        """Also one that was paused for long, and does not know yet that its lease was taken."""
        found = self.controllers.get(name)
        if found is None or found.epoch is None:
            return
        try:
            self.router.write(weight, epoch=found.epoch, why=name)
        except StaleEpoch:
            del self.controllers[name]

    @rule(name=NAMES)
    def it_is_killed(self, name: str) -> None:
        self.controllers.pop(name, None)
        if self.lease.holder == name:
            self.lease.lapsed = True

    @rule()
    def its_lease_lapses_while_it_hangs(self) -> None:
        self.lease.lapsed = self.lease.holder is not None

    # -- the ways back -------------------------------------------------------------------------

    def go_down(self, epoch: int, meanwhile: str | None, weight: int) -> None:
        if meanwhile is not None:
            self.router.meanwhile = lambda: self.it_writes_a_weight(meanwhile, weight)
        try:
            down: Descent = descend(
                self.router,
                "w",
                epoch=epoch,
                why="back",
                put_back=lambda: None,
                beside=False,
                proof_seconds=0.0,
            )
        except StaleEpoch:
            return
        finally:
            self.router.meanwhile = None
        if down.verdict is Verdict.PASS:
            assert down.canary_requests_after == 0
            self.proven = epoch

    @rule(meanwhile=st.none() | NAMES, weight=WEIGHTS)
    def an_operator_rolls_back(self, meanwhile: str | None, weight: int) -> None:
        epoch = self.lease.take("rollback", above=self.router.read().epoch, force=True)
        self.go_down(epoch, meanwhile, weight)
        self.lease.release(epoch)

    @precondition(lambda self: self.lease.holder is not None and self.lease.lapsed)
    @rule(meanwhile=st.none() | NAMES, weight=WEIGHTS)
    def the_watchdog_rolls_back(self, meanwhile: str | None, weight: int) -> None:
        self.an_operator_rolls_back(meanwhile, weight)

    @precondition(lambda self: self.card is not None)
    @rule(meanwhile=st.none() | NAMES, weight=WEIGHTS)
    def somebody_without_a_ledger_rolls_back_by_the_card(
        self, meanwhile: str | None, weight: int
    ) -> None:
        assert self.card is not None
        epoch = max(self.card, self.router.read().epoch) + STEP
        self.go_down(epoch, meanwhile, weight)
        self.spooled.append(epoch)

    @precondition(lambda self: self.spooled)
    @rule()
    def the_ledger_takes_the_spool_in(self) -> None:
        self.lease.raise_to(self.spooled.pop(0))

    # -- what always holds ---------------------------------------------------------------------

    @invariant()
    def epochs_never_fall(self) -> None:
        now = self.router.read().epoch
        assert now >= self.highest
        self.highest = now

    @invariant()
    def what_was_proven_holds_until_somebody_newer_writes(self) -> None:
        state = self.router.read()
        if self.proven is not None and state.epoch == self.proven:
            assert state.candidate_percent == 0
            assert all(self.router.arm_of(f"user-{n}") == "baseline" for n in range(50))


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_LOG_DELAY_S", 0.0)


TestWayBack = WayBack.TestCase
TestWayBack.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Named(Busy):
    """As a record of a name server: clients keep to what they knew for its time to live."""

    def __init__(self, slowest_s: float, *, shows: bool = True) -> None:
        super().__init__()
        self._able = Abilities(
            requests=shows, slowest_s=slowest_s, blind=() if shows else ("It shows no requests.",)
        )
        self._shows = shows

    @property
    def abilities(self) -> Abilities:
        return self._able

    def observed(self, cursor: int | None) -> tuple[Sequence[Request], int]:
        return super().observed(cursor) if self._shows else ([], 0)


def down_by(router: MemoryRouter) -> Descent:
    router.write(random.choice([1, 50, 100]), epoch=1, why="up")
    return descend(
        router, "w", epoch=2, why="back", put_back=lambda: None, beside=False, proof_seconds=0.0
    )


def test_a_time_to_live_is_waited_for_and_counted() -> None:
    down = down_by(Named(0.3))
    assert down.verdict is Verdict.PASS, down.sentence
    assert down.seconds_to_zero >= 0.3
    assert down.watched_s >= 0.3
    assert "for 0.3 s" in down.sentence


def test_a_time_to_live_that_nobody_waits_for_is_said_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descent, "_rest", lambda seconds: None)
    down = down_by(Named(descent.MOST_WATCHED_S + 180))
    assert down.verdict is Verdict.INCONCLUSIVE
    assert down.seconds_to_zero >= 300
    assert "for 300 s more" in down.sentence


def test_a_router_that_shows_no_traffic_proves_nothing_by_it() -> None:
    down = down_by(Named(0.0, shows=False))
    assert down.verdict is Verdict.INCONCLUSIVE
    assert down.acknowledged_s is not None
    assert "It shows no requests." in down.sentence
    assert down.final_weight == 0
