"""PostgreSQL: columns that look like a corpus, vectors that are there, and search in words.

Candidates come from the planner's statistics. A bounded sample of each then tells the true length
of its texts, since long ones lie out of line and count 18 bytes in the statistics, and the mix of
languages. The texts themselves are looked at in memory and kept nowhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from psycopg import sql

from qafila.audit.ai_need.names import meaning_of_table
from qafila.audit.collectors.postgres_databases import largest_tables, rows_of
from qafila.audit.collectors.postgres_server import Database, Row, Server
from qafila.audit.estate import Outcome, Resource
from qafila.validation.language import detect_language

_TEXT = frozenset({"text", "varchar", "bpchar", "citext", "json", "jsonb", "xml"})
_VECTORS = frozenset({"vector", "halfvec", "sparsevec"})
_TYPES = {"_float4": "real[]", "_float8": "double precision[]"}
_NAMED_VECTOR = re.compile(r"embed|vector", re.IGNORECASE)
_LETTERS = re.compile(r"[^\W\d_]{2,}")
_KEY = re.compile(r'"[^"]*"\s*:')
_FEWEST_ROWS = 50
_LEAST_WIDTH = 24  # bytes; narrower ones are codes and names
_OUT_OF_LINE = 200  # bytes a row beside the table: some column holds long values
_FEWEST_WORDS = 5
_LEAST_SHARE = 0.5  # of the sampled texts that must have so many words
_PAGES = 12  # a sample expects at least so many


def read(server: Server) -> None:
    """Add each column that looks like a corpus, holds vectors, or is searched in words."""
    databases = server.databases()
    server.visit(databases, lambda row, opened: _inside(server, row["name"], opened))


def _inside(server: Server, database: str, opened: Database) -> None:
    tables = {t["id"]: t for t in largest_tables(server, database, opened)}
    _name_what_is_closed(server, database, list(tables.values()))
    columns = opened.rows("columns", tables=list(tables))
    indexes = opened.rows("indexes", tables=list(tables))
    candidates = []
    for column in columns:
        table = tables[column["id"]]
        if column["type"] in _VECTORS or (
            column["type"] in _TYPES and _NAMED_VECTOR.search(column["name"])
        ):
            _add_vectors(server, database, table, column, indexes)
        elif column["type"] == "tsvector":
            _add_words(server, database, table, column["name"], "tsvector column")
        elif column["type"] in _TEXT and _may_be_corpus(table, column):
            candidates.append((table, column))
    for index in indexes:
        if index["trigrams"] or (index["words"] and not index["columns"]):
            table, how = tables[index["id"]], "trigram" if index["trigrams"] else "tsvector"
            named = ", ".join(index["columns"]) or "an expression"
            _add_words(server, database, table, named, f"{how} index ({index['method']})")
    candidates.sort(key=lambda c: (-(c[0]["total_bytes"] or 0), c[0]["id"], c[1]["name"]))
    limit = server.limits.columns
    if len(candidates) > limit:
        server.missed(
            Outcome.TRUNCATED,
            f"database {database}: {len(candidates)} columns of text, {limit} were looked at",
        )
    for table, column in candidates[:limit]:
        with server.tolerating(f"sample of {database} {_name(table)}.{column['name']}"):
            _add_corpus(server, database, table, column, opened)


def _name_what_is_closed(server: Server, database: str, tables: Sequence[Row]) -> None:
    """Note the tables that we may not read, and those the planner knows nothing of."""
    notes = (
        (Outcome.DENIED, "SELECT was not granted to us", [t for t in tables if not t["may"]]),
        (
            Outcome.DENIED,
            "row security hides its rows from us",
            [t for t in tables if t["may"] and t["hidden"]],
        ),
        (
            Outcome.TRUNCATED,
            "never analysed, so its volume is not known: run ANALYZE",
            [t for t in tables if t["may"] and not t["hidden"] and t["unknown"]],
        ),
    )
    for outcome, why, found in notes:
        if found:
            named = ", ".join(_name(t) for t in found[:20])
            more = f" and {len(found) - 20} more" if len(found) > 20 else ""
            server.missed(outcome, f"database {database}, {named}{more}: {why}")


def _may_be_corpus(table: Row, column: Row) -> bool:
    """Tell by the planner's statistics whether a look at some rows is worth it."""
    if not table["may"] or not column["may"] or table["hidden"]:
        return False
    rows = rows_of(table)
    if rows is None:
        return bool(table["total_bytes"])
    if rows < _FEWEST_ROWS:
        return False
    width = column["width"]
    long = (table["toast_bytes"] or 0) / rows >= _OUT_OF_LINE
    return width is None or width >= _LEAST_WIDTH or long


def _add_corpus(server: Server, database: str, table: Row, column: Row, opened: Database) -> None:
    """Add one column of texts, when its sample reads like texts."""
    rows, empty = rows_of(table), column["null_share"]
    filled = None if rows is None else round(rows * (1 - (empty or 0.0)))
    facts: dict[str, Any] = {
        "database": database,
        "table": _name(table),
        "column": column["name"],
        "type": column["type"],
        "rows": filled,
        "meaning": meaning_of_table(table["name"]),
    }
    average: float | None
    if server.limits.sample_rows:
        sample = _sample(server, table, column, opened)
        if not sample or not _reads_like_text([text for text, _ in sample]):
            return
        told = Counter(detect_language(text) or "not told" for text, _ in sample)
        average = sum(size for _, size in sample) / len(sample)
        facts |= {
            "average_bytes": round(average, 1),
            "average_is": f"of {len(sample)} sampled rows",
            "sampled": len(sample),
            "languages": {k: round(n / len(sample), 3) for k, n in sorted(told.items())},
        }
    else:
        average = column["width"]
        facts |= {
            "average_bytes": average,
            "average_is": "the planner's: a lower bound",
            "sampled": 0,
            "languages": {},
        }
    size = None if filled is None or average is None else round(filled * average)
    facts["text_bytes"] = size
    _add(server, "postgres:text", database, table, column["name"], size, facts)


def _sample(server: Server, table: Row, column: Row, opened: Database) -> list[tuple[str, int]]:
    """Return the start and the full bytes of some values, from pages chosen by the server.

    ``TABLESAMPLE SYSTEM`` reads whole pages and no others; the same ones each time.
    """
    limit, rows, pages = server.limits.sample_rows, rows_of(table) or 0, table["pages"] or 0
    percent = 100.0
    if rows and pages:
        percent = min(100.0, max(200.0 * limit / rows, 100.0 * _PAGES / pages))
    name, relation = sql.Identifier(column["name"]), sql.Identifier(table["schema"], table["name"])
    query = sql.SQL(
        "SELECT left({0}::text, {1}) AS start, octet_length({0}::text) AS bytes "
        "FROM {2} TABLESAMPLE SYSTEM ({3}) REPEATABLE (7) WHERE {0} IS NOT NULL LIMIT {4}"
    )
    for share in sorted({percent, 100.0 if pages <= 1000 else percent}):
        found = opened.ask(
            query.format(
                name,
                sql.Literal(server.limits.sample_characters),
                relation,
                sql.Literal(share),
                sql.Literal(limit),
            ),
            {},
        )
        if found:
            break
    return [(_decoded(r["start"]), int(r["bytes"])) for r in found]


def _decoded(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _reads_like_text(texts: Sequence[str]) -> bool:
    """Tell whether half of the texts have five words or more; an address or a code is one."""
    like = sum(
        sum(_LETTERS.search(word) is not None for word in _KEY.sub("", text).split())
        >= _FEWEST_WORDS
        for text in texts
    )
    return like >= _LEAST_SHARE * len(texts)


def _add_vectors(
    server: Server, database: str, table: Row, column: Row, indexes: Sequence[Row]
) -> None:
    by = [
        {"method": i["method"], "size_bytes": i["size_bytes"], "valid": i["valid"]}
        for i in indexes
        if i["id"] == column["id"] and column["name"] in i["columns"]
    ]
    known = column["type"] in _VECTORS and column["modifier"] > 0
    facts = {
        "database": database,
        "table": _name(table),
        "column": column["name"],
        "type": _TYPES.get(column["type"], column["type"]),
        "rows": rows_of(table),
        "dimensions": column["modifier"] if known else None,
        "indexes": by,
    }
    _add(server, "postgres:vectors", database, table, column["name"], None, facts)


def _add_words(server: Server, database: str, table: Row, column: str, how: str) -> None:
    facts = {
        "database": database,
        "table": _name(table),
        "column": column,
        "how": how,
        "rows": rows_of(table),
    }
    _add(server, "postgres:fulltext", database, table, f"{column} ({how})", None, facts)


def _add(
    server: Server,
    kind: str,
    database: str,
    table: Row,
    part: str,
    size: int | None,
    facts: dict[str, Any],
) -> None:
    name = f"{_name(table)}.{part}"
    server.found.append(
        Resource(f"{server.identifier(database, name)}", kind, name, server.region, size, {}, facts)
    )


def _name(table: Row) -> str:
    return f"{table['schema']}.{table['name']}"
