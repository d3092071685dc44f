"""One digest of many rows: the order does not count, everything else does."""

from __future__ import annotations

import random
import uuid

from hypothesis import given
from hypothesis import strategies as st

from qafila.workload.fingerprint import chunk_id, chunk_id_text, row_digest, rows_digest

Row = tuple[str, int, bytes, bytes]
ROWS = st.lists(
    st.tuples(st.text(max_size=5), st.integers(0, 12), st.binary(max_size=3), st.just(b"\0\1")),
    max_size=8,
)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_never_counts(rows: list[Row], chance: random.Random) -> None:
    shuffled = rows[:]
    chance.shuffle(shuffled)
    assert rows_digest(rows) == rows_digest(shuffled)


@given(ROWS, st.integers(0, 7))
def test_a_row_that_is_missing_twice_or_changed_always_counts(rows: list[Row], at: int) -> None:
    if not rows:
        return
    at %= len(rows)
    key, number, digest, vector = rows[at]
    changes = [
        rows[:at] + rows[at + 1 :],
        [*rows, rows[at]],
        *(
            [*rows[:at], changed, *rows[at + 1 :]]
            for changed in (
                (key + "x", number, digest, vector),
                (key, number + 1, digest, vector),
                (key, number, digest + b"x", vector),
                (key, number, digest, b"\1\0"),
            )
        ),
    ]
    assert rows_digest(rows) not in {rows_digest(changed) for changed in changes}


def test_no_part_can_be_taken_for_another() -> None:
    alike = [("a", 11, b"", b""), ("a1", 1, b"", b""), ("a", 1, b"1", b""), ("a", 1, b"", b"1")]
    # digests have 32 bytes and vectors all the same length, so only the last two may agree
    assert len({row_digest(*row) for row in alike}) == 3


@given(st.text(max_size=20), st.integers(0, 10**6))
def test_the_id_of_a_chunk_is_a_uuid_of_version_five(key: str, number: int) -> None:
    expected = uuid.uuid5(uuid.UUID("7d0f4c1e-6c1b-5f0e-9a55-3f2c8f3f0d11"), f"{key}\x1f{number}")
    assert chunk_id(key, number) == expected
    assert chunk_id_text(key, number) == str(expected)
