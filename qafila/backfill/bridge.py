"""Fit the map of a bridge and keep it in the target, before its generation is opened."""

from __future__ import annotations

from qafila.backfill.generations import model_of
from qafila.backfill.plan import shard_rows
from qafila.connections.postgres import connect_postgres
from qafila.embedders.linear_map import MapQuality
from qafila.embedders.mapped import calibrate, put_map
from qafila.endpoints import open_embedder, open_source, reach_of
from qafila.errors import BadInput
from qafila.ledger.ledger import Connection
from qafila.sources.port import Source
from qafila.sql import apply_schema
from qafila.workload.corpus import PgvectorSource, QdrantSource
from qafila.workload.fingerprint import VectorPart
from qafila.workload.model import Workload

_LOOKED_AT = 1000  # rows, for one that brings a vector


def fit_bridge(ledger: Connection, workload: Workload) -> tuple[str, MapQuality]:
    """Embed a sample with the new model, fit the map, keep it; return its digest and quality.

    Costs ``bridge.calibration_texts`` texts at the new model; the spend cap holds.

    Raises:
        BadInput: the workload is no bridge, or its source brings no vector.
        Refused: the map is worse than the workload allows.
    """
    corpus, reach = workload.corpus, reach_of(ledger, workload)
    if corpus.bridge is None or not isinstance(corpus.source, PgvectorSource | QdrantSource):
        raise BadInput(
            f"{workload.name} is no bridge.",
            ["corpus.bridge is not set"],
            remedy="add corpus.bridge to the workload file, then: qafila apply FILE",
        )
    with (
        open_source(ledger, workload, reach) as source,
        open_embedder(None, workload, reach) as embedder,
        connect_postgres(**reach.target) as target,
    ):
        problems = source.problems()
        dimensions = None if problems else _dimensions(source)
        if dimensions is None:
            raise BadInput(
                f"the bridge of {workload.name} cannot be fitted:",
                problems or [f"none of the first {_LOOKED_AT} rows brings a vector"],
                remedy="mend corpus.source in the workload file, then: qafila apply FILE",
            )
        origin, (model, revision) = corpus.source.vectors, model_of(corpus.embedder)
        old = VectorPart(origin.model, origin.revision, dimensions, origin.normalised)
        new = VectorPart(model, revision, corpus.embedder.dimensions, True)
        ranges = source.freeze(shard_rows(source.volume().rows))
        found, quality = calibrate(source, ranges, embedder, old, corpus.bridge)
        apply_schema(target, "target")
        put_map(target, workload.name, old, new, found, quality)
    return found.digest, quality


def _dimensions(source: Source) -> int | None:
    seen = 0
    for batch in source.read(None, None, 100):
        for row in batch:
            if row.vector is not None:
                return len(row.vector)
        seen += len(batch)
        if seen >= _LOOKED_AT:
            break
    return None
