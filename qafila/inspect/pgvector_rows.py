"""What is read of one row of a pgvector table: its numbers, and expressions for the rest."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from psycopg import sql

from qafila.inspect.layouts import MODEL_FIELDS, TEXT_TYPES, base_type
from qafila.inspect.model import Layout
from qafila.inspect.observed import Numbers


def read_vector(raw: bytes, kind: str) -> Numbers:
    """Return the numbers of a vector as pgvector sends it in binary; a sparse one is spread out."""
    if kind == "sparsevec":
        width, filled = struct.unpack_from(">ii", raw)
        places = np.frombuffer(raw, ">i4", filled, 12)
        dense = np.zeros(width, np.float32)
        dense[places] = np.frombuffer(raw, ">f4", filled, 12 + 4 * filled)
        return dense
    stored = ">f2" if kind == "halfvec" else ">f4"
    return np.frombuffer(raw, stored, offset=4).astype(np.float32)


def key_texts(columns: Mapping[str, Any], layout: Layout, *, stored: bool = True) -> sql.Composable:
    """Return the key as an array of texts; without one, the row's place, which a view has not."""
    key = [k for k in layout.key if k in columns]
    if not key:
        return sql.SQL("ARRAY[ctid::text]" if stored else "ARRAY['?']")
    return sql.SQL("ARRAY[{}]").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(k)) for k in key)
    )


def model_fields(columns: Mapping[str, Any], layout: Layout) -> sql.Composable:
    """Return an object of every field that may name a model, from columns and from metadata."""
    found: list[sql.Composable] = [
        sql.SQL("{}, {}::text").format(sql.Literal(c), sql.Identifier(c))
        for c in MODEL_FIELDS
        if c in columns
    ]
    for name in layout.metadata:
        if name in columns and columns[name]["type"] in ("json", "jsonb"):
            found += [
                sql.SQL("{}, {} ->> {}").format(
                    sql.Literal(f), sql.Identifier(name), sql.Literal(f)
                )
                for f in MODEL_FIELDS
                if f not in columns
            ]
    if not found:
        return sql.SQL("NULL::jsonb")
    return sql.SQL("jsonb_strip_nulls(jsonb_build_object({}))").format(sql.SQL(", ").join(found))


def text_elsewhere(columns: Mapping[str, Any], layout: Layout) -> sql.Composable:
    """Return where a row without text may have it: a blob, a node's JSON, another long column."""
    if layout.text is None:
        return sql.SQL("NULL::text")
    empty = sql.SQL("coalesce({}::text, '') = ''").format(sql.Identifier(layout.text))
    if layout.maker.startswith("Haystack"):
        return sql.SQL("CASE WHEN {} AND blob_data IS NOT NULL THEN 'blob_data' END").format(empty)
    if layout.maker.startswith("LlamaIndex"):
        return sql.SQL("CASE WHEN {} THEN metadata_ ->> '_node_content' END").format(empty)
    used = {layout.text, layout.title, layout.acl, *layout.key, *MODEL_FIELDS}
    others = [c for c, d in columns.items() if base_type(d["type"]) in TEXT_TYPES and c not in used]
    if not others:
        return sql.SQL("NULL::text")
    cases = sql.SQL(" ").join(
        sql.SQL("WHEN {} AND octet_length({}) > 40 THEN {}").format(
            empty, sql.Identifier(c), sql.Literal(c)
        )
        for c in others
    )
    return sql.SQL("CASE {} END").format(cases)
