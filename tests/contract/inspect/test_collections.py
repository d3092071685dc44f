"""Faults of a Qdrant collection are found: in its points, its server's word, its payloads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from qafila.errors import BadInput
from qafila.inspect.layouts import text_at
from qafila.inspect.qdrant import QdrantInspector, health_of, settings_of
from qafila.inspect.rules import inspect
from qafila.sources.qdrant import QdrantSource as ReadQdrant
from qafila.stores.port import Place
from qafila.stores.qdrant.store import QdrantStore
from qafila.workload.corpus import QdrantSource
from tests.contract.inspect.indexes import (
    ROWS,
    WIDTH,
    codes,
    collection,
    look_in,
    pasted,
    points,
    text,
    the,
    unit,
)


def test_a_healthy_collection_has_no_finding() -> None:
    seen = look_in(collection(points()))
    assert seen.findings == ()
    assert (seen.facts.rows, seen.facts.metric, seen.facts.look.complete) == (ROWS, "dot", True)
    assert seen.facts.layout.maker == "LangChain (QdrantVectorStore)"


def test_the_checkpoints_of_a_generation_are_no_index_to_look_at() -> None:
    client = QdrantClient(":memory:")
    place = Place("shop", 1, "0" * 16, 2)
    store = QdrantStore(client, place)
    store.prepare()
    assert store.claim(0, 1).rows == 0
    assert QdrantInspector(client, local=True).candidates() == [place.name]


@pytest.mark.parametrize(
    ("code", "changed", "keys"),
    [
        ("zero-vectors", {"vector": {3: [0.0] * WIDTH}}, ("3",)),
        ("null-vectors", {"vector": {4: {}}}, ("4",)),
        ("nan-vectors", {"vector": {5: [float("inf")] * WIDTH}}, ("5",)),
        ("unnormalised-vectors", {"vector": {6: [2.0] * WIDTH}}, ("6",)),
        ("missing-text", {"text": {7: ""}}, ("7",)),
        ("duplicate-vectors", {"vector": {8: unit(ROWS)[9].tolist()}}, ("8", "9")),
        ("same-text-other-vector", {"text": {11: text(10)}}, ("11",)),
        (
            "mixed-models",
            {"metadata": {n: {"embedding_model": "a" if n else "b"} for n in range(ROWS)}},
            ("0",),
        ),
    ],
)
def test_a_fault_in_points_is_found(
    code: str, changed: Mapping[str, Any], keys: tuple[str, ...]
) -> None:
    found = the(look_in(collection(points(**changed))), code)
    assert (found.count, sorted(found.examples)) == (len(keys), sorted(keys))


def test_points_of_a_large_collection_are_drawn() -> None:
    seen = look_in(collection(points(vector={n: [0.0] * WIDTH for n in range(50)})), sample_rows=80)
    drawn = seen.facts.look
    assert (drawn.read, drawn.complete, drawn.seed) == (80, False, None)
    zero = the(seen, "zero-vectors")
    assert zero.low is not None
    assert zero.high is not None
    assert zero.low < 0.25 < zero.high


def info(**changed: Any) -> models.CollectionInfo:
    """Return what a server says of a collection; local mode says nothing of the kind."""
    hnsw = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, **changed.pop("hnsw", {})}
    optimizer = {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "flush_interval_sec": 5,
        "indexing_threshold": 20_000,
        **changed.pop("optimizer", {}),
    }
    return models.CollectionInfo.model_validate(
        {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 1_000_000,
            "points_count": 1_000_000,
            "segments_count": 4,
            "payload_schema": {},
            "config": {
                "params": {"vectors": {"size": 256, "distance": "Cosine"}},
                "hnsw_config": hnsw,
                "optimizer_config": optimizer,
            },
            **changed,
        }
    )


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, None),
        ({"status": "yellow"}, "status-yellow"),
        ({"status": "grey"}, "status-grey"),
        ({"status": "red"}, "status-red"),
        ({"optimizer_status": {"error": "no space left on device"}}, "optimizer-error"),
        ({"indexed_vectors_count": 300_000}, "unindexed-vectors"),
        ({"indexed_vectors_count": 960_000}, None),  # 4 segments of 20 MB each may stay unindexed
        ({"hnsw": {"m": 0}}, "index-off"),
        ({"optimizer": {"indexing_threshold": 0}}, "index-off"),
    ],
)
def test_what_a_server_says_of_its_index_is_judged(
    changed: dict[str, Any], code: str | None
) -> None:
    facts = look_in(collection(points())).facts
    said = info(**changed)
    facts = replace(
        facts,
        rows=1_000_000,
        declared_dimensions=256,
        health=health_of(said, local=False),
        settings=settings_of(said, said.config.params.vectors),
    )
    assert codes(inspect(facts)) == ([code] if code else [])


def node(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"_node_content": json.dumps(content), "_node_type": "TextNode", "doc_id": "d"}


@pytest.mark.parametrize(
    ("payload", "maker", "path"),
    [
        ({"page_content": "one", "metadata": {}}, "LangChain (QdrantVectorStore)", "page_content"),
        (node({"text": "one"}), "LlamaIndex (QdrantVectorStore)", "_node_content.text"),
        (
            node({"text_resource": {"text": "one"}}),
            "LlamaIndex (QdrantVectorStore)",
            "_node_content.text_resource.text",
        ),
        (
            {"id": "a", "content": "one", "blob": None, "meta": {}},
            "Haystack (QdrantDocumentStore)",
            "content",
        ),
        ({"lang": "fr", "words": "a long text of its own kind"}, "its own", "words"),
    ],
)
def test_a_payload_is_recognised_and_its_source_can_be_pasted(
    payload: dict[str, Any], maker: str, path: str
) -> None:
    point = models.PointStruct(id=1, vector=unit(1)[0].tolist(), payload=payload)
    client = collection([point])
    seen = look_in(client)
    assert (seen.facts.layout.maker, seen.facts.layout.text) == (maker, path)
    source = pasted(seen.facts)
    assert isinstance(source, QdrantSource)
    assert source.text == path
    assert "missing-text" not in codes(seen)
    reading = ReadQdrant(client, source)
    assert reading.problems() == []
    assert reading.volume().text_bytes >= 3
    ((read,),) = list(reading.read(None, None, 10))
    assert read.text == text_at(payload, path)


def test_named_sparse_and_tenant_are_told() -> None:
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs",
        vectors_config={"text-dense": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    client.upsert(
        "docs",
        [
            models.PointStruct(
                id=1,
                vector={"text-dense": [1.0, 0.0]},
                payload={"page_content": "one", "metadata": {"tenant_id": "x"}},
            )
        ],
    )
    seen = look_in(client)
    assert seen.facts.vector == "text-dense"
    assert "words (sparse)" in the(seen, "other-vectors").sentence
    assert [a.name for a in seen.facts.access] == ["metadata.tenant_id"]
    with pytest.raises(BadInput, match="text-dense"):
        QdrantInspector(client, local=True).inspect("docs", "other")
    with pytest.raises(BadInput, match="docs"):
        QdrantInspector(client, local=True).inspect("dcos")


def test_several_vectors_a_point_are_told_and_not_taken_for_none() -> None:
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs",
        vectors_config=models.VectorParams(
            size=2,
            distance=models.Distance.COSINE,
            multivector_config=models.MultiVectorConfig(
                comparator=models.MultiVectorComparator.MAX_SIM
            ),
        ),
    )
    client.upsert(
        "docs",
        [
            models.PointStruct(
                id=1, vector=[[1.0, 0.0], [0.0, 1.0]], payload={"page_content": "one"}
            )
        ],
    )
    seen = look_in(client)
    assert "null-vectors" not in codes(seen)
    assert any(f.sentence.startswith("the unnamed vector holds multi") for f in seen.findings)


def test_odd_payloads_are_looked_at_all_the_same() -> None:
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
    )
    odd: list[Any] = [[1, {"a": 1}], None, 1.5, {"b": "x"}, "s" * 5000, "a\0b\ud83d"]
    client.upsert(
        "docs",
        [
            models.PointStruct(id=n, vector=[1.0, n], payload={"id": v, "content": v, "meta": v})
            for n, v in enumerate(odd)
        ]
        + [models.PointStruct(id=99, vector=[0.0, 1.0], payload=None)],
    )
    seen = look_in(client)
    assert seen.facts.rows == 7
    assert the(seen, "missing-text").count == 5
