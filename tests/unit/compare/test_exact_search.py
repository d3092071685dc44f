"""Exact search over chunks, and the file of what was paid for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qafila.compare.embedders.candidates import Candidate, parse_endpoint
from qafila.compare.embedders.exact_search import Layout, nearest, rankings
from qafila.compare.embedders.vector_cache import FILE, Entry, VectorCache
from qafila.stores.port import Chunk
from qafila.workload.corpus import OpenAIEmbedder


def chunk(key: str, number: int = 0) -> Chunk:
    return Chunk(key, number, 0, 1, "", "x", b"", [])


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def test_of_a_document_the_best_chunk_counts_and_ties_are_by_key() -> None:
    layout = Layout.of([chunk("a"), chunk("b"), chunk("b", 1), chunk("c"), chunk("d")])
    documents = unit([0, 1], [0, 1], [1, 0], [0, 1], [0, 0])
    (found,) = nearest(layout, documents, unit([1, 0.1]))
    assert list(found) == ["b", "a", "c"]  # nothing is near to d, which has no vector
    assert found["b"] == pytest.approx(1 / np.sqrt(1.01))
    assert list(nearest(layout, documents, unit([0, 0]))) == [{}]


def test_a_question_without_a_vector_is_answered_by_keywords() -> None:
    layout = Layout.of([chunk("a"), chunk("b")])
    found = rankings(layout, unit([1, 0], [0, 1]), unit([0, 0]), [{"b": 0.5}])
    assert found == {"vector": [[]], "hybrid": [["b"]]}
    assert rankings(layout, unit([1, 0], [0, 1]), unit([1, 0]), None) == {"vector": [["a", "b"]]}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=12), st.integers(0, 10_000))
def test_it_is_always_what_looking_at_each_document_gives(sizes: list[int], seed: int) -> None:
    chunks = [chunk(f"d{n:02}", k) for n, size in enumerate(sizes) for k in range(size)]
    generator = np.random.default_rng(seed)
    documents = unit(*generator.normal(size=(len(chunks), 4)).tolist())
    queries = unit(*generator.normal(size=(3, 4)).tolist())
    for query, found in zip(queries, nearest(Layout.of(chunks), documents, queries), strict=True):
        best: dict[str, float] = {}
        for c, vector in zip(chunks, documents, strict=True):
            best[c.source_key] = max(best.get(c.source_key, -2.0), float(query @ vector))
        assert set(found) == set(best)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert found == pytest.approx(best, abs=1e-6)


def candidate(url: str = "http://one/v1", dimensions: int = 2) -> Candidate:
    problems: list[str] = []
    found = parse_endpoint(
        f"x={url},model=m,dimensions={dimensions},price_per_million_tokens=1", {}, None, problems
    )
    assert found is not None, problems
    assert isinstance(found.settings, OpenAIEmbedder)
    return found


def test_what_was_paid_for_is_found_again_and_by_nobody_else(tmp_path: Path) -> None:
    one = VectorCache(tmp_path, candidate())
    vector = np.array([0.6, 0.8], "<f4").tobytes()
    entries = {b"1": Entry(vector, "", 3.5, 0.01, True), b"2": Entry(None, "too long")}
    one.put(entries)
    one.put({b"1": Entry(None, "the first stays")})
    again = VectorCache(tmp_path, candidate())
    assert again.find([b"1", b"2", b"3", b"1"]) == entries
    for other in (candidate("http://two/v1"), candidate(dimensions=3)):
        assert VectorCache(tmp_path, other).find([b"1", b"2"]) == {}
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0  # its owner's only


def test_a_key_is_shown_nowhere_and_has_no_place_in_an_address() -> None:
    problems: list[str] = []
    written = "x=http://me:secret@host/v1,model=m,dimensions=2,price_per_million_tokens=1"
    assert parse_endpoint(written, {}, None, problems) is None
    assert "no place in the address" in problems[0]
    found = parse_endpoint(
        "x=http://host/v1,model=m,dimensions=2,price_per_million_tokens=1,key_env=K",
        {"K": "sk-1"},
        None,
        [],
    )
    assert found is not None
    assert "sk-1" not in repr(found)
    assert found.key_from == "the variable K"
