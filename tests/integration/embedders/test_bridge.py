"""A bridge: a map fitted from an index that exists, kept beside the data, named in fingerprints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from qafila.backfill.generations import fingerprint_of
from qafila.chunking.chunks import split
from qafila.chunking.tokens import tokenizer_name, tokenizer_of
from qafila.embedders.mapped import MappedEmbedder, calibrate, find_map, mapped_part, put_map
from qafila.embedders.port import Embedder
from qafila.endpoints import embedder_of
from qafila.errors import Refused
from qafila.sources.modes import Mode, mode_of
from qafila.sources.port import Key, KeyRange, SourceRow
from qafila.workload.corpus import Bridge, Chunking, Corpus
from qafila.workload.corpus import WordLlamaEmbedder as WordLlama
from qafila.workload.fingerprint import VectorPart
from tests.support.corpus import demo_workload

OLD_INDEX = {
    "kind": "pgvector",
    "block": "demo-source",
    "table": "old_index",
    "key": ["id"],
    "vectors": {"model": "wordllama-l2_supercat", "revision": "cased"},
}
WORDS = [
    "bucket",
    "queue",
    "table",
    "function",
    "role",
    "policy",
    "key",
    "stream",
    "cluster",
    "image",
    "volume",
    "network",
]


class Index:
    """An index of 600 texts with the vectors of an older model, read by frozen ranges."""

    def __init__(self, old: Embedder, rows: int = 600) -> None:
        generator = np.random.default_rng(1)
        texts = [" ".join(generator.choice(WORDS, 5)).title() + f" {n}" for n in range(rows)]
        self.rows = [
            SourceRow([n], "", text, [], vector=vector)
            for n, (text, vector) in enumerate(zip(texts, old.embed(texts), strict=True))
        ]
        self.asked: list[Key | None] = []

    def read(
        self, low: Key | None, high: Key | None, batch_rows: int
    ) -> Iterator[Sequence[SourceRow]]:
        self.asked.append(low)
        rows = [
            r for r in self.rows if (low is None or r.key > low) and (high is None or r.key <= high)
        ]
        for start in range(0, len(rows), batch_rows):
            yield rows[start : start + batch_rows]


RANGES = [KeyRange(None, [199], 200), KeyRange([199], [399], 200), KeyRange([399], None, 200)]


@pytest.fixture(scope="module")
def old() -> Embedder:
    return embedder_of(WordLlama(kind="wordllama", dimensions=128, lowercase=False))


@pytest.fixture(scope="module")
def new() -> Embedder:
    return embedder_of(WordLlama(kind="wordllama", dimensions=256))


def part_of(embedder: Embedder) -> VectorPart:
    return VectorPart(embedder.model, embedder.revision, embedder.dimensions, True)


def test_a_map_is_fitted_from_all_ranges_kept_and_found(
    target_url: str, old: Embedder, new: Embedder
) -> None:
    index: Any = Index(old)
    bridge = Bridge(calibration_texts=400, least_overlap=0.2)
    linear, quality = calibrate(index, RANGES, new, part_of(old), bridge)
    assert index.asked == [None, [199], [399]]
    assert quality.pairs == 400
    with psycopg.connect(target_url, autocommit=True) as target:
        assert find_map(target, "docs", part_of(old), part_of(new)) is None
        for _ in range(2):
            put_map(target, "docs", part_of(old), part_of(new), linear, quality)
        found = find_map(target, "docs", part_of(old), part_of(new))
        assert found is not None
        assert (found[0].digest, found[1]) == (linear.digest, quality)
        assert find_map(target, "docs", part_of(new), part_of(old)) is None
        assert find_map(target, "other", part_of(old), part_of(new)) is None


def test_mapped_and_made_vectors_lie_in_one_space_and_carry_their_name(
    old: Embedder, new: Embedder
) -> None:
    index: Any = Index(old)
    linear, _ = calibrate(index, RANGES, new, part_of(old), Bridge(least_overlap=0))
    mapped = MappedEmbedder(new, part_of(old), linear)
    texts = [r.text for r in index.rows[:50]]
    held: NDArray[np.float32] = np.array([r.vector for r in index.rows[:50]])
    assert np.mean(np.sum(mapped.map(held) * mapped.embed(texts), axis=1)) > 0.7
    assert mapped.count_tokens(texts) == new.count_tokens(texts)
    part = VectorPart(mapped.model, mapped.revision, mapped.dimensions, True)
    assert part == mapped_part(part_of(new), part_of(old), linear.digest)
    assert f"mapped from {old.model} by {linear.digest}" == mapped.model
    # no mapped vector passes for one that the new model made, or the other way about
    assert mode_of(part_of(new), part, cached=False).mode is Mode.RE_EMBED
    assert mode_of(part, part_of(new)).mode is Mode.RE_EMBED
    assert mode_of(part, part_of(old), map_from=part_of(old)).mode is Mode.MAP
    with pytest.raises(ValueError, match="from 128 to 256 dimensions"):
        MappedEmbedder(old, part_of(new), linear)


def test_a_map_that_is_too_bad_or_from_too_little_is_refused(old: Embedder, new: Embedder) -> None:
    index: Any = Index(old)
    for row in index.rows:
        row.vector[:] = np.random.default_rng(row.key[0]).normal(size=128)
    with pytest.raises(Refused, match=r"worse than bridge.least_overlap \(50%\)"):
        calibrate(index, RANGES, new, part_of(old), Bridge())
    with pytest.raises(Refused, match="only 40 rows of the source bring a usable vector"):
        calibrate(Index(old, 40), RANGES, new, part_of(old), Bridge())  # type: ignore[arg-type]
    with pytest.raises(Refused, match="only 0 rows"):
        calibrate(index, RANGES, new, part_of(new), Bridge())  # vectors of another length


def test_a_generation_names_the_map_that_made_it() -> None:
    workload = demo_workload(source=OLD_INDEX, bridge={})
    one, two = (fingerprint_of(workload, digest) for digest in ("ab12", "cd34"))
    assert one.model == "mapped from wordllama-l2_supercat by ab12"
    assert one.digest != two.digest
    assert one.digest != fingerprint_of(demo_workload(source=OLD_INDEX)).digest
    with pytest.raises(Refused, match="map is not fitted yet"):
        fingerprint_of(workload)


def test_parts_of_a_corpus_that_do_not_fit_are_all_named() -> None:
    corpus = demo_workload().corpus.model_dump()
    with pytest.raises(ValidationError) as error:
        Corpus.model_validate(
            {
                **corpus,
                "cache": True,
                "bridge": {},
                "chunking": {"method": "window"},
                "target": {"kind": "qdrant", "block": "there"},
            }
        )
    for words in ("cache needs", "bridge needs a target", "that holds vectors", "by whole"):
        assert words in str(error.value)


@pytest.mark.parametrize("lowercase", [False, True])
def test_tokens_are_the_model_s_and_lie_in_the_text_as_it_is(lowercase: bool) -> None:
    settings = WordLlama(kind="wordllama", lowercase=lowercase)
    chunking = Chunking(method="tokens", max_tokens=32, overlap_tokens=4)
    find = tokenizer_of(settings)
    assert find is not None
    text = "İstanbul ÉTÉ مَرْحَبًا 👩\u200d💻 Le Modèle lit. " * 20
    assert all(0 <= start <= end <= len(text) for start, end in find(text))
    model = embedder_of(settings)
    assert len(find(text)) == pytest.approx(model.count_tokens([text]), abs=40)  # İ becomes two
    for span in split(text, chunking, find):
        assert model.count_tokens([text[span.start : span.end]]) <= 34
    assert tokenizer_name(settings).endswith("+lower") == lowercase
