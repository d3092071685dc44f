"""Search in either PostgreSQL layout: settings, filters, and whether the index serves every row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from qafila.search.table import EXACT
from qafila.sql import statement
from qafila.stores.filters import LEAST_SHARE, MOST_VALUES
from qafila.stores.port import Effort, Holds, Part, Where
from qafila.workload.corpus import PgvectorTarget

__all__ = ["EXACT"]


_MOST_GROUPS = 200  # together they read nearly everything
_SMALL_TABLE = 10_000  # rows; below, looking at each can be the better plan
_PARTS = 1 << 20
Settings = Mapping[str, str]


def by_index(target: PgvectorTarget, effort: Effort | None) -> Settings:
    """Return what a search by the index sets for its transaction."""
    how = effort or Effort(target.ef_search)
    return {
        "hnsw.ef_search": str(how.ef_search),
        "hnsw.iterative_scan": "strict_order" if how.strict else "relaxed_order",
        "jit": "off",
    }


def condition(where: Where | None, key: sql.Composable, metadata: sql.Composable) -> sql.Composable:
    """Return a filter as a condition; ``values_of`` are its parameters."""
    if where is None:
        return sql.SQL("true")
    if isinstance(where, Part):
        return sql.SQL("hashtextextended({}, %(seed)s) & {} < %(part)s").format(
            key, sql.Literal(_PARTS - 1)
        )
    return sql.SQL("({metadata} @> %(is)s OR {metadata} @> %(among)s)").format(metadata=metadata)


def values_of(where: Where | None) -> dict[str, Any]:
    """Return the parameters of a filter's condition."""
    if where is None:
        return {}
    if isinstance(where, Part):
        return {"seed": where.seed, "part": round(where.share * _PARTS)}
    return {"is": Jsonb({where.field: where.value}), "among": Jsonb({where.field: [where.value]})}


@dataclass(frozen=True)
class Held:
    """A table with a vector column, and how its rows are filtered."""

    connection: psycopg.Connection[Any]
    table: sql.Identifier
    column: str
    metadata: sql.Composable

    def values(self, rows: int) -> dict[Holds, int]:
        """Return what metadata can be filtered by; of values that Python takes for equal, one."""
        query = sql.SQL(statement("index_state", "values")).format(
            table=self.table, metadata=self.metadata
        )
        bounds = {"at_least": max(1, round(rows * LEAST_SHARE)), "at_most": MOST_VALUES}
        found = self.connection.execute(query, bounds).fetchall()
        return {Holds(f, v): n for f, v, n in found if isinstance(v, str | int)}

    def usable(self) -> list[str]:
        """Return the names of the indexes that can answer a cosine search over every row."""
        return [i["name"] for i in self._indexes() if _fault(i) is None]

    def problems(
        self, rebuild: str, plan: Sequence[Mapping[str, Any]], scanned: bool
    ) -> Iterator[str]:
        """Yield why the index does not serve every row; ``plan`` and ``scanned`` are of a search.

        ``rebuild`` is how to have it built again.
        """
        name = ".".join(self.table._obj)
        query = sql.SQL(statement("index_state", "rows_and_zeros")).format(
            table=self.table, column=sql.Identifier(self.column)
        )
        counted = self.connection.execute(query).fetchone()
        rows, zeros = counted if counted else (0, 0)
        indexes = self._indexes()
        if not self.usable():
            why = "; ".join(f"{i['name']} {_fault(i)}" for i in indexes)
            yield (
                f"{name} has no HNSW index on {self.column} that serves cosine search"
                f"{': ' + why if why else ''}, so every search looks at all {rows} rows: {rebuild}"
            )
        elif scanned and rows >= _SMALL_TABLE:
            yield (
                f"the planner does not use {', '.join(self.usable())} and looks at all {rows} rows "
                f"of {name} ({_top(plan)}): run ANALYZE {name}, and see that no setting such as "
                "enable_indexscan or random_page_cost keeps it from its indexes"
            )
        if zeros:
            yield (
                f"{zeros} of {rows} rows of {name} have a zero vector, which no cosine index "
                "holds: embed their texts again, or set them aside"
            )

    def _indexes(self) -> list[dict[str, Any]]:
        asked = {"table": self.table.as_string(self.connection), "column": self.column}
        rows = self.connection.execute(statement("index_state", "hnsw_indexes"), asked).fetchall()
        return [dict(zip(("name", "valid", "partial", "operators"), r, strict=True)) for r in rows]


def _fault(index: Mapping[str, Any]) -> str | None:
    if not index["valid"]:
        return "is invalid, left by a build that was broken off"
    if index["partial"]:
        return "holds a part of the rows only"
    if "cosine" not in index["operators"]:
        return f"is built with {index['operators']}"
    return None


def explained(
    connection: psycopg.Connection[Any], query: sql.Composed, values: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the nodes of a statement's plan, the top one first."""
    row = connection.execute(
        sql.SQL("EXPLAIN (FORMAT JSON) {}").format(query), values, prepare=False
    ).fetchone()
    assert row is not None
    return list(_nodes(row[0][0]["Plan"]))


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from _nodes(below)


def most_frequent(readers: Mapping[str, int]) -> list[str]:
    """Return groups whose reader sees nearly everything."""
    return sorted(readers, key=lambda g: (-readers[g], g))[:_MOST_GROUPS]


def goes_by(plan: Sequence[Mapping[str, Any]], indexes: Sequence[str]) -> bool:
    """Say whether a plan goes by one of these indexes."""
    return any(node.get("Index Name") in indexes for node in plan)


def _top(plan: Sequence[Mapping[str, Any]]) -> str:
    return " over ".join(str(node["Node Type"]) for node in plan)
