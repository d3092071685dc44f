"""Which vector may stand in for which."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qafila.sources.modes import Mode, mode_of
from qafila.workload.fingerprint import Fingerprint, VectorPart, embedding_fingerprint

WANTED = VectorPart("small", "1", 256, True)
OLD = VectorPart("old", "7", 128, True)
PARTS = st.builds(
    VectorPart,
    model=st.sampled_from(["small", "old"]),
    revision=st.sampled_from(["1", "2", ""]),
    dimensions=st.sampled_from([128, 256]),
    normalised=st.booleans(),
)


@given(PARTS, st.none() | PARTS, st.booleans(), st.booleans(), st.booleans(), st.none() | PARTS)
def test_a_vector_is_copied_only_when_everything_is_the_same(
    wanted: VectorPart,
    held: VectorPart | None,
    whole: bool,
    sound: bool,
    cached: bool,
    map_from: VectorPart | None,
) -> None:
    decision = mode_of(wanted, held, whole=whole, sound=sound, cached=cached, map_from=map_from)
    assert (decision.mode is Mode.COPY) == (held == wanted and whole and sound)
    if decision.mode is Mode.REUSE:
        assert cached
    if decision.mode is Mode.MAP:
        assert held == map_from != wanted
        assert whole
        assert sound
    if decision.mode is Mode.RE_EMBED:
        assert not cached
    assert decision.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "other"}, "model 'other' instead of 'small'"),
        ({"revision": "2"}, "revision '2' instead of '1'"),
        ({"dimensions": 128}, "dimensions 128 instead of 256"),
        ({"normalised": False}, "normalised False instead of True"),
    ],
)
def test_any_difference_forbids_a_copy_and_is_named(change: dict[str, object], words: str) -> None:
    held = dataclasses.replace(WANTED, **change)
    assert held.digest != WANTED.digest
    decision = mode_of(WANTED, held)
    assert decision.mode is Mode.RE_EMBED
    assert words in decision.reason


def test_each_way_has_its_reason() -> None:
    assert mode_of(WANTED, None).reason == ("the row brings no vector; the cache has none either")
    assert mode_of(WANTED, None, cached=True).mode is Mode.REUSE
    assert "not the text" in mode_of(WANTED, WANTED, whole=False).reason
    assert "zero or not finite" in mode_of(WANTED, WANTED, sound=False).reason
    mapped = mode_of(WANTED, OLD, map_from=OLD, cached=True)
    assert (mapped.mode, mapped.reason) == (
        Mode.MAP,
        "the row's vector has model 'old' instead of 'small'; revision '7' instead of '1'; "
        "dimensions 128 instead of 256; the bridge maps it",
    )


def test_the_vector_part_of_a_fingerprint_leaves_the_text_out() -> None:
    one = Fingerprint("a", "b", 1, "small", "1", 256, "cosine", True)
    other = dataclasses.replace(one, source="c", chunker="d", chunker_version="2")
    assert one.digest != other.digest
    assert one.vectors == other.vectors == WANTED
    assert one.vectors.digest == embedding_fingerprint("small", "1", 256, True)
