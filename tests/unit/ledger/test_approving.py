"""Who may approve, and how many it takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.ledger.approvers import Choice, approvers_needed, person, refusal, state_of


@pytest.mark.parametrize(
    ("by", "decision", "needed", "requested_by", "so_far", "says"),
    [
        ("Amal", "approve", 1, None, [], None),
        ("Amal", "approve", 1, "Badr", [], None),
        ("", "approve", 1, None, [], "needs the name"),
        (" x ", "reject", 1, None, [], "needs the name"),
        # alone, who asked is the only one; of two, the other one would be missing
        ("Amal", "approve", 1, "amal", [], "Amal asked for this, so somebody else approves"),
        ("A mal ", "approve", 2, "AMAL", [], "so 2 others approve"),
        # one person is one person, however the name is typed
        ("amal  b", "approve", 2, None, ["Amal B"], "has approved already; 2 different"),
        ("Amal B", "approve", 2, None, ["Amal C"], None),
        # a no is always taken
        ("Amal", "reject", 2, "Amal", ["Amal"], None),
    ],
)
def test_which_answers_count(
    by: str,
    decision: Choice,
    needed: int,
    requested_by: str | None,
    so_far: Sequence[str],
    says: str | None,
) -> None:
    problem = refusal(by, decision, needed=needed, requested_by=requested_by, approved_by=so_far)
    if says is None:
        assert problem is None
    else:
        assert says in (problem or "")


def test_high_criticality_takes_two() -> None:
    assert [approvers_needed(c) for c in ("low", "medium", "high")] == [1, 1, 2]  # type: ignore[arg-type]


names = st.sampled_from(["Amal", "AMAL", "a mal", "Badr", "badr ", "Chaima", "Driss"])
answers = st.lists(st.tuples(names, st.sampled_from(["approve", "reject"])), max_size=8)


@given(st.integers(1, 3), st.none() | names, answers)
def test_nothing_is_ever_approved_by_fewer_persons_or_by_who_asked(
    needed: int, requested_by: str | None, given_: list[tuple[str, Choice]]
) -> None:
    counted: dict[str, Choice] = {}
    state = "pending"
    for by, decision in given_:
        if state != "pending":
            break
        so_far = [name for name, said in counted.items() if said == "approve"]
        if refusal(by, decision, needed=needed, requested_by=requested_by, approved_by=so_far):
            continue
        counted[person(by)] = decision
        state = state_of(needed, list(counted.values()))
    if state == "approved":
        assert len(counted) >= needed
        assert set(counted.values()) == {"approve"}
        assert requested_by is None or person(requested_by) not in counted
