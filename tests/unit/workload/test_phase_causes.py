"""The table of phases says truly what causes each event."""

import re
from pathlib import Path

import pytest

from qafila.ledger.approvers import approvers_needed
from qafila.workload.phases import CAUSED_BY, TRANSITIONS, Event

ROOT = Path(__file__).parents[3]
PRODUCT = "\n".join(
    path.read_text()
    for room in ("tasks", "flows", "qafila")
    for path in sorted((ROOT / room).rglob("*.py"))
    if path.name != "phases.py"
)


@pytest.mark.parametrize("event", list(Event))
def test_an_event_has_a_cause_exactly_where_the_product_raises_it(event: Event) -> None:
    raised = re.search(rf"\bEvent\.{event.name}\b", PRODUCT) is not None
    assert (CAUSED_BY[event] is not None) == raised


def test_every_event_is_in_the_table() -> None:
    assert {event for _, event in TRANSITIONS} == set(Event) == set(CAUSED_BY)


def test_the_page_of_limits_says_how_many_approve() -> None:
    limits = (ROOT / "docs" / "explanation" / "limits.md").read_text()
    assert approvers_needed("high") == 2
    assert "at `high` two different names have to approve" in limits
    assert "One answer decides, also" not in limits
