"""Which generation is taken back, and whom a rollback without a ledger fences off."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from qafila.ledger import leases
from qafila.ledger.evidence import record_evidence
from qafila.ledger.ledger import apply_workload
from qafila.rollback.rollback import generations_on_the_road, was_left_by
from qafila.sql import statement
from qafila.workload.phases import Phase
from tests.support.applied import apply_demo

Ledger = psycopg.Connection[Any]
NAME = "aws-docs-search"


def raise_epoch(ledger: Ledger, epoch: int) -> bool:
    key = {"workload": "w", "epoch": epoch}
    return ledger.execute(statement("ledger", "raise_epoch"), key).fetchone() is not None


def test_what_was_written_without_the_ledger_fences_off_an_older_or_equal_lease(
    ledger: Ledger,
) -> None:
    other = leases.take_lease(ledger, "v", "drill")
    assert raise_epoch(ledger, 1000)  # there was none
    for taken, epoch in ((1001, 1001), (1002, 2000)):
        assert leases.take_lease(ledger, "w", "canary") == taken
        assert raise_epoch(ledger, epoch)
        lease = leases.read_lease(ledger, "w")
        assert lease is not None
        assert (lease.epoch, lease.holder, lease.age_seconds) == (epoch, None, None)
        if epoch == 1001:
            continue
        assert leases.take_lease(ledger, "w", "canary") == 2001
    assert not raise_epoch(ledger, 2000)  # the lease is newer
    lease = leases.read_lease(ledger, "w")
    assert lease is not None
    assert (lease.epoch, lease.holder) == (2001, "canary")
    leases.beat_lease(ledger, "v", "drill", other)


def test_a_spooled_line_is_found_by_workload_kind_and_id(ledger: Ledger) -> None:
    for workload, kind, spool_id in (
        ("v", "rollback", "a"),
        ("w", "drill", "b"),
        ("w", "rollback", "c"),
    ):
        record_evidence(ledger, kind, "said", workload=workload, body={"spool_id": spool_id})

    def found(workload: str, kind: str, spool_id: str) -> bool:
        key = {"workload": workload, "kind": kind, "id": spool_id}
        return ledger.execute(statement("ledger", "spooled_evidence"), key).fetchone() is not None

    assert found("w", "rollback", "c")
    assert not found("w", "rollback", "a")
    assert not found("w", "rollback", "b")
    assert not found("w", "rollback", "d")


@pytest.fixture
def phases(ledger: Ledger, target_url: str) -> Any:
    """Give a workload generations in these phases, beside another one with later ones of each."""
    spec, _ = apply_demo(ledger, target_url)
    apply_workload(ledger, spec.model_copy(update={"name": "third"}))
    for number, phase in ((60, "promoted"), (61, "rolled_back"), (62, "canary")):
        ledger.execute(
            "INSERT INTO qafila.generation"
            " (workload, number, revision, fingerprint, fingerprint_body, phase)"
            " SELECT 'third', %s, 1, fingerprint, fingerprint_body, %s"
            " FROM qafila.generation WHERE workload = %s AND number = 1",
            [number, phase, NAME],
        )
    ledger.execute("UPDATE qafila.generation SET phase = 'retired' WHERE workload = %s", [NAME])

    def given(*wanted: str) -> None:
        ledger.execute("DELETE FROM qafila.generation WHERE workload = %s AND number > 1", [NAME])
        for number, phase in enumerate(wanted, 2):
            ledger.execute(
                "INSERT INTO qafila.generation"
                " (workload, number, revision, fingerprint, fingerprint_body, phase)"
                " SELECT workload, %s, revision, fingerprint, fingerprint_body, %s"
                " FROM qafila.generation WHERE workload = %s AND number = 1",
                [number, phase, NAME],
            )

    return given


@pytest.mark.parametrize(
    ("wanted", "on_the_road", "returned"),
    [
        (("promoted", "canary"), [3], None),
        (("promoted",), [2], None),
        (("promoted", "promoted"), [3], None),
        (("promoted", "rolled_back"), [], (2, 3)),
        (("promoted", "rolled_back", "canary"), [4], (2, 3)),
        (("rolled_back", "promoted"), [3], None),
        (("canary", "settled"), [], None),
        (("settled", "rolled_back", "rolled_back"), [], (2, 4)),
        (("cleaned", "rolled_back"), [], (2, 3)),
        (("settled", "cleaned", "rolled_back"), [], (3, 4)),
        (("validated", "canary", "validated"), [3], None),
        ((), [], None),
    ],
)
def test_the_newest_of_what_serves_or_is_tried_is_taken_back(
    ledger: Ledger,
    phases: Any,
    wanted: tuple[str, ...],
    on_the_road: list[int],
    returned: tuple[int, int] | None,
) -> None:
    phases(*wanted)
    found = generations_on_the_road(ledger, NAME)
    assert [g.number for g in found] == on_the_road
    row = ledger.execute(statement("canary", "returned_to"), {"workload": NAME}).fetchone()
    assert row == returned
    assert generations_on_the_road(ledger, "another") == []
    other = ledger.execute(statement("canary", "returned_to"), {"workload": "another"}).fetchone()
    assert other is None


def test_a_run_left_something_where_it_holds_the_lease_or_nobody_does(
    ledger: Ledger, phases: Any
) -> None:
    phases("promoted", Phase.CANARY.value)
    assert was_left_by(ledger, NAME, "run-1")
    epoch = leases.take_lease(ledger, NAME, "canary", run_id="run-1")
    assert was_left_by(ledger, NAME, "run-1")
    assert not was_left_by(ledger, NAME, "run-2")
    leases.release_lease(ledger, NAME, epoch)
    assert was_left_by(ledger, NAME, "run-2")
    phases("promoted")
    assert not was_left_by(ledger, NAME, "run-1")
