"""Look at a Qdrant collection, read-only: what it says of itself, and its points or a sample."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from qafila.connections.qdrant import NoQdrantError
from qafila.errors import BadInput, Unavailable
from qafila.inspect.layouts import ACCESS, layout_of_payload, model_in, text_at
from qafila.inspect.model import Access, Facts, Health, Layout, Look, Metric
from qafila.inspect.observed import Row, observe
from qafila.workload.fingerprint import key_text

if TYPE_CHECKING:  # a second of import time that only Qdrant's users should pay
    from qdrant_client import QdrantClient

_BATCH = 256
_LAYOUT_POINTS = 50
_METRICS: Mapping[str, Metric] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2"}


class QdrantInspector:
    """Looks at collections through a client that the caller owns; changes nothing."""

    def __init__(self, client: QdrantClient, *, local: bool, sample_rows: int = 10_000) -> None:
        self._client = client
        self._local = local
        self._sample_rows = sample_rows

    def candidates(self) -> list[str]:
        """Return the names of all collections with a dense vector, but no checkpoints of ours."""
        from qafila.stores.qdrant.marks import checkpoint_collection

        with _ours():
            names = self._names()
            marks = {checkpoint_collection(n) for n in names}
            return [n for n in names if n not in marks and _dense(self._client.get_collection(n))]

    def inspect(
        self, collection: str, vector: str | None = None, layout: Layout | None = None
    ) -> list[Facts]:
        """Return the facts of each dense vector of a collection, or of one of them.

        Raises:
            BadInput: there is no such collection or vector.
            Unavailable: it may not be read, or does not answer.
        """
        with _ours():
            known = self._names()
        if collection not in known:
            raise BadInput(
                f"there is no collection {collection!r} here.",
                remedy=f"name one of: {', '.join(known) or 'none is there'}",
            )
        with _ours():
            info = self._client.get_collection(collection)
            dense = _dense(info)
            sparse = [f"{n or 'unnamed'} (sparse)" for n in info.config.params.sparse_vectors or {}]
            if not dense or (vector is not None and vector not in dense):
                told = ", ".join([n or "unnamed" for n in dense] + sparse) or "none"
                raise BadInput(
                    f"collection {collection!r} has no dense vector {vector or ''!r}.",
                    remedy=f"its vectors: {told}",
                )
            wanted = [vector] if vector is not None else list(dense)
            return [self._facts(collection, info, dense, w, sparse, layout) for w in wanted]

    def _names(self) -> list[str]:
        return sorted(c.name for c in self._client.get_collections().collections)

    def _facts(
        self,
        collection: str,
        info: Any,
        dense: Mapping[str, Any],
        vector: str,
        sparse: Sequence[str],
        given: Layout | None,
    ) -> Facts:
        rows = self._client.count(collection, exact=True).count
        layout = given or self._layout(collection)
        complete = rows <= self._sample_rows
        begun = time.perf_counter()
        observed = observe(self._read(collection, layout, vector, complete))
        how = "every point" if complete else "points drawn at random by the server, without a seed"
        seconds = time.perf_counter() - begun
        params = dense[vector]
        return Facts(
            store="qdrant",
            name=collection,
            vector=vector,
            vector_type="multi" if getattr(params, "multivector_config", None) else "dense",
            declared_dimensions=params.size,
            server=f"Qdrant {self._version()}",
            store_version=None if self._local else _numbers(self._version()),
            rows=rows,
            rows_counted=True,
            look=Look(observed.rows, complete, how, None, seconds),
            layout=layout,
            observed=observed,
            kind="collection",
            metric=_METRICS.get(getattr(params.distance, "value", str(params.distance)), "other"),
            health=health_of(info, local=self._local),
            unique_key=("id",),
            access=self._access(collection, info),
            settings=settings_of(info, params),
            other_vectors=(*(n or "unnamed" for n in dense if n != vector), *sparse),
            aliases=self._aliases(collection),
            unseen=("local mode: it keeps no index, no payload index and no server version",)
            if self._local
            else (),
        )

    def _read(self, collection: str, layout: Layout, vector: str, complete: bool) -> Iterator[Row]:
        field = layout.key[0] if layout.key else None
        for point in self._points(collection, vector, complete):
            payload = point.payload or {}
            parts = [payload.get(field, point.id) if field else point.id]
            if layout.number and layout.number in payload:
                parts.append(payload[layout.number])
            found = point.vector.get(vector) if isinstance(point.vector, dict) else point.vector
            flat = found if found and not isinstance(found[0], list) else None
            yield Row(
                key=key_text(parts),
                vector=None if flat is None else np.asarray(flat, np.float32),
                text=text_at(payload, layout.text) if layout.text else None,
                model=model_in(payload),
                elsewhere="blob" if payload.get("blob") else "",
            )

    def _points(self, collection: str, vector: str, complete: bool) -> Iterator[Any]:
        vectors: bool | list[str] = [vector] if vector else True
        if not complete:
            ids = iter(self._draw(collection))
            while batch := list(islice(ids, _BATCH)):
                yield from self._client.retrieve(
                    collection, batch, with_payload=True, with_vectors=vectors
                )
            return
        offset = None
        while True:
            points, offset = self._client.scroll(
                collection, limit=_BATCH, offset=offset, with_payload=True, with_vectors=vectors
            )
            yield from points
            if offset is None:
                return

    def _draw(self, collection: str) -> list[Any]:
        from qdrant_client import models

        drawn = self._client.query_points(
            collection,
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=self._sample_rows,
            with_payload=False,
            with_vectors=False,
        )
        return [p.id for p in drawn.points]

    def _layout(self, collection: str) -> Layout:
        points, _ = self._client.scroll(collection, limit=_LAYOUT_POINTS, with_payload=True)
        return layout_of_payload([p.payload or {} for p in points])

    def _access(self, collection: str, info: Any) -> tuple[Access, ...]:
        points, _ = self._client.scroll(collection, limit=_LAYOUT_POINTS, with_payload=True)
        names: dict[str, None] = {}
        for point in points:
            payload = point.payload or {}
            nested = [
                (f"{n}.", payload[n])
                for n in ("metadata", "meta")
                if isinstance(payload.get(n), dict)
            ]
            for before, part in [("", payload), *nested]:
                names.update({before + n: None for n in part if ACCESS.match(n)})
        schema = info.payload_schema or {}
        return tuple(
            Access(n, self._local or n in schema, self._local or _is_tenant(schema.get(n)))
            for n in names
        )

    def _aliases(self, collection: str) -> tuple[str, ...]:
        found = self._client.get_collection_aliases(collection).aliases
        return tuple(sorted(a.alias_name for a in found))

    def _version(self) -> str:
        return "local mode" if self._local else str(self._client.info().version)


def health_of(info: Any, *, local: bool) -> Health:
    """Return what a collection says of its condition; local mode has none."""
    if local:
        return Health()
    error = getattr(info.optimizer_status, "error", "") or ""
    return Health(
        status=info.status.value,
        optimizer_error=str(error),
        indexed_vectors=info.indexed_vectors_count,
        segments=info.segments_count,
        indexing_threshold_kb=info.config.optimizer_config.indexing_threshold,
    )


def settings_of(info: Any, params: Any) -> dict[str, str]:
    """Return the settings that decide how a vector is searched; its own beat the collection's."""
    config, own = info.config, getattr(params, "hnsw_config", None)
    quantization = getattr(params, "quantization_config", None) or config.quantization_config
    found: dict[str, Any] = {
        "m": getattr(own, "m", None) if own and own.m is not None else config.hnsw_config.m,
        "ef_construct": (own and own.ef_construct) or config.hnsw_config.ef_construct,
        "full_scan_threshold": config.hnsw_config.full_scan_threshold,
        "on_disk": getattr(params, "on_disk", None) or False,
        "payload on disk": config.params.on_disk_payload or False,
        "quantization": next(iter(quantization.model_dump(exclude_none=True)), "none")
        if quantization
        else "none",
        "shards": config.params.shard_number or 1,
        "replicas": config.params.replication_factor or 1,
    }
    return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in found.items()}


def _dense(info: Any) -> dict[str, Any]:
    vectors = info.config.params.vectors
    if not vectors:
        return {}
    return dict(vectors) if isinstance(vectors, dict) else {"": vectors}


def _is_tenant(field: Any) -> bool:
    return bool(getattr(getattr(field, "params", None), "is_tenant", False))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(p) for p in version.split("-")[0].split(".") if p.isdigit())


@contextmanager
def _ours() -> Iterator[None]:
    """Turn the client's errors into ours."""
    from qdrant_client.common.client_exceptions import QdrantException

    from qafila.connections.qdrant_faults import FAULTS, come_back, first_line

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        try:
            yield
        except NoQdrantError as error:
            raise Unavailable(
                f"{error}.",
                kept="everything; nothing was touched.",
                remedy="give the address of Qdrant's REST interface, by default port 6333, then "
                "look again",
            ) from error
        except QdrantException as error:
            raise Unavailable(
                f"{come_back(error)}.",
                kept="everything; it was only read.",
                remedy="look again then, or at fewer points (--sample)",
            ) from error
        except FAULTS as error:
            raise Unavailable(
                f"Qdrant does not answer: {first_line(error)}",
                kept="everything; nothing was touched.",
                remedy="check the address and the key (QDRANT_API_KEY), then look again",
            ) from error
