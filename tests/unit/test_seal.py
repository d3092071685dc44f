"""The seal of a rollback card: any change shows, and with a key also a stranger's hand."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.seal import Seal, seal, seal_problem

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
KEYS = st.none() | st.text(min_size=1, max_size=8)


@given(BODIES, KEYS)
def test_a_seal_holds_after_the_file_was_written_and_read(
    body: dict[str, object], key: str | None
) -> None:
    assert seal_problem(json.loads(json.dumps(body)), seal(body, key), key) is None


@given(BODIES, BODIES, KEYS)
def test_a_seal_never_holds_for_another_content(
    body: dict[str, object], other: dict[str, object], key: str | None
) -> None:
    same = json.dumps(body, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (seal_problem(other, seal(body, key), key) is None) == same


@pytest.mark.parametrize(
    ("sealed_with", "read_with", "problem"),
    [
        (None, None, None),
        ("k", "k", None),
        ("k", None, None),  # whole; who wrote it is not proven, and the card says so
        (None, "k", "sealed without one"),  # anybody can take a keyed seal away
        ("other", "k", "another key"),
    ],
)
def test_a_key_decides_whose_seal_counts(
    sealed_with: str | None, read_with: str | None, problem: str | None
) -> None:
    found = seal_problem({"a": 1}, seal({"a": 1}, sealed_with), read_with)
    assert found is None if problem is None else problem in (found or "")


def test_a_seal_cut_off_does_not_hold() -> None:
    assert seal_problem({}, Seal(seal({}).sha256[:-1])) is not None
