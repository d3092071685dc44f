"""What every embedder promises; the in-process model so far."""

from __future__ import annotations

import numpy as np
import pytest

from qafila.core.corpus import WordLlamaEmbedder as Settings
from tasks.embedders.port import Embedder, make_embedder
from tasks.generations import fingerprint_of
from tests.corpus import demo_workload

TEXTS = ["Create a bucket", "", "créer un compartiment", "إنشاء حاوية", "x" * 5000, "bucket"]


@pytest.fixture(params=[64, 256])
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return make_embedder(Settings(kind="wordllama", dimensions=request.param))


def test_vectors_have_length_one_or_are_zero_never_nan(embedder: Embedder) -> None:
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), embedder.dimensions)
    assert vectors.dtype == np.float32
    lengths = np.linalg.norm(vectors, axis=1)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(lengths[[0, 2, 3, 4, 5]], 1, atol=1e-5)
    assert lengths[1] == 0


def test_a_text_has_the_same_vector_in_any_company(embedder: Embedder) -> None:
    together = embedder.embed(TEXTS * 30)
    alone = np.vstack([embedder.embed([t]) for t in TEXTS])
    np.testing.assert_allclose(together[: len(TEXTS)], alone, atol=1e-5)
    np.testing.assert_allclose(together[-len(TEXTS) :], alone, atol=1e-5)


def test_nothing_gives_nothing(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimensions)


def test_the_fingerprint_names_what_the_model_says_of_itself() -> None:
    workload = demo_workload()
    made = make_embedder(workload.corpus.embedder)
    mark = fingerprint_of(workload)
    assert (mark.model, mark.model_revision, mark.dimensions) == (
        made.model, made.revision, made.dimensions,
    )  # fmt: skip
