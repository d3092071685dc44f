"""Positions in the outbox: what is due, what may go, and which generations are owed anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.live_sync.outbox import (
    NOTHING,
    Change,
    Life,
    Position,
    Snapshot,
    keys_of,
    lives,
    prune_before,
    resume,
)
from qafila.workload.phases import Phase


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    xmin = draw(st.integers(1, 30))
    xmax = draw(st.integers(xmin, 40))
    inside = st.integers(xmin, xmax - 1) if xmax > xmin else st.nothing()
    return Snapshot(xmin, xmax, draw(st.frozensets(inside)))


@given(snapshots())
def test_a_snapshot_reads_what_it_writes(snapshot: Snapshot) -> None:
    assert Snapshot.parse(str(snapshot)) == snapshot


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10:10:", {9}),  # nothing runs: all below 10 are over
        ("10:13:10,12", {9, 11}),  # 10 and 12 run, 13 has not begun
        (str(NOTHING), {0}),
    ],
)
def test_what_a_snapshot_shows(text: str, shown: set[int]) -> None:
    snapshot = Snapshot.parse(text)
    assert {x for x in (0, 9, 10, 11, 12, 13) if snapshot.shows(x)} == shown | (
        {0} if text != str(NOTHING) else set()
    )


@pytest.mark.parametrize("text", ["", "1:2", "a:b:", "1:2:3,", "1:2:;"])
def test_what_is_no_snapshot(text: str) -> None:
    with pytest.raises(ValueError, match="no snapshot"):
        Snapshot.parse(text)


@given(
    snapshots(),
    st.none() | snapshots(),
    st.none() | st.tuples(st.integers(1, 99), st.integers(1, 99)),
)
def test_a_position_reads_what_it_writes(
    seen: Snapshot, window: Snapshot | None, after: tuple[int, int] | None
) -> None:
    position = Position("token:1:0A", seen, window, after)
    assert Position.parse(str(position)) == position


@given(st.data())
def test_each_change_is_due_in_exactly_one_window_however_transactions_overlap(
    data: st.DataObject,
) -> None:
    """Transactions begin in order and end in any; a reader looks now and then."""
    running: list[int] = []
    committed: set[int] = set()
    changes: dict[int, list[Change]] = {}
    position, applied, next_xid, seq = Position("l", NOTHING), [], 1, 0
    for step in data.draw(st.lists(st.sampled_from("bbwwce r".replace(" ", "")), max_size=40)):
        if step == "b":
            running.append(next_xid)
            next_xid += 1
        elif step == "w" and running:
            xid, seq = data.draw(st.sampled_from(running)), seq + 1
            changes.setdefault(xid, []).append(Change(xid, seq, (str(seq),), "U"))
        elif step in "ce" and running:
            xid = running.pop(data.draw(st.integers(0, len(running) - 1)))
            if step == "c":
                committed.add(xid)
        elif step == "r":
            position = _read(position, running, next_xid, committed, changes, applied, most=2)
    committed |= set(running)
    _read(position, [], next_xid, committed, changes, applied, most=2)
    every = [c for xid in committed for c in changes.get(xid, [])]
    assert sorted(c.place for c in applied) == sorted(c.place for c in every)


def _read(
    position: Position,
    running: list[int],
    next_xid: int,
    committed: set[int],
    changes: dict[int, list[Change]],
    applied: list[Change],
    *,
    most: int,
) -> Position:
    now = Snapshot(min(running, default=next_xid), next_xid, frozenset(running))
    position = position.opened(now)
    while position.window is not None:
        window = position.window
        page = sorted(
            (
                c
                for x in committed
                for c in changes.get(x, [])
                if window.shows(x) and position.due(c.xid, c.seq)
            ),
            key=lambda c: c.place,
        )[:most]
        applied += page
        position = position.past(page, most)
    return position


@given(st.lists(snapshots(), min_size=1), st.integers(0, 40))
def test_what_may_be_pruned_is_due_nowhere(seen: list[Snapshot], xid: int) -> None:
    positions = [Position("l", one) for one in seen]
    before = prune_before(positions)
    assert before is not None
    if xid < before:
        assert not any(p.due(xid, 1) for p in positions)


def test_nobody_to_prune_for_prunes_nothing() -> None:
    assert prune_before([]) is None


def test_it_goes_on_at_the_mark_and_from_the_start_without_one() -> None:
    start, mark = Position("a", Snapshot(5, 5)), Position("a", Snapshot(9, 9))
    assert resume("", start, "a") == (start, "")
    assert resume(str(mark), start, "a") == (mark, "")


def test_of_another_line_nothing_is_believed() -> None:
    mark = Position("a:1:01", Snapshot(9, 9))
    position, note = resume(str(mark), mark, "a:1:02")
    assert (position.seen, position.line) == (NOTHING, "a:1:02")
    assert "failover" in note


def test_keys_come_once_and_a_null_belongs_to_no_document() -> None:
    keys: list[tuple[str | None, ...] | None] = [("a",), ("b",), ("a",), None, (None,), ("x", None)]
    assert keys_of([Change(1, n, key, "U") for n, key in enumerate(keys)]) == [("a",), ("b",)]


P = Phase


@pytest.mark.parametrize(
    ("phases", "loaded", "fed", "kept"),
    [
        ([P.DESIGNED], [], [], [1]),
        ([P.BACKFILLING], [], [], [1]),
        ([P.BACKFILLING], [1], [1], []),
        ([P.CANARY], [1], [1], []),
        ([P.PROMOTED, P.BACKFILLING], [1], [1], [2]),
        ([P.PROMOTED, P.CANARY], [1, 2], [1, 2], []),
        ([P.PROMOTED, P.PROMOTED], [1, 2], [1, 2], []),  # going back is still possible
        ([P.PROMOTED, P.SETTLED], [1, 2], [2], []),
        ([P.PROMOTED, P.CLEANED], [1, 2], [2], []),
        ([P.PROMOTED, P.SETTLED, P.PROMOTED], [1, 2, 3], [2, 3], []),
        ([P.PROMOTED, P.ROLLED_BACK], [1, 2], [1, 2], []),  # a person may send it again
        ([P.PROMOTED, P.ROLLED_BACK, P.DESIGNED], [1, 2], [1], [3]),
        ([P.SETTLED, P.ABANDONED], [1], [1], []),
        ([P.ABANDONED], [1], [], []),
        ([], [], [], []),
    ],
)
def test_which_generations_are_owed_anything(
    phases: list[Phase], loaded: list[int], fed: list[int], kept: list[int]
) -> None:
    found = lives(dict(enumerate(phases, 1)), loaded)
    assert [n for n, life in found.items() if life is Life.FED] == fed
    assert [n for n, life in found.items() if life is Life.KEPT] == kept
