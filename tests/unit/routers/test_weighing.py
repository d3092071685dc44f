"""Weights of a router of its own: what is read back never hides a candidate with traffic."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qafila.routers.envoy.config import parse_version, version_text
from qafila.routers.weights import ARMS, configured, following, ours, shares

PERCENT = st.integers(0, 100)
WEIGHTS = st.fixed_dictionaries({arm: st.integers(0, 1_000_000) for arm in ARMS})


@given(PERCENT, st.booleans(), st.integers(0, 10**6), st.integers(1, 50))
def test_what_was_written_is_read_back_whatever_the_router_multiplies_it_by(
    percent: int, twin: bool, epoch: int, factor: int
) -> None:
    candidate, other = (0, percent) if twin else (percent, 0)
    version = version_text(epoch, 1, candidate, other)
    written = configured(version, shares_of(version))
    assert (written.candidate_percent, written.twin_percent) == (candidate, other)
    assert sum(shares(written).values()) == 100
    scaled = {arm: weight * factor for arm, weight in shares(written).items()}
    assert configured(version, scaled) == written
    assert ours(written)


def shares_of(version: str) -> dict[str, int]:
    return shares(parse_version(version)[0])


@given(WEIGHTS, PERCENT)
def test_a_candidate_with_weight_never_reads_as_one_without(
    weights: dict[str, int], percent: int
) -> None:
    state = configured(version_text(3, 1, percent), weights)
    if sum(weights.values()):
        assert (state.candidate_percent == 0) is (weights["candidate"] == 0)
    assert 0 <= state.candidate_percent <= 100
    assert state.epoch == 3


@given(WEIGHTS, PERCENT)
def test_weights_that_are_not_those_of_the_version_are_never_called_ours(
    weights: dict[str, int], percent: int
) -> None:
    version = version_text(3, 1, percent)
    total, expected = sum(weights.values()), shares_of(version)
    same = total > 0 and all(weights[arm] * 100 == expected[arm] * total for arm in ARMS)
    assert ours(configured(version, weights)) is same


@given(st.integers(0, 1000), st.integers(0, 1000), PERCENT)
def test_the_next_version_is_never_one_that_was_there_before(
    epoch: int, sequence: int, percent: int
) -> None:
    stored = version_text(epoch, sequence, percent)
    assert following(stored, epoch, percent, 0) != stored
