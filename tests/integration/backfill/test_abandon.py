"""A generation that no user has met can be ended; one on its way is rolled back instead."""

from __future__ import annotations

import dataclasses

import psycopg
import pytest

from qafila.backfill.abandon import abandon_generation
from qafila.backfill.generations import fingerprint_of, open_for, preview_for
from qafila.errors import Refused
from qafila.ledger.ledger import move_phase, open_generation
from qafila.stores.pointer_row import read_alias, set_trial
from qafila.workload.phases import Event
from tests.support.corpus import demo_workload, ready_generation

pytestmark = pytest.mark.usefixtures("ledger_named")


def test_an_abandoned_generation_is_off_trial_and_the_next_one_opens(
    ledger: psycopg.Connection, target_url: str
) -> None:
    workload = demo_workload()
    generation = ready_generation(ledger, workload, target_url, target_url)
    with psycopg.connect(target_url, autocommit=True) as target:
        set_trial(target, workload.name, generation.number, 0)
        assert abandon_generation(ledger, workload.name, "another model").phase == "abandoned"
        alias = read_alias(target, workload.name)
    assert alias is not None
    assert alias.trial is None
    assert preview_for(ledger, workload).number == generation.number + 1
    assert open_for(ledger, workload).number == generation.number + 1


def test_a_generation_with_users_cannot_be_abandoned(
    ledger: psycopg.Connection, target_url: str
) -> None:
    workload = demo_workload()
    generation = ready_generation(ledger, workload, target_url, target_url)
    for event in (Event.ALL_LOADED, Event.LADDER_PASS, Event.DRILL_PASS, Event.FIRST_WEIGHT):
        generation = move_phase(ledger, generation, event)
    with pytest.raises(Refused, match="cannot take the event"):
        abandon_generation(ledger, workload.name, "no")


def test_a_changed_file_changes_a_generation_only_before_its_decision(
    ledger: psycopg.Connection, target_url: str
) -> None:
    workload = demo_workload()
    other = dataclasses.replace(fingerprint_of(workload), dimensions=64)
    opened = ready_generation(ledger, workload, target_url, target_url)
    with pytest.raises(Refused, match="qafila abandon"):
        open_generation(ledger, workload, other)
    abandon_generation(ledger, workload.name, "to try another")
    fresh = open_for(ledger, workload)
    assert fresh.fingerprint == opened.fingerprint
    assert open_generation(ledger, workload, other).fingerprint == other.digest
    assert open_generation(ledger, workload, other).number == fresh.number
