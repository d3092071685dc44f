"""What breaks in a rollout, one test each, on real processes: what users met, and what was left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.chaos import play
from benchmarks.chaos_scenarios import SCENARIOS
from benchmarks.chaos_world import World, chaos_world

# Killing the controller elsewhere is the same with another weight; slow and empty candidates are in
# tests/integration/rollout, the one that is wrong for one tenant is a whole demo in
# test_bad_candidates.py. `qafila bench chaos` plays them all.
LEFT_TO_THE_BENCHMARK = {
    *(f"controller killed: {stage}" for stage in ("A/A", "shadow", "5 %", "25 %", "50 %", "bake")),
    "clock one hour on",
    "candidate 300 ms slower",
    "candidate fast and empty",
    "candidate wrong for one tenant",
}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with chaos_world(seed=7) as running:
        yield running


@pytest.mark.parametrize("name", [n for n in SCENARIOS if n not in LEFT_TO_THE_BENCHMARK])
def test_users_are_kept_out_of_it(world: World, name: str) -> None:
    outcome = play(world, name)
    assert outcome.ok, f"{outcome.figure} {outcome.unit} (at most {outcome.bound}): {outcome.said}"
