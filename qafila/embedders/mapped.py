"""Vectors of an old index, mapped to those of a new model: what fills a bridge generation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from qafila.embedders.linear_map import FEWEST_PAIRS, LinearMap, MapQuality, Method, fit
from qafila.embedders.port import Embedder
from qafila.errors import Refused
from qafila.sources.port import KeyRange, Source, SourceRow
from qafila.sql import statement
from qafila.text.blanks import is_blank
from qafila.workload.corpus import Bridge
from qafila.workload.fingerprint import VectorPart

_BATCH = 64


def mapped_part(new: VectorPart, old: VectorPart, digest: str) -> VectorPart:
    """Return what makes the vectors of a bridge generation: both models and the map's digest.

    It equals that of no other generation, so that nothing copies or reuses a mapped vector as one
    that the new model made.
    """
    return VectorPart(
        model=f"mapped from {old.model} by {digest}",
        revision=f"{old.revision} to {new.model} {new.revision}".strip(),
        dimensions=new.dimensions,
        normalised=True,
    )


class MappedEmbedder:
    """An embedder that maps vectors where a row brings one, and asks the new model where not.

    ``map`` takes the vectors of the old index. ``embed`` is for texts that have none, such as
    documents that came meanwhile: their vectors are the new model's own, and lie in one space with
    the mapped ones.
    """

    def __init__(self, new: Embedder, old: VectorPart, linear: LinearMap) -> None:
        if linear.matrix.shape != (old.dimensions, new.dimensions):
            raise ValueError(
                f"the map goes from {linear.matrix.shape[0]} to {linear.matrix.shape[1]} "
                f"dimensions, the models have {old.dimensions} and {new.dimensions}"
            )
        self._new, self._map = new, linear
        part = mapped_part(
            VectorPart(new.model, new.revision, new.dimensions, True), old, linear.digest
        )
        self.dimensions, self.model, self._revision = new.dimensions, part.model, part.revision

    @property
    def revision(self) -> str:
        """Return what, beside the model's name, decides its vectors."""
        return self._revision

    def map(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an array of shape (vectors, dimensions): rows of length 1, or all zero."""
        return self._map.apply(vectors)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return what the new model makes of these texts."""
        return self._new.embed(texts)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return how many tokens the new model reads in these texts."""
        return self._new.count_tokens(texts)


def calibrate(
    source: Source, ranges: Sequence[KeyRange], new: Embedder, old: VectorPart, bridge: Bridge
) -> tuple[LinearMap, MapQuality]:
    """Embed a sample of the old index with the new model and fit a map to the pairs.

    Rows are taken from the beginning of every frozen range in turn, so that the sample does not
    come from one end of the keys. Costs ``bridge.calibration_texts`` texts at the new model.

    Raises:
        Refused: too few rows bring a vector, or the map is worse than the workload allows.
    """
    rows = list(_sample(source, ranges, old.dimensions, bridge.calibration_texts))
    if len(rows) < FEWEST_PAIRS:
        raise Refused(
            f"only {len(rows)} rows of the source bring a usable vector of {old.dimensions} "
            f"dimensions with a text; a map needs {FEWEST_PAIRS}.",
            kept="everything; nothing was written.",
            remedy="take bridge out of the workload file, so that all texts are embedded.",
        )
    before = np.array([r.vector for r in rows], np.float32)
    after = np.vstack(
        [new.embed([r.text for r in rows[i : i + _BATCH]]) for i in range(0, len(rows), _BATCH)]
    )
    methods: Sequence[Method] = (
        ("ridge", "procrustes") if bridge.method == "best" else (bridge.method,)
    )
    try:
        found, quality = fit(before, after, seed=bridge.seed, methods=methods)
    except ValueError as error:  # the new model has no vector for most of the sample
        raise Refused(
            f"the map from {old.model} cannot be fitted: {error}.",
            kept="everything; nothing was written.",
            remedy="take bridge out of the workload file, so that all texts are embedded.",
        ) from error
    if quality.overlap_at_10 < bridge.least_overlap:
        raise Refused(
            f"the map from {old.model} is worse than bridge.least_overlap "
            f"({bridge.least_overlap:.0%}): {quality.sentence()}",
            kept="everything; nothing was written.",
            remedy="raise bridge.calibration_texts, or take bridge out of the workload file.",
        )
    return found, quality


def put_map(
    target: psycopg.Connection[Any],
    workload: str,
    old: VectorPart,
    new: VectorPart,
    linear: LinearMap,
    quality: MapQuality,
) -> None:
    """Keep a map beside the data; harmless when it is there."""
    target.execute(
        statement("cache", "put_map"),
        {
            "digest": linear.digest,
            "workload": workload,
            "from_vectors": old.digest,
            "to_vectors": new.digest,
            "body": linear.to_bytes(),
            "quality": Jsonb(vars(quality)),
        },
    )


def find_map(
    target: psycopg.Connection[Any], workload: str, old: VectorPart, new: VectorPart
) -> tuple[LinearMap, MapQuality] | None:
    """Return the newest map of a workload between these two; None when none was kept."""
    row = target.execute(
        statement("cache", "find_map"),
        {"workload": workload, "from_vectors": old.digest, "to_vectors": new.digest},
    ).fetchone()
    return None if row is None else (LinearMap.from_bytes(bytes(row[0])), MapQuality(**row[1]))


def _sample(
    source: Source, ranges: Sequence[KeyRange], dimensions: int, most: int
) -> Iterator[SourceRow]:
    """Yield usable rows, as many from each range as it takes to have ``most`` of them."""
    left = most
    for number, span in enumerate(ranges):
        wanted = -(-left // (len(ranges) - number))
        for batch in source.read(span.low, span.high, max(1, min(wanted, 500))):
            usable = [r for r in batch if _usable(r, dimensions)][:wanted]
            yield from usable
            wanted, left = wanted - len(usable), left - len(usable)
            if wanted <= 0:
                break


def _usable(row: SourceRow, dimensions: int) -> bool:
    vector = row.vector
    return (
        vector is not None
        and len(vector) == dimensions
        and not is_blank(row.text)
        and bool(np.isfinite(vector).all() and vector.any())
    )
