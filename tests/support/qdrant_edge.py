"""Qdrant's real engine in this process (qdrant-edge), under the calls of qdrant-client we use.

The engine filters, applies conditional updates, searches and counts as a server does; what is ours
here is only the translation of requests. No cluster, no optimizer in the background.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.http import models as http

_DISTANCES = {models.Distance.DOT: edge.Distance.Dot, models.Distance.COSINE: edge.Distance.Cosine}
_INDEXES = {models.PayloadSchemaType.KEYWORD: edge.PayloadSchemaType.Keyword}


class EdgeClient:
    """As much of ``QdrantClient`` as the store asks for; every collection is one shard."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="qafila-edge-"))
        self._shards: dict[str, edge.EdgeShard] = {}
        self._params: dict[str, models.VectorParams] = {}
        self._hnsw: dict[str, models.HnswConfigDiff] = {}
        self._indexed: dict[str, dict[str, models.PayloadSchemaType]] = {}
        self._aliases: dict[str, str] = {}
        self.init_options: dict[str, Any] = {}

    def close(self) -> None:
        for name in list(self._shards):
            self.delete_collection(name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def info(self) -> models.VersionInfo:
        return models.VersionInfo(title="qdrant - vector search engine", version="1.20.0")

    def get_collections(self) -> models.CollectionsResponse:
        there = [models.CollectionDescription(name=name) for name in self._shards]
        return models.CollectionsResponse(collections=there)

    def collection_exists(self, name: str) -> bool:
        return name in self._shards

    def create_collection(
        self,
        name: str,
        vectors_config: models.VectorParams,
        hnsw_config: models.HnswConfigDiff | None = None,
        **_: Any,
    ) -> bool:
        vectors = edge.EdgeVectorParams(
            size=vectors_config.size, distance=_DISTANCES[vectors_config.distance]
        )
        path = str(self._folder / uuid.uuid4().hex)
        self._shards[name] = edge.EdgeShard.create(path, edge.EdgeConfig(vectors=vectors))
        self._params[name], self._indexed[name] = vectors_config, {}
        self._hnsw[name] = hnsw_config or models.HnswConfigDiff()
        return True

    def update_collection(
        self, name: str, hnsw_config: models.HnswConfigDiff | None = None, **_: Any
    ) -> bool:
        if hnsw_config is not None:
            self._hnsw[name] = hnsw_config
            self._shards[name].optimize()
        return True

    def get_collection(self, name: str) -> models.CollectionInfo:
        seen, diff = self._shards[name].info(), self._hnsw[name]
        return models.CollectionInfo(
            status=models.CollectionStatus.GREEN,
            optimizer_status=models.OptimizersStatusOneOf.OK,
            indexed_vectors_count=seen.indexed_vectors_count,
            points_count=seen.points_count,
            segments_count=seen.segments_count,
            payload_schema={
                field: models.PayloadIndexInfo(data_type=schema, points=seen.points_count)
                for field, schema in self._indexed[name].items()
            },
            config=models.CollectionConfig(
                params=models.CollectionParams(vectors=self._params[name]),
                hnsw_config=models.HnswConfig(
                    m=16 if diff.m is None else diff.m,
                    ef_construct=diff.ef_construct or 100,
                    full_scan_threshold=10_000,
                ),
                optimizer_config=models.OptimizersConfig(
                    deleted_threshold=0.2,
                    vacuum_min_vector_number=1000,
                    default_segment_number=0,
                    flush_interval_sec=5,
                ),
            ),
        )

    def delete_collection(self, name: str) -> bool:
        if name in self._shards:
            self._shards.pop(name).close()
        return True

    def create_payload_index(
        self, name: str, field: str, schema: models.PayloadSchemaType, **_: Any
    ) -> models.UpdateResult:
        self._indexed[name][field] = schema
        return self._update(name, edge.UpdateOperation.create_field_index(field, _INDEXES[schema]))

    def upsert(
        self,
        name: str,
        points: models.Batch | Sequence[models.PointStruct],
        update_filter: models.Filter | None = None,
        **_: Any,
    ) -> models.UpdateResult:
        if isinstance(points, models.Batch):
            rows = zip(points.ids, points.vectors, points.payloads or [], strict=True)
            made = [edge.Point(_id(i), v, p) for i, v, p in rows]
        else:
            made = [edge.Point(_id(p.id), p.vector, p.payload) for p in points]
        condition = None if update_filter is None else _filter(update_filter)
        return self._update(name, edge.UpdateOperation.upsert_points(made, condition=condition))

    def set_payload(
        self, name: str, payload: dict[str, Any], points: models.Filter, **_: Any
    ) -> models.UpdateResult:
        chosen = edge.UpdateOperation.set_payload_by_filter(_filter(points), payload)
        return self._update(name, chosen)

    def delete(
        self, name: str, points_selector: models.Filter | models.FilterSelector, **_: Any
    ) -> models.UpdateResult:
        chosen = getattr(points_selector, "filter", points_selector)
        return self._update(name, edge.UpdateOperation.delete_points_by_filter(_filter(chosen)))

    def retrieve(
        self, name: str, ids: Sequence[Any], with_payload: bool = True, **_: Any
    ) -> list[models.Record]:
        found = self._shards[name].retrieve(
            [_id(i) for i in ids], with_payload=with_payload, with_vector=False
        )
        return [_record(r) for r in found]

    def scroll(
        self,
        name: str,
        scroll_filter: models.Filter | None = None,
        limit: int = 10,
        offset: Any = None,
        with_payload: bool | list[str] = True,
        with_vectors: bool = False,
        **_: Any,
    ) -> tuple[list[models.Record], Any]:
        records, after = self._shards[name].scroll(
            edge.ScrollRequest(
                offset=None if offset is None else _id(offset),
                limit=limit,
                filter=None if scroll_filter is None else _filter(scroll_filter),
                with_payload=with_payload,
                with_vector=with_vectors,
            )
        )
        return [_record(r) for r in records], str(after) if isinstance(after, uuid.UUID) else after

    def count(
        self,
        name: str,
        count_filter: models.Filter | None = None,
        exact: bool = True,
        **_: Any,
    ) -> models.CountResult:
        chosen = None if count_filter is None else _filter(count_filter)
        asked = edge.CountRequest(exact=exact, filter=chosen)
        return models.CountResult(count=self._shards[name].count(asked))

    def query_points(
        self,
        name: str,
        query: list[float],
        limit: int,
        query_filter: models.Filter,
        search_params: models.SearchParams,
        with_payload: list[str],
        **_: Any,
    ) -> http.QueryResponse:
        found = self._shards[name].query(
            edge.QueryRequest(
                limit=limit,
                query=edge.Query.Nearest(query),
                filter=_filter(query_filter),
                params=edge.SearchParams(
                    exact=bool(search_params.exact), hnsw_ef=search_params.hnsw_ef
                ),
                with_payload=with_payload,
            )
        )
        points = [
            models.ScoredPoint(id=str(p.id), version=0, score=p.score, payload=p.payload)
            for p in found
        ]
        return http.QueryResponse(points=points)

    def get_aliases(self) -> models.CollectionsAliasesResponse:
        pairs = self._aliases.items()
        return models.CollectionsAliasesResponse(
            aliases=[models.AliasDescription(alias_name=a, collection_name=c) for a, c in pairs]
        )

    def get_collection_aliases(self, name: str) -> models.CollectionsAliasesResponse:
        there = [a for a in self.get_aliases().aliases if a.collection_name == name]
        return models.CollectionsAliasesResponse(aliases=there)

    def update_collection_aliases(self, changes: Sequence[models.AliasOperations]) -> bool:
        for change in changes:
            if isinstance(change, models.DeleteAliasOperation):
                self._aliases.pop(change.delete_alias.alias_name, None)
            elif isinstance(change, models.CreateAliasOperation):
                new = change.create_alias
                self._aliases[new.alias_name] = new.collection_name
        return True

    def _update(self, name: str, operation: Any) -> models.UpdateResult:
        self._shards[name].update(operation)
        return models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def _id(value: Any) -> Any:
    return uuid.UUID(value) if isinstance(value, str) else value


def _record(found: Any) -> models.Record:
    own = str(found.id) if isinstance(found.id, uuid.UUID) else found.id
    return models.Record(id=own, payload=found.payload, vector=found.vector or None)


def _filter(chosen: models.Filter) -> Any:
    return edge.Filter(must=_conditions(chosen.must), must_not=_conditions(chosen.must_not))


def _conditions(conditions: Any) -> list[Any] | None:
    return None if conditions is None else [_condition(c) for c in conditions]


def _condition(condition: Any) -> Any:
    if isinstance(condition, models.HasIdCondition):
        return edge.HasIdCondition({_id(i) for i in condition.has_id})
    match, span = condition.match, condition.range
    if isinstance(match, models.MatchAny):
        return edge.FieldCondition(condition.key, match=edge.MatchAny(list(match.any)))
    if isinstance(match, models.MatchValue):
        return edge.FieldCondition(condition.key, match=edge.MatchValue(match.value))
    wanted = edge.RangeFloat(gt=span.gt, gte=span.gte, lt=span.lt, lte=span.lte)
    return edge.FieldCondition(condition.key, range=wanted)
