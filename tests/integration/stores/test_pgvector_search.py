"""Search in a generation: its language, either type of vector, planned anew each time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from qafila.errors import Refused
from qafila.search.table import (
    Searchable,
    generation_table,
    prepare_connection,
    search_hybrid,
    search_keywords,
    search_vectors,
    search_vectors_exact,
)
from qafila.stores.pgvector.store import PgvectorStore
from qafila.stores.port import Checkpoint, Chunk, Place, Vectors
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.fingerprint import text_digest

PLACE = Place("docs", 1, "f" * 16, 8)
TEXTS = {
    "english": ("the caravans were travelling at night", "travel by night"),
    "french": ("les caravanes traversaient le désert", "traverser un désert"),
    "arabic": ("سافرت القوافل في الصحراء", "قافلة الصحراء"),
    "simple": ("Karavaan nacht", "nacht"),
}


@pytest.fixture(params=[None, 0], ids=["never prepared", "prepared at once"])
def target(request: pytest.FixtureRequest, target_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(
        target_url, autocommit=True, prepare_threshold=request.param
    ) as connection:
        yield connection


def filled(target: psycopg.Connection[Any], text: str, **how: Any) -> Searchable:
    settings = PgvectorTarget.model_validate({"kind": "pgvector", "block": "t", **how})
    store = PgvectorStore(target, PLACE, settings)
    store.prepare()
    store.claim(0, 1)
    texts = [text, *(f"something else {n}" for n in range(40))]
    batch = [
        Chunk(f"k{n:02}", 0, 0, len(t), "", t, text_digest(t), ["everyone"])
        for n, t in enumerate(texts)
    ]
    store.write(batch, units(len(batch)), Checkpoint(0, 1, ["k"], len(batch), len(batch), True))
    store.build_index()
    prepare_connection(target, ef_search=100)
    return generation_table(
        PLACE.name, full_text=settings.full_text, vector_type=settings.vector_type
    )


def units(rows: int) -> Vectors:
    raw = np.random.default_rng(5).standard_normal((rows, 8), np.float32)
    unit: Vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("language", TEXTS)
def test_keywords_are_found_in_the_language_of_the_corpus(
    target: psycopg.Connection[Any], language: str
) -> None:
    text, question = TEXTS[language]
    where = filled(target, text, full_text=language)
    assert [f.source_key for f in search_keywords(target, where, question, 3)] == ["k00"]


def test_words_are_stemmed_in_french_only_when_it_is_set(
    target: psycopg.Connection[Any],
) -> None:
    where = filled(target, "les chevaux traversaient", full_text="simple")
    assert search_keywords(target, where, "traverser", 3) == []


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_every_search_works_with_either_type(target: psycopg.Connection[Any], kind: str) -> None:
    where = filled(target, "a caravan", vector_type=kind)
    near = units(41)[7]
    assert search_vectors(target, where, near, 1)[0].source_key == "k07"
    assert search_vectors_exact(target, where, near, 1)[0].source_key == "k07"
    both = search_hybrid(target, where, "caravan", near, 2)
    assert {f.source_key for f in both} == {"k00", "k07"}


def test_without_lexemes_keyword_search_is_refused_and_vectors_are_found(
    target: psycopg.Connection[Any],
) -> None:
    where = filled(target, "a caravan", full_text="none")
    columns = target.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'qafila.chunk_docs_g1'::regclass"
    ).fetchall()
    assert ("lexemes",) not in columns
    with pytest.raises(Refused, match="full_text is none"):
        search_keywords(target, where, "caravan", 3)
    with pytest.raises(Refused, match="no hybrid search"):
        search_hybrid(target, where, "caravan", units(1)[0], 3)
    assert search_vectors(target, where, units(41)[3], 1)[0].source_key == "k03"


def test_a_search_is_never_prepared_so_an_exact_one_is_exact(
    target: psycopg.Connection[Any],
) -> None:
    where = filled(target, "a caravan", index="hnsw")
    store = PgvectorStore(target, PLACE)
    near = units(41)[7]
    for _ in range(12):
        search_vectors(target, where, near, 3)
        search_hybrid(target, where, "caravan", near, 3)
        store.search(near, 3, ["everyone"])
        assert store.search_exact(near, 3, ["everyone"])[0].source_key == "k07"
    prepared = target.execute("SELECT statement FROM pg_prepared_statements").fetchall()
    assert not [s for (s,) in prepared if "<=>" in s or "ts_rank" in s]
