"""Recognise whose table or collection it is, and write the source that reads it.

Columns and payload fields are those that these packages create: langchain-community,
langchain-postgres, langchain-qdrant, llama-index-vector-stores-postgres and -qdrant,
pgvector-haystack, qdrant-haystack.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from qafila.inspect.model import Facts, Layout
from qafila.sources.fields import dig

TEXT_TYPES = ("text", "character varying", "character", "citext")
MODEL_FIELDS = ("embedding_model", "embed_model", "embedding_model_name", "model_name", "model")
ACCESS = re.compile(
    r"^(acl|acls|groups?|allowed_groups|readers?|roles?|permissions?|visibility|tenant|tenant_id|"
    r"org|org_id|organi[sz]ation_id|account_id|workspace_id|customer_id|user_id|owner|owner_id)$"
)
CHANGED = re.compile(r"^(updated|modified|changed|last_updated|last_modified)(_at|_on|_time)?$")
_TEXTS = ("text", "content", "page_content", "document", "body", "chunk", "chunk_text", "passage")
NODE_TEXTS = ("text", "text_resource.text")


def base_type(kind: str) -> str:
    """Return a type without its modifier: ``character varying(20)`` is ``character varying``."""
    return kind.split("(")[0].strip()


def layout_of_table(
    columns: Mapping[str, str], key: Sequence[str], widths: Mapping[str, int]
) -> Layout:
    """Return the layout of a table by the names and types of its columns.

    ``widths`` are mean widths from the planner's statistics; of several text columns nobody knows,
    the widest is taken.
    """
    names, own = set(columns), tuple(key)
    if {"source_key", "chunk_number", "text_digest", "fingerprint"} <= names:
        return Layout(
            "Qafila",
            ("source_key", "chunk_number"),
            "text",
            title="title",
            acl="acl",
            metadata=("metadata",),
        )
    if {"collection_id", "embedding", "document", "cmetadata"} <= names:
        old = "uuid" in names
        return Layout(
            "LangChain (langchain-community PGVector)"
            if old
            else "LangChain (langchain-postgres PGVector)",
            own or (("uuid",) if old else ("id",)),
            "document",
            metadata=("cmetadata",),
        )
    if {"langchain_id", "content", "embedding"} <= names:
        return Layout(
            "LangChain (langchain-postgres PGVectorStore)",
            own or ("langchain_id",),
            "content",
            metadata=("langchain_metadata",) if "langchain_metadata" in names else (),
        )
    if {"text", "metadata_", "node_id", "embedding"} <= names:
        return Layout("LlamaIndex (PGVectorStore)", own or ("id",), "text", metadata=("metadata_",))
    if {"embedding", "content", "blob_data", "blob_meta", "meta"} <= names:
        return Layout(
            "Haystack (PgvectorDocumentStore)", own or ("id",), "content", metadata=("meta",)
        )
    return _own_table(columns, own, widths)


def _own_table(
    columns: Mapping[str, str], key: tuple[str, ...], widths: Mapping[str, int]
) -> Layout:
    texts = [c for c, kind in columns.items() if base_type(kind) in TEXT_TYPES and c not in key]
    known = [c for c in _TEXTS if c in texts]
    spare = [c for c in texts if not ACCESS.match(c) and c not in MODEL_FIELDS]
    widest = max(spare, key=lambda c: widths.get(c, 0), default=None)
    text = known[0] if known else widest
    title = next((c for c in ("title", "heading", "name") if c in texts and c != text), None)
    acl = next((c for c, k in columns.items() if k == "text[]" and ACCESS.match(c)), None)
    metadata = next((c for c in ("metadata", "meta", "attributes") if c in columns), None)
    return Layout(
        "its own", key, text, title=title, acl=acl, metadata=(metadata,) if metadata else ()
    )


def layout_of_payload(payloads: Sequence[Mapping[str, Any]]) -> Layout:
    """Return the layout of a collection by the payload fields of some of its points."""
    fields: dict[str, int] = {}
    for payload in payloads:
        for name in payload:
            fields[name] = fields.get(name, 0) + 1
    common = {name for name, times in fields.items() if times * 2 > len(payloads)}
    if {"source_key", "chunk_number", "text_digest", "fingerprint"} <= common:
        return Layout(
            "Qafila",
            ("source_key",),
            "text",
            title="title",
            acl="acl",
            metadata=("metadata",),
            number="chunk_number",
        )
    if "_node_content" in common:
        return _llama_index(payloads)
    if "page_content" in common:
        return Layout(
            "LangChain (QdrantVectorStore)",
            (),
            "page_content",
            metadata=("metadata",) if "metadata" in common else (),
        )
    if {"id", "content", "meta"} <= common:
        return Layout("Haystack (QdrantDocumentStore)", ("id",), "content", metadata=("meta",))
    strings = {
        name: sum(len(v) for p in payloads if isinstance(v := p.get(name), str)) for name in common
    }
    known = [n for n in _TEXTS if strings.get(n)]
    spare = {
        n: s
        for n, s in strings.items()
        if s and not ACCESS.match(n) and n not in MODEL_FIELDS and s >= 20 * len(payloads)
    }
    text = known[0] if known else max(spare, key=lambda n: spare[n], default=None)
    acl = next(
        (
            n
            for n in common
            if ACCESS.match(n) and all(isinstance(p.get(n), list) for p in payloads)
        ),
        None,
    )
    return Layout(
        "its own",
        (),
        text,
        title="title" if strings.get("title") else None,
        acl=acl,
        metadata=("metadata",) if "metadata" in common else (),
    )


def _llama_index(payloads: Sequence[Mapping[str, Any]]) -> Layout:
    """LlamaIndex keeps the whole node, its text in it, as one JSON string."""
    path = next(
        (p for p in NODE_TEXTS if any(text_at(x, f"_node_content.{p}") for x in payloads)), None
    )
    maker = "LlamaIndex (QdrantVectorStore)"
    return Layout(maker, (), f"_node_content.{path}" if path else None)


def text_at(payload: Mapping[str, Any], path: str) -> str | None:
    """Return the text at a path, as a source of this kind will read it."""
    value = dig(payload, path)
    return value if isinstance(value, str) else None


def model_in(payload: Any) -> str | None:
    """Return the model that a row's metadata names, when it names one.

    A field that is only called ``model`` counts when its value looks like a model of embeddings.
    """
    if not isinstance(payload, Mapping):
        return None
    for name in MODEL_FIELDS:
        value = payload.get(name)
        if isinstance(value, str) and value and (name.startswith("embed") or _NAMED.search(value)):
            return value
    nested = [v for k in ("metadata", "meta") if isinstance(v := payload.get(k), Mapping)]
    return next((found for v in nested if (found := model_in(v))), None)


_NAMED = re.compile(r"embed|minilm|bge|e5-|gte-|mpnet|ada-00|wordllama|jina|nomic|mxbai", re.I)


def source_yaml(facts: Facts, block: str) -> str:
    """Return ``corpus.source`` as YAML for the workload file; what only a person knows is CAPITALS.

    Empty when there is no text or key to read by.
    """
    layout = facts.layout
    if layout.text is None or facts.vector_type not in ("vector", "halfvec", "dense"):
        return ""
    models = list(facts.observed.models)
    origin = {
        "model": models[0] if len(models) == 1 else "MODEL",
        "normalised": not (facts.observed.norms and facts.observed.norms.not_unit.count),
    }
    source: dict[str, Any]
    if facts.store == "pgvector":
        if not layout.key:
            return ""
        source = {
            "kind": "pgvector",
            "block": block,
            "table": facts.name,
            "key": list(layout.key),
            "text": layout.text,
            "embedding": facts.vector,
        }
    else:
        source = {"kind": "qdrant", "block": block, "collection": facts.name}
        if facts.vector:
            source["vector_name"] = facts.vector
        source |= {
            "key": layout.key[0] if layout.key else None,
            "number": layout.number,
            "text": layout.text,
        }
    source |= {n: v for n, v in (("title", layout.title), ("acl", layout.acl)) if v}
    if layout.metadata:
        source["metadata"] = list(layout.metadata)
    source["vectors"] = origin
    written = yaml.safe_dump(
        {"corpus": {"source": source}}, sort_keys=False, width=100, default_flow_style=None
    )
    return str(written)
