"""The cache of vectors against a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from qafila.stores.vector_cache import EmbeddingCache
from qafila.workload.fingerprint import VectorPart, text_digest

PART = VectorPart("small", "1", 8, True)


@pytest.fixture
def target(target_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(target_url, autocommit=True) as connection:
        yield connection


def digests(*texts: str) -> list[bytes]:
    return [text_digest(t) for t in texts]


def unit(rows: int, seed: int = 3) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_vectors_come_back_as_they_went_in(target: psycopg.Connection) -> None:
    cache, vectors = EmbeddingCache(target, PART), unit(3)
    cache.put(digests("a", "b", "c"), vectors)
    found, held = cache.find(digests("c", "nowhere", "a", "c"))
    assert found.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(held, [vectors[2], np.zeros(8), vectors[0], vectors[2]])
    assert held.dtype == np.float32
    assert cache.find([])[1].shape == (0, 8)


@pytest.mark.parametrize(
    "other",
    [
        VectorPart("large", "1", 8, True),
        VectorPart("small", "2", 8, True),
        VectorPart("small", "1", 8, False),
        VectorPart("small", "1", 4, True),
    ],
)
def test_another_model_finds_nothing(target: psycopg.Connection, other: VectorPart) -> None:
    EmbeddingCache(target, PART).put(digests("a"), unit(1))
    assert not EmbeddingCache(target, other).find(digests("a"))[0].any()


def test_the_first_vector_stays_and_a_useless_one_is_not_kept(target: psycopg.Connection) -> None:
    cache, first = EmbeddingCache(target, PART), unit(1)
    cache.put(digests("a"), first)
    useless = [np.zeros((1, 8), np.float32), np.full((1, 8), np.nan, np.float32)]
    cache.put(digests("a", "zero", "nan", "b", "b"), np.vstack([unit(1, 4), *useless, unit(2, 5)]))
    found, held = cache.find(digests("a", "zero", "nan", "b"))
    assert found.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(held[0], first[0])


def test_an_entry_of_another_length_is_none(target: psycopg.Connection) -> None:
    cache = EmbeddingCache(target, PART)
    target.execute(
        "INSERT INTO qafila.embedding_cache (text_digest, fingerprint, embedding)"
        " VALUES (%s, %s, %s)",
        [*digests("a"), PART.digest, b"\0" * 12],
    )
    assert not cache.find(digests("a"))[0].any()


def test_a_text_can_be_forgotten_in_every_model(target: psycopg.Connection) -> None:
    other = VectorPart("large", "1", 8, True)
    for part in (PART, other):
        EmbeddingCache(target, part).put(digests("a", "b"), unit(2))
    assert EmbeddingCache(target, PART).forget(digests("a")) == 2
    assert EmbeddingCache(target, other).find(digests("a", "b"))[0].tolist() == [False, True]


def test_workers_that_put_the_same_texts_never_deadlock(target_url: str) -> None:
    texts, vectors = digests(*map(str, range(400))), unit(400)
    failed: list[psycopg.Error] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(400)
        try:
            with psycopg.connect(target_url, autocommit=True) as connection:
                cache = EmbeddingCache(connection, PART)
                for part in np.array_split(order, 4):
                    cache.put([texts[i] for i in part], vectors[part])
        except psycopg.Error as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with psycopg.connect(target_url, autocommit=True) as connection:
        found, held = EmbeddingCache(connection, PART).find(texts)
        assert found.all()
        np.testing.assert_array_equal(held, vectors)
        stored = connection.execute("SELECT count(*) FROM qafila.embedding_cache").fetchone()
        assert stored == (400,)
