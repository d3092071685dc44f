"""Rung 2: any change of one row is told; what only looks different is none."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.stores.port import Chunk
from qafila.validation.checks.judge_content import (
    FAULTS,
    ContentCount,
    RowFault,
    compare_row,
    judge_content,
    metadata_differences,
    vector_faults,
    vector_hashes,
)
from qafila.workload.fingerprint import text_digest
from qafila.workload.verdict import Verdict

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
VALUE = st.recursive(
    SCALAR,
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3),
    max_leaves=5,
)
METADATA = st.dictionaries(st.text(max_size=4), VALUE, max_size=4)
GROUPS = st.lists(st.sampled_from(["everyone", "staff", "hr", "ops"]), unique=True)


def chunk(text: str, acl: list[str], metadata: dict[str, Any]) -> Chunk:
    return Chunk("k", 0, 0, len(text), "t", text, text_digest(text), acl, metadata)


@given(TEXT, GROUPS, METADATA)
def test_a_row_as_json_gives_it_back_is_the_same_row(
    text: str, acl: list[str], metadata: dict[str, Any]
) -> None:
    expected = chunk(text, acl, metadata)
    back = replace(expected, acl=acl[::-1], metadata=json.loads(json.dumps(metadata)))
    assert list(compare_row(expected, back)) == []


@given(TEXT, GROUPS, METADATA, st.data())
def test_any_change_of_one_row_is_told(
    text: str, acl: list[str], metadata: dict[str, Any], data: st.DataObject
) -> None:
    expected = chunk(text, acl, metadata)
    other = data.draw(TEXT.filter(lambda t: t != text))
    readers = data.draw(GROUPS.filter(lambda g: set(g) != set(acl)))
    field = data.draw(st.text(max_size=4))
    value = data.draw(VALUE)
    changed = {**metadata, field: value}
    told = {
        "text": replace(expected, text=other),
        "digest": replace(expected, digest=text_digest(other)),
        "offsets": replace(expected, end=expected.end + 1),
        "title": replace(expected, title="another"),
    }
    for fault, row in told.items():
        assert fault in dict(compare_row(expected, row))
    found = dict(compare_row(expected, replace(expected, acl=readers)))
    assert ("lost readers" in found) == bool(set(acl) - set(readers))
    assert ("widened readers" in found) == bool(set(readers) - set(acl))
    same = field in metadata and canonical(metadata[field]) == canonical(value)
    differs = dict(compare_row(expected, replace(expected, metadata=changed)))
    assert ("metadata" in differs) != same


def canonical(value: Any) -> str:
    """Say independently what jsonb tells apart: numbers by their decimal expansion."""
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, float):
        exact = Decimal(repr(value + 0.0))
        return f"{exact:f}"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{k!r}:{canonical(v)}" for k, v in sorted(value.items())) + "}"
    return f"[{','.join(map(canonical, value))}]" if isinstance(value, list) else repr(value)


@pytest.mark.parametrize(
    ("expected", "stored", "said"),
    [
        ({"n": 1}, {"n": "1"}, 'n is "1" (text), by the source 1 (number)'),
        ({"n": 1}, {"n": True}, "n is true (true or false), by the source 1 (number)"),
        ({"n": 1}, {"n": 1.0}, "n is 1.0 (number), by the source 1 (number)"),
        ({"n": None}, {}, "n is absent, by the source null (null)"),
        ({}, {"n": []}, "n is [] (list), by the source absent"),
        ({"n": 2**63}, {"n": 2**63 + 1}, "n is 9223372036854775809"),
    ],
)
def test_metadata_differ_by_value_and_by_type(
    expected: dict[str, Any], stored: dict[str, Any], said: str
) -> None:
    (told,) = metadata_differences(expected, stored)
    assert told.startswith(said)


@pytest.mark.parametrize(
    ("expected", "stored"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"n": 1e22}, {"n": 10**22}),  # jsonb writes no exponent
        ({"n": 1.5e300}, {"n": 15 * 10**299}),
        ({"n": -0.0}, {"n": 0.0}),
        ({"d": datetime.date(2026, 1, 2)}, {"d": "2026-01-02"}),
    ],
)
def test_metadata_that_json_writes_otherwise_are_equal(
    expected: dict[str, Any], stored: dict[str, Any]
) -> None:
    assert metadata_differences(expected, stored) == []


@given(st.integers(1, 6), st.integers(2, 5), st.data())
def test_one_bad_vector_is_found_among_good_ones(
    rows: int, dimensions: int, data: st.DataObject
) -> None:
    raw = np.random.default_rng(rows).standard_normal((rows, dimensions)).astype(np.float32)
    vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert not any(vector_faults(vectors, dimensions).values())
    at = data.draw(st.integers(0, rows - 1))
    place = data.draw(st.integers(0, dimensions - 1))
    for fault, bad in {"not finite": np.nan, "norm": 3.0}.items():
        spoilt = vectors.copy()
        spoilt[at, place] = bad
        found = vector_faults(spoilt, dimensions)
        assert {f: set(p) for f, p in found.items() if p} == {fault: {at}}
    spoilt = vectors.copy()
    spoilt[at] = 0
    assert set(vector_faults(spoilt, dimensions)["zero"]) == {at}
    assert set(vector_faults(vectors, dimensions + 1)) == {"dimensions"}


def test_equal_vectors_hash_alike_and_others_do_not() -> None:
    vectors = np.random.default_rng(2).standard_normal((5_000, 16)).astype(np.float32)
    vectors[1] = vectors[0]
    vectors[2], vectors[3] = 0.0, -0.0
    hashed = vector_hashes(vectors, 7)
    assert hashed[0] == hashed[1]
    assert hashed[2] == hashed[3]
    assert len(set(hashed.tolist())) == 4_998


@given(st.dictionaries(st.sampled_from(sorted(FAULTS)), st.integers(0, 3)), st.integers(0, 5))
def test_only_rows_without_any_fault_pass(counts: dict[str, int], rows: int) -> None:
    named = [RowFault("k", 0, f, "told") for f, n in counts.items() if n]
    judged = judge_content(ContentCount(rows, counts, named))
    if rows == 0:
        assert judged.verdict is Verdict.INCONCLUSIVE
    else:
        assert (judged.verdict is Verdict.PASS) == (sum(counts.values()) == 0)
        assert all(FAULTS[f] in judged.sentence for f, n in counts.items() if n)


def test_lost_and_widened_readers_are_two_sentences() -> None:
    row = chunk("x", ["staff", "hr"], {})
    told = dict(compare_row(row, replace(row, acl=["staff", "everyone", "ops"])))
    assert told == {
        "lost readers": "hr may not read it any more",
        "widened readers": "everybody, ops may read it now",
    }
