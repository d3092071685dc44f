"""The pointer row against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from qafila.errors import Refused, StaleEpoch
from qafila.stores.pointer_row import Alias, move_alias, read_alias, return_alias, set_trial


@pytest.fixture
def target(target_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def test_trial_cutover_and_the_way_back(target: psycopg.Connection) -> None:
    assert read_alias(target, "w") is None
    assert set_trial(target, "w", 1, 0) == Alias("w", None, 1, None, 0)
    assert move_alias(target, "w", 1, 3) == Alias("w", 1, None, None, 3)
    assert set_trial(target, "w", 2, 0) == Alias("w", 1, 2, None, 3)
    assert move_alias(target, "w", 2, 5) == Alias("w", 2, None, 1, 5)
    assert move_alias(target, "w", 2, 5) == Alias("w", 2, None, 1, 5)
    assert return_alias(target, "w", [2], 6) == Alias("w", 1, None, None, 6)
    assert return_alias(target, "w", [2], 7) == Alias("w", 1, None, None, 7)


def test_a_trial_that_never_served_only_ends(target: psycopg.Connection) -> None:
    assert return_alias(target, "w", [1], 1) is None
    move_alias(target, "w", 1, 1)
    set_trial(target, "w", 2, 2)
    assert return_alias(target, "w", [2], 3) == Alias("w", 1, None, None, 3)


def test_stale_writers_and_older_generations_are_refused(target: psycopg.Connection) -> None:
    move_alias(target, "w", 2, 9)
    with pytest.raises(StaleEpoch):
        move_alias(target, "w", 3, 8)
    with pytest.raises(StaleEpoch):
        return_alias(target, "w", [2], 8)
    with pytest.raises(Refused, match="generation 2 serves"):
        set_trial(target, "w", 1, 9)
    assert read_alias(target, "w") == Alias("w", 2, None, None, 9)
