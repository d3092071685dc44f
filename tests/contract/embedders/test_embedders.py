"""What every embedder promises: the in-process model, and a service over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from qafila.backfill.generations import fingerprint_of
from qafila.embedders.careful import EMPTY, NOT_FINITE, NUL, SURROGATE, UNKNOWN, embed_carefully
from qafila.embedders.governor import Purse
from qafila.embedders.openai_compatible import OpenAIEmbedder
from qafila.embedders.port import Embedder
from qafila.endpoints import embedder_of
from qafila.errors import BackfillHalted
from qafila.workload.corpus import OpenAIEmbedder as ServiceSettings
from qafila.workload.corpus import WordLlamaEmbedder as Settings
from tests.support.corpus import demo_workload
from tests.support.embedding_provider import KEY, MODEL, Provider, serving

TEXTS = ["Create a bucket", "", "créer un compartiment", "إنشاء حاوية", "x" * 5000, "bucket"]

Open = Callable[[int], Embedder]


@pytest.fixture(params=["wordllama", "http"])
def open_one(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Return a function that opens an embedder of so many dimensions."""
    if request.param == "wordllama":
        yield lambda d: embedder_of(Settings(kind="wordllama", dimensions=d))  # type: ignore[arg-type]
        return
    ledger = request.getfixturevalue("ledger_url")
    with ExitStack() as stack:

        def over_http(dimensions: int) -> Embedder:
            provider = stack.enter_context(serving(Provider(dimensions)))
            settings = ServiceSettings(
                kind="openai",
                block="provider",
                model=MODEL,
                dimensions=dimensions,
                price_per_million_tokens=0.1,
            )
            purse = Purse("docs", 1, None, Decimal(5), "USD", Decimal("0.1"))
            connection = {"url": provider.url, "api_key": KEY, "timeout_seconds": 10}
            opened = OpenAIEmbedder(settings, connection, ledger, purse)
            stack.callback(opened.close)
            return opened

        yield over_http


@pytest.fixture(params=[64, 256])
def embedder(request: pytest.FixtureRequest, open_one: Open) -> Embedder:
    return open_one(request.param)


def test_vectors_have_length_one_or_a_reason_never_nan(embedder: Embedder) -> None:
    made = embed_carefully(embedder, TEXTS)
    assert made.vectors.shape == (len(TEXTS), embedder.dimensions)
    assert made.vectors.dtype == np.float32
    lengths = np.linalg.norm(made.vectors, axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 1, 1, 1, 1], atol=1e-5)
    assert made.rejected == {1: EMPTY}
    assert made.kept.tolist() == [True, False, True, True, True, True]


def test_a_text_has_the_same_vector_in_any_company(embedder: Embedder) -> None:
    together = embed_carefully(embedder, TEXTS * 30).vectors
    alone = np.vstack([embed_carefully(embedder, [t]).vectors for t in TEXTS])
    np.testing.assert_allclose(together[: len(TEXTS)], alone, atol=1e-5)
    np.testing.assert_allclose(together[-len(TEXTS) :], alone, atol=1e-5)


def test_nothing_gives_nothing(embedder: Embedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimensions)
    assert embed_carefully(embedder, []).vectors.shape == (0, embedder.dimensions)


def test_what_no_store_can_hold_is_rejected_with_the_reason(open_one: Open) -> None:
    made = embed_carefully(open_one(64), ["a\0b", "fine", "half \ud83d a pair"])
    assert made.rejected == {0: NUL, 2: SURROGATE}
    assert np.linalg.norm(made.vectors[1]) == pytest.approx(1, abs=1e-5)


def test_tokens_are_counted_without_padding(embedder: Embedder) -> None:
    short, long = ["bucket"], ["a bucket of water " * 50]
    apart = embedder.count_tokens(short) + embedder.count_tokens(long)
    assert embedder.count_tokens(short + long) == pytest.approx(apart, abs=2)
    assert embedder.count_tokens([]) == 0


def test_two_embedders_of_the_same_model_agree(open_one: Open) -> None:
    one, two = open_one(64), open_one(64)
    assert (one.model, one.revision, one.dimensions) == (two.model, two.revision, two.dimensions)
    np.testing.assert_array_equal(one.embed(["bucket"]), two.embed(["bucket"]))


class Odd:
    """An embedder that answers whatever it was given."""

    model, revision = "odd", ""

    def __init__(self, answer: NDArray[np.float32]) -> None:
        self.answer = answer
        self.dimensions = 2

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self.answer

    def count_tokens(self, texts: Sequence[str]) -> int:
        return 0


def test_every_vector_is_looked_at() -> None:
    rows = [[3, 4], [np.nan, 1], [0, 0], [np.inf, 0], [0.6, 0.8], [1e30, 0]]
    made = embed_carefully(Odd(np.array(rows, np.float32)), list("abcdef"))
    assert made.rejected == {1: NOT_FINITE, 2: UNKNOWN, 3: NOT_FINITE}
    np.testing.assert_allclose(made.vectors[[0, 4, 5]], [[0.6, 0.8], [0.6, 0.8], [1, 0]], atol=1e-6)
    assert not made.vectors[[1, 2, 3]].any()


@pytest.mark.parametrize("shape", [(1, 2), (2, 3), (3, 2)])
def test_vectors_of_another_shape_halt_the_load(shape: tuple[int, int]) -> None:
    with pytest.raises(BackfillHalted, match="shape"):
        embed_carefully(Odd(np.ones(shape, np.float32)), ["a", "b"])


def test_the_fingerprint_names_what_the_model_says_of_itself() -> None:
    workload = demo_workload()
    made = embedder_of(workload.corpus.embedder)
    mark = fingerprint_of(workload)
    assert (mark.model, mark.model_revision, mark.dimensions) == (
        made.model,
        made.revision,
        made.dimensions,
    )
