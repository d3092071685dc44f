"""The column layout's statements, with the names of one generation filled in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from qafila.sql import statement
from qafila.stores.column.swap import HeldColumn, own_name
from qafila.stores.column.table import AppTable, Described
from qafila.stores.port import Place
from qafila.workload.corpus import PgvectorTarget


@dataclass(frozen=True)
class Words:
    """What statements of one generation name; pure."""

    place: Place
    settings: PgvectorTarget
    app: AppTable
    described: Described

    @property
    def own(self) -> str:
        """Return the column's name while it does not serve; its index and digest keep to it."""
        return own_name(self.serving_name, self.place.generation)

    @property
    def serving_name(self) -> str:
        """Return the name under which the application searches."""
        assert self.settings.column is not None
        return self.settings.column.column

    @property
    def index(self) -> sql.Identifier:
        return sql.Identifier(self.described.schema, self.index_name)

    @property
    def index_name(self) -> str:
        """Return the name of the generation's index, whoever serves."""
        return f"{self.described.name}_{self.own}_hnsw"

    def statement(self, name: str, held: HeldColumn, **parts: sql.Composable) -> sql.Composed:
        """Return a statement of column.sql for the column as it is held now."""
        more = {"index": self.index} if name == "drop_index" else {}
        return self.filled(statement("column", name), held, **more, **parts)

    def filled(
        self, text: LiteralString, held: HeldColumn, **parts: sql.Composable
    ) -> sql.Composed:
        """Return a statement with the names of the column as it is held now."""
        settings = self.settings
        given: dict[str, sql.Composable] = {
            **self.described.key_parts(),
            "table": held.table,
            "column": sql.Identifier(held.held_as),
            "digest": sql.Identifier(f"{self.own}_digest"),
            "type": sql.SQL(f"{settings.vector_type}({self.place.dimensions})"),
            "stage": sql.Identifier(f"stage_{self.place.name}"[:60]),
            "index": sql.Identifier(self.index_name),
            "operators": sql.SQL(f"{settings.vector_type}_cosine_ops"),
            "m": sql.Literal(settings.m),
            "ef_construction": sql.Literal(settings.ef_construction),
            "text": self.app.text_sql,
            "acl": self.app.acl_sql,
            "title": self.app.title_sql,
            "metadata": self.app.metadata_sql,
            "readable": self.app.readable_sql,
            **parts,
        }
        return sql.SQL(text).format(**given)

    def parts(self, source_key: str) -> list[str]:
        """Return the values of the key's columns, as text."""
        return [source_key] if len(self.described.key) == 1 else list(json.loads(source_key))

    def arrays(self, source_keys: Sequence[str]) -> list[list[str]]:
        """Return the keys as one array a column."""
        split = [self.parts(key) for key in source_keys]
        return [[key[n] for key in split] for n in range(len(self.described.key))]
