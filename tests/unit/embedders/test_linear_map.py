"""Maps between models: known ones are found, noise is told from signal, bytes come back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qafila.embedders.linear_map import LinearMap, fit, overlap_at_k

Vectors = NDArray[np.float32]


def unit(vectors: NDArray[np.floating]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def texts(rows: int, dimensions: int, seed: int = 1) -> Vectors:
    """Vectors as models make them: some directions matter more, and they have a mean."""
    generator = np.random.default_rng(seed)
    weights = 1 / np.sqrt(1 + np.arange(dimensions))
    return unit(generator.normal(size=(rows, dimensions)) * weights + 0.3 * weights)


def rotation(dimensions: int, seed: int = 2) -> NDArray[np.float64]:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimensions, dimensions)))[0]


def test_a_rotation_is_found_and_by_the_method_that_only_turns() -> None:
    old, turn = texts(300, 32), rotation(32)
    found, quality = fit(old, unit(old @ turn), seed=7)
    assert found.method == quality.method == "procrustes"
    assert quality.overlap_at_10 == pytest.approx(1.0, abs=0.01)
    assert quality.mean_cosine == pytest.approx(1.0, abs=1e-4)
    assert quality.before_overlap_at_10 == pytest.approx(1.0, abs=0.01)  # turned, none moved
    assert (quality.pairs, quality.held_out) == (300, 60)
    np.testing.assert_allclose(found.apply(old), unit(old @ turn), atol=1e-3)


def test_a_stretch_is_found_by_ridge() -> None:
    old = texts(2000, 32)
    stretch = rotation(32) @ np.diag(np.linspace(0.2, 4, 32)) @ rotation(32, 3)
    found, quality = fit(old, unit(old @ stretch), seed=7)
    assert found.method == "ridge"
    assert quality.overlap_at_10 > 0.9 > quality.before_overlap_at_10


def test_noise_costs_quality_and_no_relation_is_seen_for_what_it_is() -> None:
    old, turn = texts(600, 32), rotation(32)
    noise = np.random.default_rng(5).normal(size=old.shape)
    scores = [
        fit(old, unit(old @ turn + level * noise), seed=7)[1].overlap_at_10
        for level in (0.0, 0.02, 0.1)
    ]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[2] > 0.2
    _, quality = fit(old, texts(600, 32, seed=99), seed=7)
    assert quality.overlap_at_10 < 0.3  # 10 of 120 by chance: 0.08
    assert "texts held out" in quality.sentence()


@pytest.mark.parametrize(("before", "after"), [(48, 16), (16, 48)])
def test_models_of_other_dimensions_are_mapped(before: int, after: int) -> None:
    old = texts(400, before)
    project = np.random.default_rng(3).normal(size=(before, after))
    found, quality = fit(old, unit(old @ project), seed=7)
    assert found.apply(old).shape == (400, after)
    assert quality.overlap_at_10 > 0.8


def test_mapped_vectors_have_length_one_or_are_zero() -> None:
    old = texts(100, 8)
    found, _ = fit(old, unit(old @ rotation(8)), seed=7)
    given = np.vstack([old[:2] * 7, np.zeros((1, 8)), np.full((1, 8), np.nan)]).astype(np.float32)
    mapped = found.apply(given)
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), [1, 1, 0, 0], atol=1e-5)
    np.testing.assert_array_equal(mapped[:2], found.apply(old[:2] * 7))  # length says nothing
    assert found.apply(np.zeros((0, 8), np.float32)).shape == (0, 8)


def test_the_same_pairs_and_seed_give_the_same_map_and_other_pairs_another() -> None:
    old, new = texts(200, 16), texts(200, 12, seed=4)
    one, two = fit(old, new, seed=7)[0], fit(old, new, seed=7)[0]
    assert one.digest == two.digest
    assert fit(old, new, seed=8)[0].digest != one.digest
    assert fit(old[:150], new[:150], seed=7)[0].digest != one.digest


@pytest.mark.parametrize("method", ["ridge", "procrustes"])
def test_bytes_come_back_as_the_same_map(method: str) -> None:
    found, quality = fit(texts(200, 16), texts(200, 12, seed=4), seed=7, methods=[method])  # type: ignore[list-item]
    assert quality.method == method
    body = found.to_bytes()
    back = LinearMap.from_bytes(body)
    assert (back.method, back.digest, back.matrix.shape) == (method, found.digest, (16, 12))
    np.testing.assert_array_equal(back.matrix, found.matrix)
    np.testing.assert_array_equal(back.offset, found.offset)
    for broken in (b"", b"QMAP1", b"QMAP1\x05ridge", body[:-1], body + b"\0", b"X" + body[1:]):
        with pytest.raises(ValueError, match="map"):
            LinearMap.from_bytes(broken)


def test_useless_pairs_are_left_out_and_too_few_refused() -> None:
    old, new = texts(80, 8), texts(80, 8, seed=4)
    old[3], new[4] = 0, np.nan
    assert fit(old, new, seed=7)[1].pairs == 78
    with pytest.raises(ValueError, match="49 usable pairs are too few"):
        fit(old[5:54], new[5:54], seed=7)
    with pytest.raises(ValueError, match="no pairs"):
        fit(old, new[1:], seed=7)


def test_overlap_counts_shared_neighbours() -> None:
    truth, found = np.array([[1, 2], [3, 4]]), np.array([[2, 1], [4, 9]])
    assert overlap_at_k(truth, found) == pytest.approx((1 + 0.5) / 2)
