"""The tables of known libraries are recognised, and so is where they keep the text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from qafila.inspect.inspection import inspect_source
from qafila.sources.pgvector import PgvectorSource as ReadPgvector
from qafila.workload.corpus import PgvectorSource
from tests.contract.inspect.indexes import (
    look,
    pasted,
    the,
    unit,
    written,
)

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
        ["uuid"],
        "document",
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
        ["id"],
        "document",
    ),
    "LangChain (langchain-postgres PGVectorStore)": (
        "docs",
        'CREATE TABLE docs ("langchain_id" UUID PRIMARY KEY, "content" TEXT NOT NULL,'
        ' "embedding" vector(2) NOT NULL, "langchain_metadata" JSON)',
        "INSERT INTO docs VALUES (gen_random_uuid(), 'text one', '[0,1]', '{}')",
        ["langchain_id"],
        "content",
    ),
    "LlamaIndex (PGVectorStore)": (
        "data_docs",
        "CREATE TABLE data_docs (id bigserial PRIMARY KEY, text varchar NOT NULL, metadata_ json,"
        " node_id varchar, embedding vector(2));"
        "CREATE INDEX docs_idx_1 ON data_docs ((metadata_ ->> 'ref_doc_id'))",
        "INSERT INTO data_docs (text, metadata_, node_id, embedding) VALUES ('text one',"
        ' \'{"_node_content": "{}", "_node_type": "TextNode"}\', \'n1\', \'[0,1]\')',
        ["id"],
        "text",
    ),
    "Haystack (PgvectorDocumentStore)": (
        "haystack_documents",
        "CREATE TABLE haystack_documents (id VARCHAR(128) PRIMARY KEY, embedding vector(2),"
        " content TEXT, blob_data BYTEA, blob_meta JSONB, blob_mime_type VARCHAR(255), meta JSONB)",
        "INSERT INTO haystack_documents (id, embedding, content, meta)"
        " VALUES ('a', '[0,1]', 'text one', '{}')",
        ["id"],
        "content",
    ),
    "its own": (
        '"Odd Name"',
        'CREATE TABLE "Odd Name" (id int PRIMARY KEY, author text, "Body" text, v vector(2));',
        "INSERT INTO \"Odd Name\" VALUES (1, 'me', repeat('long text ', 30), '[0,1]');"
        'ANALYZE "Odd Name"',
        ["id"],
        "Body",
    ),
}


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
