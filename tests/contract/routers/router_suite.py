"""Sentences that hold for every router, whatever carries its weights: each suite inherits them.

A suite gives a fixture ``setup`` whose ``router`` is fresh, or at weight 0.
"""

from __future__ import annotations

from typing import Protocol

import pytest

from qafila.errors import BadInput, StaleEpoch, Unavailable
from qafila.routers.port import Router


class HasRouter(Protocol):
    router: Router


def weigh(router: Router, percent: int, *, twin: int = 0) -> None:
    epoch = router.read().epoch
    router.acknowledged(router.write(percent, epoch=epoch, why="test", twin_percent=twin))


class EveryRouter:
    """Inherit as ``class TestEveryRouter(EveryRouter)``."""

    def test_what_is_written_is_read_and_acknowledged(self, setup: HasRouter) -> None:
        epoch = setup.router.read().epoch
        version = setup.router.write(5, epoch=epoch + 1, why="test")
        assert setup.router.acknowledged(version) < 2
        state = setup.router.read()
        assert (state.candidate_percent, state.epoch, state.version) == (5, epoch + 1, version)

    def test_a_stale_epoch_never_writes(self, setup: HasRouter) -> None:
        epoch = setup.router.read().epoch
        setup.router.write(0, epoch=epoch + 2, why="newer")
        with pytest.raises(StaleEpoch):
            setup.router.write(50, epoch=epoch + 1, why="older")
        assert setup.router.read().candidate_percent == 0

    def test_the_same_epoch_may_write_again(self, setup: HasRouter) -> None:
        epoch = setup.router.read().epoch
        first = setup.router.write(1, epoch=epoch, why="up")
        second = setup.router.write(1, epoch=epoch, why="up again")
        assert first != second

    @pytest.mark.parametrize(("candidate", "twin"), [(101, 0), (-1, 0), (5, 50), (0, 101)])
    def test_weights_that_do_not_fit_are_refused(
        self, setup: HasRouter, candidate: int, twin: int
    ) -> None:
        before = setup.router.read()
        with pytest.raises(BadInput):
            setup.router.write(candidate, epoch=before.epoch, why="test", twin_percent=twin)
        assert setup.router.read() == before

    def test_a_version_that_nobody_wrote_is_never_acknowledged(self, setup: HasRouter) -> None:
        with pytest.raises(Unavailable):
            setup.router.acknowledged("e999/1/5pct", timeout_s=0.05)
