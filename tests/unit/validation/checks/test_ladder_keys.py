"""Rung 1: whatever differs in one row is found; equal sets are equal in any order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.stores.row_sets import (
    BUCKETS,
    Differences,
    KeyComparison,
    Sums,
    Witnesses,
    buckets_of,
    digest_words,
    judge_keys,
    readers_parts,
    served_buckets_of,
)
from qafila.workload.verdict import Verdict

Row = tuple[bytes, int, bytes, bool]
ROW = st.tuples(
    st.text(max_size=6).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.integers(0, 3),
    st.binary(min_size=0, max_size=3).map(lambda b: sha256(b).digest()),
    st.booleans(),
)
ROWS = st.lists(ROW, max_size=12, unique_by=lambda row: row[:2])


def witnesses(rows: Sequence[Row]) -> Witnesses:
    return Witnesses(
        [row[0] for row in rows],
        np.array([row[1] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.bool_),
        digest_words([row[2] for row in rows]),
    )


def sums(rows: Sequence[Row], cut: int = 0) -> Sums:
    made = Sums()
    made.add(witnesses(rows[:cut]))
    made.add(witnesses(rows[cut:]))
    return made


@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 12))
def test_neither_order_nor_batches_count(rows: list[Row], chance: random.Random, cut: int) -> None:
    shuffled = rows[:]
    chance.shuffle(shuffled)
    assert not sums(rows).differing(sums(shuffled, cut)).any()
    assert sums(rows, cut).count == len(rows)


@given(ROWS.filter(bool), st.data())
def test_any_change_of_one_row_is_found_and_named(rows: list[Row], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows) - 1))
    key, number, digest, marked = rows[at]
    place = data.draw(st.integers(0, 31))
    flipped = bytearray(digest)
    flipped[place] ^= data.draw(st.integers(1, 255))
    places = {row[:2] for row in rows}
    changes: dict[str, list[Row]] = {
        "missing": rows[:at] + rows[at + 1 :],
        "repeated": [*rows, rows[at]],
        "stale": [*rows[:at], (key, number, bytes(flipped), marked), *rows[at + 1 :]],
    }
    if (key + b"x", number) not in places:
        changes["extra"] = [*rows[:at], (key + b"x", number, digest, marked), *rows[at + 1 :]]
    if (key, number + 9) not in places:
        changes["extra "] = [*rows[:at], (key, number + 9, digest, marked), *rows[at + 1 :]]
    expected = [(k, n, d, True) for k, n, d, _ in rows]
    for fault, after in changes.items():
        changed = [(k, n, d, True) for k, n, d, _ in after]
        differing = sums(expected).differing(sums(changed))
        assert differing[buckets_of([key])[0]]
        found = Differences()
        found.compare([(witnesses(expected), 4)], [witnesses(changed)])
        assert found.counts[fault.strip()] == 1  # type: ignore[index]
        named = {(d.fault, d.key) for d in found.named()}
        assert (fault.strip(), key + b"x" if fault == "extra" else key) in named
        if "missing" in found.counts:
            assert (found.missing_by_shard[4], found.documents_missing) == (1, 1)


@given(ROWS.filter(bool))
def test_another_fingerprint_is_found(rows: list[Row]) -> None:
    expected = [(k, n, d, True) for k, n, d, _ in rows]
    other = [(*expected[0][:3], False), *expected[1:]]
    assert sums(expected).differing(sums(other)).sum() == 1
    found = Differences()
    found.compare([(witnesses(expected), None)], [witnesses(other)])
    assert dict(found.counts) == {"foreign": 1}


@given(st.lists(st.binary(max_size=9)))
def test_every_key_has_a_bucket(keys: list[bytes]) -> None:
    for buckets in (buckets_of(keys), served_buckets_of(keys)):
        assert len(buckets) == len(keys)
        assert ((buckets >= 0) & (buckets < BUCKETS)).all()


def test_sums_of_a_server_may_be_negative_or_beyond_64_bits() -> None:
    here = Sums.of([(3, 2, -5, 2**64 + 7)])
    assert here.count == 2
    assert not here.differing(Sums.of([(3, 2, 2**64 - 5, 7)])).any()
    assert here.differing(Sums.of([(3, 2, -4, 7)])).tolist().index(True) == 3


def test_a_digest_of_another_length_is_no_digest() -> None:
    assert digest_words([b"\0", bytes(31), bytes(33)]).tolist() == [[0] * 4] * 3


def compared(expected: Sequence[Row], found: Sequence[Row], **more: object) -> KeyComparison:
    differences = Differences()
    differences.compare([(witnesses(expected), 2)], [witnesses(found)])
    counts = {"rows": len(expected), "expected": len(expected), "found": len(found)}
    return KeyComparison(**counts, set_aside=0, differences=differences, **more)  # type: ignore[arg-type]


D = sha256(b"d").digest()
A, B, C = ((key, 0, D, True) for key in (b"a", b"b", b"c"))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ([A, B], "1 missing, 0 twice, 0 stale, 0 of another fingerprint, 0 extra"),
        ([A, B, C, C], "1 twice"),
        ([A, B, (b"c", 0, bytes(32), True)], "1 stale"),
        ([A, B, (b"c", 0, D, False)], "1 of another fingerprint"),
        ([A, B, C, (b"d", 0, D, True)], "extra d (chunk 0)"),
        ([B, C], "First by key: missing a (chunk 0). Missing in shard 2 (1)."),
    ],
)
def test_a_difference_fails_and_is_named(found: list[Row], said: str) -> None:
    judged = judge_keys(compared([A, B, C], found, shards=3))
    assert judged.verdict is Verdict.FAIL
    assert said in judged.sentence


def test_equal_sides_pass() -> None:
    same = compared([A, B], [B, A], readers={"staff": (2, 2)}, moved=3)
    judged = judge_keys(same)
    assert judged.verdict is Verdict.PASS
    assert "3 differed at first, while rows were written" in judged.sentence
    assert readers_parts(same)["readers: staff"].verdict is Verdict.PASS


def test_a_group_that_reads_more_fails_even_if_all_keys_are_equal() -> None:
    wider = compared([A, B], [A, B], readers={"staff": (1, 1), "everyone": (1, 2)})
    judged = judge_keys(wider)
    assert judged.verdict is Verdict.FAIL
    assert "everyone may read 2 chunks, by the source 1." in judged.sentence
    assert [j.verdict for j in readers_parts(wider).values()] == [Verdict.FAIL, Verdict.PASS]


def test_many_differences_are_all_counted_and_the_first_are_named() -> None:
    rows = [(f"{n:06}".encode(), 0, D, True) for n in range(9_000)]
    everything = compared(rows, [], shards=1)
    assert everything.differences.counts["missing"] == 9_000
    assert [d.place[0] for d in everything.differences.named()[:2]] == ["000000", "000001"]
    assert len(everything.differences.named()) == 1_000


def test_counts_are_written_as_everywhere_on_a_report() -> None:
    many = KeyComparison(12_345, 1_234_567, 1_234_567, 0, Differences())
    judged = judge_keys(many)
    assert judged.sentence.startswith("12,345 rows in, 1,234,567 chunks found of 1,234,567: ")
