"""Look at a pgvector table, read-only: its catalogue, and its rows or a sample of them.

Vectors come as bytes and are read here, so that it does not matter in which schema the extension
lives.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from qafila.errors import BadInput, Unavailable
from qafila.inspect.layouts import ACCESS, CHANGED, NODE_TEXTS, layout_of_table, model_in, text_at
from qafila.inspect.model import (
    Access,
    Facts,
    Health,
    Index,
    Layout,
    Look,
    Metric,
)
from qafila.inspect.observed import Row, Tally, observe
from qafila.inspect.pgvector_rows import key_texts, model_fields, read_vector, text_elsewhere
from qafila.inspect.read_only import ReadOnly
from qafila.inspect.row_sample import STORED, draw
from qafila.sources.blanks import is_blank_sql
from qafila.sql import statement
from qafila.workload.fingerprint import key_text

_TEXT_CHARACTERS = 200_000  # no more of a text is fetched
_BATCH = 500
_MOST_BLANK_BYTES = 1_000  # PostgreSQL keeps no shorter text apart from its row
_MOST_LENGTHS = 50  # as many sizes as the statement looks at
_VECTOR_TYPES = ("vector", "halfvec", "sparsevec")
_METRICS: Mapping[str, Metric] = {"cosine": "cosine", "ip": "dot", "l2": "l2"}


class PgvectorInspector:
    """Looks at tables through one connection that the caller owns; changes nothing."""

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        *,
        sample_rows: int = 10_000,
        seed: int = 7,
        timeout_seconds: int = 60,
    ) -> None:
        self._connection = connection
        self._read_only = ReadOnly(connection, timeout_seconds=timeout_seconds)
        self._sample_rows = sample_rows
        self._seed = seed

    def candidates(self) -> list[str]:
        """Return the names of all tables with vectors that we may read."""
        with self._read_only.reading("the database"):
            return self._names()

    def inspect(
        self, table: str, vector: str | None = None, layout: Layout | None = None
    ) -> list[Facts]:
        """Return the facts of each vector column of a table, or of one of them.

        Raises:
            BadInput: there is no such table or column.
            Unavailable: it may not be read, or does not answer in time.
        """
        with self._read_only.reading(table):
            return self._inspect(table, vector, layout)

    def _names(self) -> list[str]:
        return list(dict.fromkeys(r["name"] for r in self._read_only.rows("candidates")))

    def _inspect(self, table: str, vector: str | None, given: Layout | None) -> list[Facts]:
        extension = self._connection.execute(statement("inspect", "extension")).fetchone()
        if extension is None:
            raise Unavailable(
                "pgvector is not installed in this database.",
                kept="nothing was touched.",
                remedy="name the database that holds the vectors",
            )
        found = self._read_only.rows("table", {"table": table})
        if not found:
            known = (
                ", ".join(dict.fromkeys(r["name"] for r in self._read_only.rows("candidates")))
                or "none"
            )
            raise BadInput(
                f"there is no table {table!r} here.",
                remedy=f"name one of those with vectors: {known}",
            )
        about = found[0]
        columns = {r["name"]: r for r in self._read_only.rows("columns", {"oid": about["oid"]})}
        vectors = [n for n, c in columns.items() if c["base"] in _VECTOR_TYPES]
        if not vectors or (vector is not None and vector not in vectors):
            missing = f"no vector column {vector!r}" if vector else "no column of vectors"
            raise BadInput(
                f"{about['name']} has {missing}.",
                remedy=f"its vector columns: {', '.join(vectors) or 'none'}; all: "
                f"{', '.join(columns)}",
            )
        frame = self._frame(about, columns, extension[0])
        wanted = [vector] if vector else vectors
        return [self._facts(about, columns, frame, w, vectors, given) for w in wanted]

    def _frame(
        self, about: Mapping[str, Any], columns: Mapping[str, Any], version: str
    ) -> dict[str, Any]:
        """Return what is the same for every vector column of the table."""
        oid = {"oid": about["oid"]}
        keys = self._read_only.rows("keys", oid)
        tracking = [r["what"] for r in self._read_only.rows("tracking", oid)]
        tracking += [f"column {c}" for c in columns if CHANGED.match(c)]
        indexed = {r["attname"] for r in self._read_only.rows("indexed_columns", oid)}
        return {
            "server": self._read_only.rows("server")[0],
            "version": version,
            "key": tuple(keys[0]["columns"]) if keys else (),
            "health": self._read_only.rows("health", oid)[0],
            "tracking": tuple(tracking),
            "access": tuple(Access(c, c in indexed) for c in columns if ACCESS.match(c)),
        }

    def _facts(
        self,
        about: Mapping[str, Any],
        columns: Mapping[str, Any],
        frame: Mapping[str, Any],
        vector: str,
        vectors: Sequence[str],
        given: Layout | None,
    ) -> Facts:
        layout = given or self._layout(about, columns, frame["key"])
        rows, nulls, missing = self._count(about, layout.text, vector)
        counted = rows is not None
        total = rows if rows is not None else self._estimate(about)
        begun = time.perf_counter()
        drawn = draw(about, total, self._sample_rows, self._seed, counted=counted)
        observed = observe(self._read(about, columns, layout, vector, drawn.clause))
        modifier = columns[vector]["modifier"]
        if modifier <= 0 and not drawn.complete:
            counted_lengths = self._count_lengths(about, columns, layout, vector)
        else:
            counted_lengths = None
        seconds = time.perf_counter() - begun
        look = Look(observed.rows, drawn.complete, drawn.how, drawn.seed, seconds)
        server, health, kind = frame["server"], frame["health"], columns[vector]["base"]
        indexes = self._indexes(about["oid"], vector)
        metric = next((i.metric for i in indexes if i.valid), None)
        return Facts(
            store="pgvector",
            name=about["name"],
            vector=vector,
            vector_type=kind,
            declared_dimensions=modifier if modifier > 0 else None,
            server=f"PostgreSQL {server['version'].split()[0]}, pgvector {frame['version']}",
            store_version=tuple(int(p) for p in frame["version"].split(".")[:3]),
            rows=total,
            rows_counted=counted,
            look=look,
            layout=layout,
            observed=observed,
            kind="table" if about["kind"] in STORED else "view",
            metric=metric,
            indexes=indexes,
            health=Health(
                dead_rows=health["dead_rows"],
                live_rows=health["live_rows"],
                analysed=health["analysed"],
                full_reads=health["full_reads"],
            ),
            unique_key=frame["key"],
            tracking=frame["tracking"],
            access=frame["access"],
            rows_hidden=self._connection.info.user if about["hidden"] else "",
            table_bytes=about["table_bytes"],
            index_bytes=about["index_bytes"],
            memory_bytes=server["memory_bytes"],
            settings={
                "hnsw.ef_search": server["ef_search"] or "40",
                "ivfflat.probes": server["probes"] or "1",
                "logical slots": str(server["slots"]),
            },
            other_vectors=tuple(v for v in vectors if v != vector),
            counted_null_vectors=None if look.complete else nulls,
            counted_missing_texts=None if look.complete else missing,
            counted_dimensions=counted_lengths,
            unseen=tuple(_unseen(about["kind"], counted)),
        )

    def _layout(
        self, about: Mapping[str, Any], columns: Mapping[str, Any], key: Sequence[str]
    ) -> Layout:
        types = {n: c["type"] for n, c in columns.items()}
        layout = layout_of_table(types, key, {n: c["width"] for n, c in columns.items()})
        if not {"collection_id", "cmetadata"} <= set(columns):
            return layout
        collections = sql.Identifier(about["schema"], "langchain_pg_collection")
        table = sql.SQL(about["name"])
        rows = self._read_only.attempt(
            sql.SQL(statement("inspect", "langchain_parts")).format(
                table=table, collections=collections
            )
        )
        parts = {r["part"]: r["rows"] for r in rows or []}
        if len(parts) < 2:
            return replace(layout, parts=parts)
        view = sql.SQL(
            "CREATE VIEW {} AS SELECT * FROM {} WHERE collection_id ="
            " (SELECT uuid FROM {} WHERE name = {})"
        ).format(
            sql.Identifier(about["schema"], "one_collection"),
            table,
            collections,
            sql.Literal(next(iter(parts))),
        )
        return replace(layout, parts=parts, part_view=view.as_string(self._connection))

    def _count(
        self, about: Mapping[str, Any], text: str | None, vector: str
    ) -> tuple[int | None, int | None, int | None]:
        """Count rows, NULL vectors and texts without a letter; all None when that takes too long.

        A long text is stored apart and not fetched for it, so one of blanks alone is not counted.
        """
        empty: sql.Composable = sql.SQL("false")
        if text:
            column = sql.Identifier(text)
            empty = sql.SQL("{c} IS NULL OR (octet_length({c}) <= {most} AND {blank})").format(
                c=column,
                most=sql.Literal(_MOST_BLANK_BYTES),
                blank=is_blank_sql(self._connection, sql.SQL("{}::text").format(column)),
            )
        rows = self._read_only.attempt(
            sql.SQL(statement("inspect", "count_rows")).format(
                vector=sql.Identifier(vector),
                no_text=empty,
                table=sql.SQL(about["name"]),
            )
        )
        if rows is None:
            return None, None, None
        return rows[0]["rows"], rows[0]["null_vectors"], rows[0]["missing_texts"]

    def _estimate(self, about: Mapping[str, Any]) -> int:
        """Return what the planner expects: it knows views, and tables never analysed by size."""
        query = sql.SQL("EXPLAIN (FORMAT JSON) SELECT 1 FROM {}").format(sql.SQL(about["name"]))
        row = self._connection.execute(query).fetchone()
        assert row is not None  # EXPLAIN always answers
        return int(row[0][0]["Plan"]["Plan Rows"])

    def _count_lengths(
        self, about: Mapping[str, Any], columns: Mapping[str, Any], layout: Layout, vector: str
    ) -> dict[int, Tally] | None:
        """Count the vectors of each length in the whole table, where any length may stand in it."""
        kind = columns[vector]["base"]
        if about["kind"] not in ("r", "m") or kind == "sparsevec":
            return None
        rows = self._read_only.attempt(
            sql.SQL(statement("inspect", "lengths")).format(
                vector=sql.Identifier(vector),
                key=key_texts(columns, layout),
                table=sql.SQL(about["name"]),
            ),
            binary=True,
        )
        if rows is None or len(rows) >= _MOST_LENGTHS:  # compressed vectors have sizes of any kind
            return None
        found: dict[int, Tally] = {}
        for row in rows:
            length = len(read_vector(row["vector"], kind))
            before = found.get(length, Tally())
            found[length] = Tally(
                before.count + row["rows"], (*before.examples, key_text(row["key"]))
            )
        return found

    def _read(
        self,
        about: Mapping[str, Any],
        columns: Mapping[str, Any],
        layout: Layout,
        vector: str,
        sampling: sql.Composable,
    ) -> Iterator[Row]:
        kind = columns[vector]["base"]
        query = sql.SQL(statement("inspect", "sample")).format(
            key=key_texts(columns, layout, stored=about["kind"] in STORED),
            vector=sql.Identifier(vector),
            text=sql.SQL("left({}::text, {})").format(
                sql.Identifier(layout.text), sql.Literal(_TEXT_CHARACTERS)
            )
            if layout.text
            else sql.SQL("NULL::text"),
            model=model_fields(columns, layout),
            elsewhere=text_elsewhere(columns, layout),
            table=sql.SQL(about["name"]),
            sample=sampling,
        )
        node = layout.maker.startswith("LlamaIndex")
        with self._connection.cursor(name="qafila_inspect") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(query, binary=True)
            for parts, raw, text, model, elsewhere in cursor:
                if node and elsewhere:
                    node_held = {"node": elsewhere}
                    inside = any(text_at(node_held, f"node.{p}") for p in NODE_TEXTS)
                    elsewhere = "metadata_ (_node_content)" if inside else ""
                yield Row(
                    key=key_text(parts),
                    vector=None if raw is None else read_vector(raw, kind),
                    text=text,
                    model=model_in(model),
                    elsewhere=elsewhere or "",
                )

    def _indexes(self, oid: int, vector: str) -> tuple[Index, ...]:
        rows = self._read_only.rows("vector_indexes", {"oid": oid, "vector": vector})
        return tuple(
            Index(
                name=r["name"],
                kind=r["kind"],
                metric=_metric(r["operators"]),
                operators=r["operators"],
                valid=r["valid"],
                settings=_index_settings(r["kind"], r["settings"]),
                size_bytes=r["size_bytes"],
                scans=r["scans"],
                partial=r["partial"],
            )
            for r in rows
        )


def _unseen(kind: str, counted: bool) -> Iterator[str]:
    if not counted:
        yield "rows: too many to count in 5 s, so estimated"
    if kind not in STORED:
        yield "a view: its key, its indexes and what tracks changes are those of its tables"


def _metric(operators: str) -> Metric:
    part = next((p for p in operators.split("_") if p in _METRICS), None)
    return _METRICS[part] if part else "other"


def _index_settings(kind: str, options: Sequence[str]) -> dict[str, str]:
    defaults = {"hnsw": {"m": "16", "ef_construction": "64"}, "ivfflat": {"lists": "100"}}
    return {**defaults.get(kind, {}), **dict(o.split("=", 1) for o in options)}
