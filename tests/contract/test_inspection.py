"""Every fault that is planted into a real index is found, and a healthy one has no finding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import yaml
from psycopg.types.json import Jsonb
from pydantic import SecretStr
from qdrant_client import QdrantClient, models

from blocks import PostgresDatabase
from qafila.core.corpus import PgvectorSource, QdrantSource
from qafila.core.inspection import Facts, Finding, Inspection, Severity
from qafila.core.inspection_rules import inspect
from qafila.errors import BadInput, Unavailable
from qafila.stack import postgres
from tasks.connections import record_connection
from tasks.inspecting import inspect_source, risks
from tasks.inspecting.layouts import source_yaml, text_at
from tasks.inspecting.pgvector import PgvectorInspector
from tasks.inspecting.qdrant import QdrantInspector, health_of, settings_of
from tasks.sources.pgvector import PgvectorSource as ReadPgvector
from tasks.sources.qdrant import QdrantSource as ReadQdrant

ROWS, WIDTH = 200, 16


@pytest.fixture(scope="module")
def url(pg_server: postgres.Postgres) -> str:
    address = postgres.ensure_database(pg_server, f"inspected_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    return address


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        yield connection


def unit(n: int, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    raw = np.random.default_rng(seed).normal(size=(n, width))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def written(vector: Sequence[float]) -> str:
    return "[" + ",".join(repr(float(x)) for x in vector) + "]"


def text(n: int) -> str:
    return f"Text number {n} says something of its own about {n * 7919 % 1009} things."


def healthy(
    database: psycopg.Connection[Any], vectors: np.ndarray | None = None, kind: str = "vector(16)",
    operators: str = "vector_cosine_ops",
) -> None:  # fmt: skip
    """Make a table that has nothing wrong with it."""
    database.execute(
        f"CREATE TABLE item (id bigint PRIMARY KEY, body text, model text, embedding {kind},"
        " updated_at timestamptz NOT NULL DEFAULT now())"
    )
    with database.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO item (id, body, embedding) VALUES (%s, %s, %s)",
            [(n, text(n), written(v)) for n, v in enumerate(unit(ROWS) if vectors is None
                                                            else vectors)],
        )  # fmt: skip
    if operators:
        database.execute(f"CREATE INDEX item_hnsw ON item USING hnsw (embedding {operators})")
    database.execute("ANALYZE item")


def look(database: psycopg.Connection[Any], table: str = "item", **how: Any) -> Inspection:
    return inspect(PgvectorInspector(database, **how).inspect(table)[0])


def codes(inspection: Inspection) -> list[str]:
    return [f.code for f in inspection.findings]


def the(inspection: Inspection, code: str) -> Finding:
    found = [f for f in inspection.findings if f.code == code]
    assert len(found) == 1, (code, codes(inspection))
    return found[0]


def test_a_healthy_table_has_no_finding(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    seen = look(database)
    assert seen.findings == ()
    facts = seen.facts
    assert (facts.rows, facts.rows_counted, facts.look.complete) == (ROWS, True, True)
    assert (facts.declared_dimensions, facts.metric, facts.unique_key) == (16, "cosine", ("id",))
    assert facts.layout.text == "body"
    assert facts.tracking == ("column updated_at",)
    assert facts.indexes[0].settings == {"m": "16", "ef_construction": "64"}
    assert facts.table_bytes
    assert facts.index_bytes
    assert facts.tokens == pytest.approx(ROWS * 15, rel=0.3)


ROW_FAULTS: Mapping[str, tuple[str, Severity, tuple[str, ...]]] = {
    "null-vectors": ("UPDATE item SET embedding = NULL WHERE id IN (3, 5)", Severity.SERIOUS,
                     ("3", "5")),
    "zero-vectors": ("UPDATE item SET embedding = (SELECT array_agg(0)::vector FROM"
                     " generate_series(1, 16)) WHERE id IN (4, 9)", Severity.SERIOUS, ("4", "9")),
    "unnormalised-vectors": ("UPDATE item SET embedding = embedding * (SELECT array_agg(3)::vector"
                             " FROM generate_series(1, 16)) WHERE id = 8", Severity.NOTE, ("8",)),
    "duplicate-vectors": ("UPDATE item SET embedding = (SELECT embedding FROM item WHERE id = 1)"
                          " WHERE id = 2", Severity.SERIOUS, ("1", "2")),
    "duplicate-texts": ("UPDATE item SET (body, embedding) = (SELECT upper(body), embedding FROM"
                        " item WHERE id = 1) WHERE id = 2", Severity.WARNING, ("2",)),
    "same-text-other-vector": ("UPDATE item SET body = (SELECT body FROM item WHERE id = 1)"
                               " WHERE id = 2", Severity.SERIOUS, ("2",)),
    "missing-text": ("UPDATE item SET body = CASE id WHEN 6 THEN NULL ELSE '  ' END"
                     " WHERE id IN (6, 7)", Severity.SERIOUS, ("6", "7")),
    "mixed-models": ("UPDATE item SET model = CASE WHEN id = 11 THEN 'text-embedding-ada-002'"
                     " ELSE 'text-embedding-3-small' END", Severity.SERIOUS, ("11",)),
}  # fmt: skip


@pytest.mark.parametrize("code", ROW_FAULTS)
def test_a_fault_in_rows_is_found_with_count_and_keys(
    database: psycopg.Connection[Any], code: str
) -> None:
    fault, severity, keys = ROW_FAULTS[code]
    healthy(database)
    database.execute(fault)
    found = the(look(database), code)
    assert found.severity is severity
    assert (found.count, found.of, found.sampled) == (len(keys), ROWS, False)
    assert sorted(found.examples) == sorted(keys)
    assert found.remedy


def test_vectors_of_several_lengths_are_found(database: psycopg.Connection[Any]) -> None:
    healthy(database, kind="vector", operators="")
    database.execute("UPDATE item SET embedding = '[1,0,0]' WHERE id < 3")
    seen = look(database)
    found = the(seen, "mixed-dimensions")
    assert (found.count, found.examples) == (3, ("0", "1", "2"))
    assert "undeclared-dimensions" in codes(seen)


def test_one_vector_of_another_length_is_found_in_a_table_that_is_only_sampled(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, body text, embedding vector)")
    database.execute(
        "INSERT INTO item SELECT n, 'text ' || n, ARRAY[cos(n), sin(n)]::vector"
        " FROM generate_series(1, 20000) AS n"
    )
    database.execute("UPDATE item SET embedding = '[1,0,0]' WHERE id = 777")
    found = the(look(database, sample_rows=200), "mixed-dimensions")
    assert (found.count, found.of, found.sampled, found.examples) == (1, 20_000, False, ("777",))


def test_two_lumps_of_lengths_are_found(database: psycopg.Connection[Any]) -> None:
    vectors = unit(ROWS)
    vectors[:60] *= 11
    healthy(database, vectors)
    assert the(look(database), "two-clusters-of-norms").count == 60


def test_texts_cut_at_one_length_are_found(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    database.execute(
        "UPDATE item SET body = left(body || repeat(' and so it goes on' || id, 40), 500)"
        " WHERE id < 40"
    )
    assert the(look(database), "cut-texts").count == 40


@pytest.mark.parametrize(
    ("operators", "severity"),
    [("vector_ip_ops", Severity.SERIOUS), ("vector_l2_ops", Severity.WARNING),
     ("vector_cosine_ops", Severity.NOTE)],
)  # fmt: skip
def test_length_matters_by_operator_class(
    database: psycopg.Connection[Any], operators: str, severity: Severity
) -> None:
    spread = np.linspace(0.5, 2.0, ROWS, dtype=np.float32)[:, None]
    healthy(database, unit(ROWS) * spread, operators=operators)
    assert the(look(database), "unnormalised-vectors").severity is severity


def test_an_index_whose_build_was_broken_off_is_found(database: psycopg.Connection[Any]) -> None:
    healthy(database, operators="")
    database.execute("INSERT INTO item (id, body) SELECT n, 'x' || n FROM generate_series(1000,"
                     " 40000) AS n")  # fmt: skip
    database.execute("UPDATE item SET embedding = (SELECT embedding FROM item WHERE id = 1)")
    database.execute("SET statement_timeout = 30")
    with pytest.raises(psycopg.errors.QueryCanceled):
        database.execute(
            "CREATE INDEX CONCURRENTLY item_hnsw ON item USING hnsw (embedding vector_cosine_ops)"
        )
    database.execute("RESET statement_timeout")
    found = the(look(database), "invalid-index")
    assert found.severity is Severity.SERIOUS
    assert "DROP INDEX CONCURRENTLY public.item_hnsw" in found.remedy


def test_a_table_without_key_index_tracking_and_analyse_is_told_so(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (body text, tenant_id int, embedding vector(2))")
    database.execute(
        "INSERT INTO item SELECT 'text ' || n, n % 3, ARRAY[cos(n), sin(n)]::vector"
        " FROM generate_series(1, 12000) AS n"
    )
    seen = look(database, sample_rows=20_000)
    assert the(seen, "no-key").severity is Severity.SERIOUS
    assert {"no-index", "never-analysed", "untracked-changes", "tenant-not-indexed"} <= set(
        codes(seen)
    )
    assert source_yaml(seen.facts, "old-index") == ""


def test_an_index_that_no_query_uses_is_found(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    for _ in range(120):
        database.execute("SELECT id FROM item ORDER BY embedding <#> '[1,0,0,0,0,0,0,0,0,0,0,0,0,0"
                         ",0,0]' LIMIT 1").fetchone()  # fmt: skip
    database.execute("SELECT pg_stat_force_next_flush()")
    assert "unused-index" in codes(look(database))


def test_dead_rows_partial_index_and_wide_vectors_are_found(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database, np.tile(unit(200, 20), 110)[:ROWS], kind="vector(2200)", operators="")
    database.execute(
        "CREATE INDEX item_part ON item USING hnsw ((embedding::halfvec(2200)) halfvec_cosine_ops)"
        " WHERE id > 10"
    )
    database.execute("ALTER TABLE item SET (autovacuum_enabled = off)")
    for _ in range(6):
        database.execute("UPDATE item SET body = body")
    database.execute("SELECT pg_stat_force_next_flush()")
    seen = look(database)
    assert {"dead-rows", "partial-index", "too-wide-for-an-index"} <= set(codes(seen))
    assert seen.facts.indexes[0].operators == "halfvec_cosine_ops"


def test_a_sample_says_its_share_with_an_interval_and_repeats_itself(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, body text, embedding vector(2))")
    database.execute(
        "INSERT INTO item SELECT n, 'text ' || n, CASE WHEN n % 10 = 0 THEN '[0,0]'::vector"
        " WHEN n % 1000 = 1 THEN NULL ELSE ARRAY[cos(n), sin(n)]::vector END"
        " FROM generate_series(1, 20000) AS n"
    )
    seen = look(database, sample_rows=2000, seed=3)
    assert not seen.facts.look.complete
    assert seen.facts.look.seed == 3
    assert 1700 < seen.facts.look.read < 2300
    zero = the(seen, "zero-vectors")
    assert zero.low is not None
    assert zero.high is not None
    assert zero.low < 0.1 < zero.high
    assert "of all rows" in zero.sentence
    null = the(seen, "null-vectors")  # counted in the whole table, whatever the sample met
    assert (null.count, null.of, null.sampled) == (20, 20_000, False)
    assert look(database, sample_rows=2000, seed=3).findings == seen.findings


@pytest.mark.parametrize("kind", ["vector", "halfvec"])
def test_vectors_are_read_as_the_database_holds_them(
    database: psycopg.Connection[Any], kind: str
) -> None:
    database.execute(f"CREATE TABLE item (id int PRIMARY KEY, body text, v {kind}(3))")
    database.execute("INSERT INTO item VALUES (1, 'x', '[2,3,6]')")
    norms = look(database).facts.observed.norms
    assert norms is not None
    assert norms.median == 7


def test_a_sparse_column_is_read_and_said_not_to_be_copied(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, body text, v sparsevec(5))")
    database.execute("INSERT INTO item VALUES (1, 'x', '{1:3,5:4}/5'), (2, 'y', '{}/5')")
    seen = look(database)
    assert the(seen, "vector-not-copied").severity is Severity.SERIOUS
    assert the(seen, "zero-vectors").examples == ("2",)
    assert seen.facts.observed.norms is not None
    assert seen.facts.observed.norms.median == 5


def test_policies_that_hide_rows_are_told(database: psycopg.Connection[Any], url: str) -> None:
    healthy(database)
    database.execute("ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    database.execute("DROP ROLE IF EXISTS looker")
    database.execute("CREATE ROLE looker LOGIN")
    database.execute("GRANT USAGE ON SCHEMA public TO looker")
    with psycopg.connect(url, autocommit=True) as reader:
        reader.execute("SET ROLE looker")
        with pytest.raises(Unavailable, match="may not be read"):
            look(reader)
        database.execute("GRANT SELECT ON item TO looker")
        assert "rows-hidden" in codes(look(reader))


def test_looking_writes_nothing(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    inspector = PgvectorInspector(database)
    with inspector._reading(), pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        database.execute("DELETE FROM item")


def test_bad_names_are_refused_with_those_that_are_there(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database)
    with pytest.raises(BadInput, match=r"public\.item"):
        look(database, "itme")
    with pytest.raises(BadInput, match="embedding"):
        PgvectorInspector(database).inspect("item", "vec")
    assert PgvectorInspector(database).candidates() == ["public.item"]


# --- layouts -----------------------------------------------------------------------------------

PG_LAYOUTS: Mapping[str, tuple[str, str, str, list[str], str]] = {
    "LangChain (langchain-community PGVector)": (
        "langchain_pg_embedding",
        "CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
        " name varchar, cmetadata json);"
        "CREATE TABLE langchain_pg_embedding (uuid uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
        " collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,"
        " embedding vector, document varchar, cmetadata json, custom_id varchar)",
        "INSERT INTO langchain_pg_embedding (embedding, document, cmetadata, custom_id)"
        " VALUES ('[0,1]', 'text one', '{}', 'a')",
        ["uuid"], "document",
    ),
    "LangChain (langchain-postgres PGVector)": (
        "langchain_pg_embedding",
        "CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar UNIQUE NOT NULL,"
        " cmetadata json);"
        "CREATE TABLE langchain_pg_embedding (id varchar PRIMARY KEY,"
        " collection_id uuid REFERENCES langchain_pg_collection (uuid) ON DELETE CASCADE,"
        " embedding vector, document varchar, cmetadata jsonb)",
        "INSERT INTO langchain_pg_embedding (id, embedding, document, cmetadata)"
        " VALUES ('a', '[0,1]', 'text one', '{\"embedding_model\": \"m\"}')",
        ["id"], "document",
    ),
    "LangChain (langchain-postgres PGVectorStore)": (
        "docs",
        'CREATE TABLE docs ("langchain_id" UUID PRIMARY KEY, "content" TEXT NOT NULL,'
        ' "embedding" vector(2) NOT NULL, "langchain_metadata" JSON)',
        "INSERT INTO docs VALUES (gen_random_uuid(), 'text one', '[0,1]', '{}')",
        ["langchain_id"], "content",
    ),
    "LlamaIndex (PGVectorStore)": (
        "data_docs",
        "CREATE TABLE data_docs (id bigserial PRIMARY KEY, text varchar NOT NULL, metadata_ json,"
        " node_id varchar, embedding vector(2));"
        "CREATE INDEX docs_idx_1 ON data_docs ((metadata_ ->> 'ref_doc_id'))",
        "INSERT INTO data_docs (text, metadata_, node_id, embedding) VALUES ('text one',"
        " '{\"_node_content\": \"{}\", \"_node_type\": \"TextNode\"}', 'n1', '[0,1]')",
        ["id"], "text",
    ),
    "Haystack (PgvectorDocumentStore)": (
        "haystack_documents",
        "CREATE TABLE haystack_documents (id VARCHAR(128) PRIMARY KEY, embedding vector(2),"
        " content TEXT, blob_data BYTEA, blob_meta JSONB, blob_mime_type VARCHAR(255), meta JSONB)",
        "INSERT INTO haystack_documents (id, embedding, content, meta)"
        " VALUES ('a', '[0,1]', 'text one', '{}')",
        ["id"], "content",
    ),
    "its own": (
        '"Odd Name"',
        'CREATE TABLE "Odd Name" (id int PRIMARY KEY, author text, "Body" text, v vector(2));',
        "INSERT INTO \"Odd Name\" VALUES (1, 'me', repeat('long text ', 30), '[0,1]');"
        'ANALYZE "Odd Name"',
        ["id"], "Body",
    ),
}  # fmt: skip


@pytest.mark.parametrize("maker", PG_LAYOUTS)
def test_a_layout_is_recognised_and_its_source_can_be_pasted(
    database: psycopg.Connection[Any], maker: str
) -> None:
    table, ddl, rows, key, body = PG_LAYOUTS[maker]
    database.execute(ddl)
    database.execute(rows)
    facts = look(database, table).facts
    layout = facts.layout
    assert (layout.maker, list(layout.key), layout.text) == (maker, key, body)
    if maker == "its own":
        return  # such a name no workload file takes
    source = pasted(facts)
    assert isinstance(source, PgvectorSource)
    assert (source.key, source.text, source.table) == (key, body, f"public.{table}")
    again = inspect_source(source, {"url": database.info.dsn})
    assert ReadPgvector(database, source).problems() == []
    assert again.facts.observed.missing_texts.count == 0
    assert again.facts.observed.rows == 1


def pasted(facts: Facts) -> PgvectorSource | QdrantSource:
    """Return the source as a workload file would take it, the model filled in by a person."""
    block = yaml.safe_load(source_yaml(facts, "old-index"))["corpus"]["source"]
    kind = PgvectorSource if facts.store == "pgvector" else QdrantSource
    return kind.model_validate(block)


def test_collections_that_share_langchains_table_are_named(
    database: psycopg.Connection[Any],
) -> None:
    _, ddl, _, _, _ = PG_LAYOUTS["LangChain (langchain-postgres PGVector)"]
    database.execute(ddl)
    for name, dimensions, n in (("laws", 2, 5), ("news", 3, 2)):
        vector = written(unit(1, dimensions)[0])
        found = database.execute(
            "INSERT INTO langchain_pg_collection VALUES (gen_random_uuid(), %s) RETURNING uuid",
            [name],
        ).fetchone()
        assert found is not None
        for i in range(n):
            database.execute(
                "INSERT INTO langchain_pg_embedding VALUES (%s, %s, %s, %s, %s)",
                [f"{name}-{i}", found[0], vector, f"{name} text {i}", Jsonb({})],
            )
    seen = look(database, "langchain_pg_embedding")
    assert seen.facts.layout.parts == {"laws": 5, "news": 2}
    found = the(seen, "several-collections")
    assert "laws (5), news (2)" in found.sentence
    database.execute(found.remedy.partition(": ")[2])
    assert look(database, "one_collection").facts.rows == 5
    assert the(seen, "mixed-dimensions").count == 2


def test_text_that_is_elsewhere_is_said_to_be_there(database: psycopg.Connection[Any]) -> None:
    _, ddl, _, _, _ = PG_LAYOUTS["Haystack (PgvectorDocumentStore)"]
    database.execute(ddl)
    database.execute(
        "INSERT INTO haystack_documents (id, embedding, blob_data) VALUES ('a', '[0,1]', 'x')"
    )
    found = the(look(database, "haystack_documents"), "missing-text")
    assert "1 of them have it in blob_data" in found.sentence


def test_a_node_that_keeps_its_text_in_its_json_is_said_to_do_so(
    database: psycopg.Connection[Any],
) -> None:
    _, ddl, _, _, _ = PG_LAYOUTS["LlamaIndex (PGVectorStore)"]
    database.execute(ddl)
    database.execute(
        "INSERT INTO data_docs (text, metadata_, node_id, embedding) VALUES ('', %s, 'n', '[0,1]')",
        [Jsonb({"_node_content": json.dumps({"text": "It is here."})})],
    )
    found = the(look(database, "data_docs"), "missing-text")
    assert "1 of them have it in metadata_ (_node_content)" in found.sentence


def test_partitions_odd_names_and_an_extension_elsewhere_are_no_hindrance(
    pg_server: postgres.Postgres,
) -> None:
    address = postgres.ensure_database(pg_server, f"odd_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(address, autocommit=True) as odd:
        odd.execute("CREATE SCHEMA extensions")
        odd.execute("CREATE EXTENSION vector SCHEMA extensions")
        odd.execute('CREATE SCHEMA "the {app} 100%"')
        odd.execute(
            'CREATE TABLE "the {app} 100%"."it\'s" (id int, "Body {x} %s" text,'
            ' "my %v" extensions.vector(2), updated_at timestamptz, PRIMARY KEY (id))'
            " PARTITION BY RANGE (id)"
        )
        for low in (0, 3000):
            odd.execute(
                f'CREATE TABLE part_{low} PARTITION OF "the {{app}} 100%"."it\'s"'
                f" FOR VALUES FROM ({low}) TO ({low + 3000})"
            )
        odd.execute(
            'INSERT INTO "the {app} 100%"."it\'s" SELECT n, \'text \' || n,'
            " ARRAY[cos(n), sin(n)]::extensions.vector FROM generate_series(0, 5999) AS n"
        )
        odd.execute(
            'CREATE INDEX ON "the {app} 100%"."it\'s"'
            ' USING hnsw ("my %v" extensions.vector_cosine_ops)'
        )
        (name,) = PgvectorInspector(odd).candidates()
        assert look(odd, name).findings == ()
        sampled = look(odd, name, sample_rows=500)
        assert sampled.findings == ()
        assert 400 < sampled.facts.look.read < 600
        assert sampled.facts.table_bytes
        assert sampled.facts.layout.text == "Body {x} %s"


def test_a_table_without_any_text_cannot_be_embedded_again(
    database: psycopg.Connection[Any],
) -> None:
    database.execute("CREATE TABLE item (id int PRIMARY KEY, v vector(2))")
    seen = look(database)
    assert the(seen, "no-text").severity is Severity.SERIOUS
    assert source_yaml(seen.facts, "old-index") == ""


# --- Qdrant ------------------------------------------------------------------------------------


def collection(points: Sequence[models.PointStruct], distance: str = "Dot") -> QdrantClient:
    client = QdrantClient(":memory:")
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance(distance))
    )
    if points:
        client.upsert("docs", list(points))
    return client


def points(**changed: Mapping[int, Any]) -> list[models.PointStruct]:
    """Return a healthy collection's points, with fields replaced by id."""
    made = []
    for n, v in enumerate(unit(ROWS)):
        payload = {"page_content": changed.get("text", {}).get(n, text(n)),
                   "metadata": changed.get("metadata", {}).get(n, {})}  # fmt: skip
        vector = changed.get("vector", {}).get(n, v.tolist())
        made.append(models.PointStruct(id=n, vector=vector, payload=payload))
    return made


def look_in(client: QdrantClient, name: str = "docs", **how: Any) -> Inspection:
    return inspect(QdrantInspector(client, local=True, **how).inspect(name)[0])


def test_a_healthy_collection_has_no_finding() -> None:
    seen = look_in(collection(points()))
    assert seen.findings == ()
    assert (seen.facts.rows, seen.facts.metric, seen.facts.look.complete) == (ROWS, "dot", True)
    assert seen.facts.layout.maker == "LangChain (QdrantVectorStore)"


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
        ("mixed-models",
         {"metadata": {n: {"embedding_model": "a" if n else "b"} for n in range(ROWS)}}, ("0",)),
    ],
)  # fmt: skip
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
    optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                 "default_segment_number": 0, "flush_interval_sec": 5, "indexing_threshold": 20_000,
                 **changed.pop("optimizer", {})}  # fmt: skip
    return models.CollectionInfo.model_validate(
        {
            "status": "green", "optimizer_status": "ok", "indexed_vectors_count": 1_000_000,
            "points_count": 1_000_000, "segments_count": 4, "payload_schema": {},
            "config": {"params": {"vectors": {"size": 256, "distance": "Cosine"}},
                       "hnsw_config": hnsw, "optimizer_config": optimizer},
            **changed,
        }
    )  # fmt: skip


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
        facts, rows=1_000_000, declared_dimensions=256, health=health_of(said, local=False),
        settings=settings_of(said, said.config.params.vectors),
    )  # fmt: skip
    assert codes(inspect(facts)) == ([code] if code else [])


def node(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"_node_content": json.dumps(content), "_node_type": "TextNode", "doc_id": "d"}


@pytest.mark.parametrize(
    ("payload", "maker", "path"),
    [
        ({"page_content": "one", "metadata": {}}, "LangChain (QdrantVectorStore)", "page_content"),
        (node({"text": "one"}), "LlamaIndex (QdrantVectorStore)", "_node_content.text"),
        (node({"text_resource": {"text": "one"}}), "LlamaIndex (QdrantVectorStore)",
         "_node_content.text_resource.text"),
        ({"id": "a", "content": "one", "blob": None, "meta": {}}, "Haystack (QdrantDocumentStore)",
         "content"),
        ({"lang": "fr", "words": "a long text of its own kind"}, "its own", "words"),
    ],
)  # fmt: skip
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
    client.upsert("docs", [models.PointStruct(
        id=1, vector={"text-dense": [1.0, 0.0]},
        payload={"page_content": "one", "metadata": {"tenant_id": "x"}})])  # fmt: skip
    seen = look_in(client)
    assert seen.facts.vector == "text-dense"
    assert "words (sparse)" in the(seen, "other-vectors").sentence
    assert [a.name for a in seen.facts.access] == ["metadata.tenant_id"]
    with pytest.raises(BadInput, match="text-dense"):
        QdrantInspector(client, local=True).inspect("docs", "other")
    with pytest.raises(BadInput, match="docs"):
        QdrantInspector(client, local=True).inspect("dcos")


# --- as a step of the plan, and from the shell -------------------------------------------------


def test_the_plan_gets_its_risks(database: psycopg.Connection[Any]) -> None:
    healthy(database)
    source = PgvectorSource.model_validate({
        "kind": "pgvector", "block": "old-index", "table": "item", "key": ["id"], "text": "body",
        "vectors": {"model": "m"}})  # fmt: skip
    reach = {"url": database.info.dsn}
    assert risks(inspect_source(source, reach)) == []
    database.execute("UPDATE item SET embedding = NULL WHERE id = 3")
    (risk,) = risks(inspect_source(source, reach))
    assert risk.startswith("serious in public.item: 1 of 200 rows have no vector")


def test_a_view_is_read_and_not_blamed_for_what_its_tables_hold(
    database: psycopg.Connection[Any],
) -> None:
    healthy(database)
    database.execute("CREATE VIEW shown AS SELECT id, body, embedding FROM item")
    seen = look(database, "shown")
    assert seen.findings == ()
    assert seen.facts.kind == "view"
    sampled = look(database, "shown", sample_rows=100)
    assert (sampled.facts.look.read, sampled.facts.look.complete) == (100, False)


def test_the_plan_of_a_collection_reads_the_fields_that_the_workload_names(
    tmp_path: Path,
) -> None:
    client = QdrantClient(path=str(tmp_path / "q"))
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.DOT)
    )
    client.upsert("docs", points(text={3: ""}))
    client.close()
    source = QdrantSource.model_validate({
        "kind": "qdrant", "block": "old-index", "collection": "docs", "text": "page_content",
        "key": None, "number": None, "vectors": {"model": "m"}})  # fmt: skip
    seen = inspect_source(source, {"path": str(tmp_path / "q")})
    assert codes(seen) == ["missing-text"]


# --- the command -------------------------------------------------------------------------------

ASKED = """
import sys
from qafila.cli import main
sys.argv = ["qafila", "inspect", *sys.argv[1:]]
try:
    main()
except SystemExit as left:
    code = left.code or 0
else:
    code = 0
assert "prefect" not in sys.modules, "prefect was imported"
sys.exit(code)
"""


def ask(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run the command in a process of its own; return its exit code and all that it said."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, *arguments], capture_output=True, text=True,
        env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_the_command_needs_nothing_else_and_ends_with_the_verdict(
    database: psycopg.Connection[Any], url: str, tmp_path: Path
) -> None:
    healthy(database)
    code, said = ask("--url", url, "--table", "item")
    assert code == 0
    assert "Nothing was found" in said
    database.execute("UPDATE item SET embedding = NULL, body = '<script>x</script>' WHERE id = 3")
    page = tmp_path / "found.html"
    code, said = ask("--url", url, "--table", "item", "--html", str(page), "--json")
    assert code == 1
    (told,) = json.loads(said)["inspected"]
    assert [f["code"] for f in told["findings"]] == ["null-vectors"]
    assert told["findings"][0]["examples"] == ["3"]
    written = page.read_text()
    assert "null-vectors" in written
    assert "<script" not in written
    assert "http" not in written.split("</style>")[1]
    code, said = ask("--url", url)
    assert code == 1
    assert "public.item" in said


def test_a_password_is_in_no_message() -> None:
    code, said = ask("--url", "postgresql://me:hush-hush@127.0.0.1:9/x", "--table", "t")
    assert code == 4
    assert "hush-hush" not in said


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "give one of"),
        (("--url", "x", "--qdrant", "y"), 2, "give one of"),
        (("--url", "not an address", "--table", "t"), 2, "--url is not an address"),
        (("--qdrant", "/nowhere", "--collection", "c"), 2, "neither an address nor a folder"),
        (("--qdrant", "http://127.0.0.1:9", "--collection", "c"), 4, "does not answer"),
        (("--url", "postgresql://127.0.0.1:9/x"), 4, "does not answer"),
    ],
)
def test_bad_input_is_2_and_silence_is_4(arguments: tuple[str, ...], code: int, told: str) -> None:
    left, said = ask(*arguments)
    assert left == code
    assert told in said


def test_a_recorded_connection_is_used_with_its_secret_from_outside(
    database: psycopg.Connection[Any], url: str, ledger: psycopg.Connection[Any], ledger_url: str
) -> None:
    healthy(database)
    record_connection(
        ledger, "old-index", PostgresDatabase(url=url, password=SecretStr("hush-hush"))
    )
    asked = ("--connection", "old-index", "--table", "item")
    code, said = ask(*asked, QAFILA_LEDGER_URL=ledger_url)
    assert code == 1
    assert "QAFILA_SECRET_OLD_INDEX" in said
    code, said = ask(*asked, QAFILA_LEDGER_URL=ledger_url, QAFILA_SECRET_OLD_INDEX="hush-hush")
    assert code == 0, said
    assert "block: old-index" in said
    assert "hush-hush" not in said


def test_a_folder_of_local_mode_is_looked_at_collection_by_collection(tmp_path: Path) -> None:
    client = QdrantClient(path=str(tmp_path / "q"))
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=WIDTH, distance=models.Distance.DOT)
    )
    client.upsert("docs", points())
    client.close()
    code, said = ask("--qdrant", str(tmp_path / "q"))
    assert code == 0, said
    assert "LangChain (QdrantVectorStore)" in said
