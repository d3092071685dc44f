"""What a store cannot hold is told before it is sent, with a reason; the rest is let through."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.stores.admission import Limits, limits_of, reject_reason, rejections
from qafila.stores.port import Chunk
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest

LIMITS = Limits(4)
HALF = Limits(4, half_precision=True)
UNIT = np.array([0.5, 0.5, 0.5, 0.5], np.float32)
GOOD = Chunk("k", 0, 0, 4, "title", "text", text_digest("text"), ["everyone"], {"page": 1})


def deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"in": inner}
    return inner


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"text": "nul \0 inside"}, "its text holds a NUL"),
        ({"title": "\0"}, "its title holds a NUL"),
        ({"source_key": "a\0"}, "its key holds a NUL"),
        ({"text": "half \ud83d pair"}, "its text holds half a surrogate pair"),
        ({"acl": ["\udc00"]}, "one of its groups holds half a surrogate"),
        ({"acl": [None]}, "one of its groups is no text"),
        ({"source_key": "k" * 2_600}, None),
        ({"source_key": "k" * 2_601}, "its key has 2601 bytes"),
        ({"source_key": "é" * 1_301}, "its key has 2602 bytes"),
        ({"digest": b"short"}, "its text digest is no SHA-256"),
        ({"metadata": {"a": ["\0"]}}, "its metadata hold a NUL"),
        ({"metadata": {"\0": 1}}, "its metadata hold a NUL"),
        ({"metadata": {"a": "\ud83d"}}, "its metadata hold half a surrogate"),
        ({"metadata": {"a": "a backslash: \\u0000"}}, None),
        ({"metadata": {"a": "NaN and Infinity, as words"}}, None),
        ({"metadata": {"a": [float("nan")]}}, "its metadata hold NaN"),
        ({"metadata": {"a": float("-inf")}}, "its metadata hold NaN or infinity"),
        ({"metadata": {"a": object()}}, "its metadata cannot be written as JSON"),
        ({"metadata": deep(199)}, None),
        ({"metadata": deep(220)}, "its metadata are nested deeper"),
        ({"metadata": deep(5_000)}, "its metadata cannot be written as JSON"),
    ],
)
def test_a_chunk_is_refused_for_what_it_holds(change: dict[str, Any], reason: str | None) -> None:
    found = reject_reason(replace(GOOD, **change), UNIT, LIMITS)
    assert found is None if reason is None else (found or "").startswith(reason), found


@pytest.mark.parametrize(
    ("vector", "limits", "reason"),
    [
        ([1, 0, 0, 0], LIMITS, None),
        ([0, 0, 0, 0], LIMITS, "its vector is zero"),
        ([-0.0, 0, 0, 0], LIMITS, "its vector is zero"),
        ([1, np.nan, 0, 0], LIMITS, "its vector holds NaN"),
        ([1, np.inf, 0, 0], LIMITS, "its vector holds NaN or infinity"),
        ([1, 0, 0], LIMITS, "its vector has 3 dimensions, the target 4"),
        ([1e30, 0, 0, 0], LIMITS, "its vector is so long or so short"),
        ([1e-30, 0, 0, 0], LIMITS, "its vector is so long or so short"),
        ([65_504, 0, 0, 0], HALF, None),
        ([65_536, 0, 0, 0], HALF, "its vector holds a number beyond 65504"),
        ([1e-8, 0, 0, 0], HALF, "its vector is so long or so short"),
    ],
)
def test_a_vector_is_refused_for_what_it_is(
    vector: list[float], limits: Limits, reason: str | None
) -> None:
    found = reject_reason(GOOD, np.array(vector, np.float32), limits)
    assert found is None if reason is None else (found or "").startswith(reason), found


def test_no_vector_is_a_reason() -> None:
    assert reject_reason(GOOD, None, LIMITS) == "it has no vector"


def test_of_a_batch_each_unfit_chunk_is_named_and_no_other() -> None:
    batch = [replace(GOOD, text="\0") if n % 3 == 0 else GOOD for n in range(10)]
    vectors = np.tile(UNIT, (10, 1))
    vectors[4] = np.nan
    found = rejections(batch, vectors, LIMITS)
    assert list(found) == [0, 3, 4, 6, 9]
    assert "NaN" in found[4]
    assert rejections([], np.zeros((0, 4), np.float32), HALF) == {}


def test_limits_follow_the_target() -> None:
    assert not limits_of(PgvectorTarget(kind="pgvector", block="t"), 8).half_precision
    half = PgvectorTarget(kind="pgvector", block="t", vector_type="halfvec")
    assert limits_of(half, 3_000) == Limits(3_000, half_precision=True)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    key=st.text(st.characters()),
    text=st.text(st.characters()),
    metadata=st.dictionaries(st.text(), anything, max_size=3),
    numbers=st.lists(st.floats(width=32), min_size=4, max_size=4),
)
def test_it_never_raises_and_never_refuses_what_is_plainly_fit(
    key: str, text: str, metadata: dict[str, Any], numbers: list[float]
) -> None:
    chunk = replace(GOOD, source_key=key, text=text, metadata=metadata)
    found = reject_reason(chunk, np.array(numbers, np.float32), LIMITS)
    assert found is None or found
    if "\0" not in key + text and key.isprintable() and text.isprintable() and not metadata:
        assert reject_reason(chunk, UNIT, LIMITS) is None
