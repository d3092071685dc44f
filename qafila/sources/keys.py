"""What can be wrong with the key of a table or query, found before anything is read by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import errors, sql

from qafila.errors import BadInput
from qafila.sources.relation import Column, Relation, first_line, shown

KEY_BYTES = 2_000  # a B-tree of the target takes 2 704 bytes a key


def relation_problems(relation: Relation, wanted: Sequence[str]) -> list[str]:
    """Return everything that is wrong with key and columns, each with a remedy."""
    name, key = relation.name, relation.key
    if relation.encoding() == "SQL_ASCII":
        return [
            "the source's database says no encoding (SQL_ASCII), so bytes are no text: dump it and "
            "restore it into a database in UTF8"
        ]
    try:
        columns = relation.columns()
        if not columns:
            return [f"the source has no table {name!r}: name an existing table in corpus.source"]
        missing = [
            f"{name!r} has no column {c!r}; it has: {', '.join(columns)}"
            for c in dict.fromkeys([*key, *wanted])
            if c not in columns
        ]
        unfit = [p for c in key if c in columns for p in _order_problems(relation, columns[c])]
        if missing or unfit:
            return missing + unfit
        relation.run(  # a right to some columns only is seen here, before rows are counted
            sql.SQL("SELECT {} FROM {} LIMIT 0").format(
                sql.SQL(", ").join(map(sql.Identifier, dict.fromkeys([*key, *wanted]))),
                relation.rows,
            )
        )
        return _value_problems(relation)
    except BadInput as error:
        return list(error.problems)
    except errors.InsufficientPrivilege as error:
        return [
            f"{name!r} cannot be read whole: {first_line(error)}; give the role SELECT, and "
            "BYPASSRLS where policies hide rows"
        ]
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return [f"{name!r} cannot be read: {first_line(error)}; correct corpus.source"]


def _order_problems(relation: Relation, column: Column) -> Iterator[str]:
    told = f"key column {column.name!r} is {column.type}"
    try:
        relation.run(
            sql.SQL("SELECT 1 FROM {} ORDER BY {} LIMIT 0").format(
                relation.rows, sql.Identifier(column.name)
            )
        )
    except errors.UndefinedFunction:
        yield f"{told}, which has no order: name columns that have"
        return
    if column.type == "money":
        yield f"{told}, whose text depends on the server's locale: cast it to numeric"
    if not column.deterministic or column.type.rpartition(".")[2] == "citext":
        by = f" under the collation {column.sorted_by}" if column.sorted_by else ""
        yield (
            f"{told}{by}, where different keys compare equal: name a query as the source that "
            f'casts it, as in {column.name}::text COLLATE "C" AS {column.name}'
        )
    if column.version_recorded not in (None, column.version_now):
        yield (
            f"the collation {column.sorted_by} of key column {column.name!r} was recorded in "
            f"version {column.version_recorded} and sorts in version {column.version_now}: "
            "its indexes may be out of order; REINDEX, then ALTER COLLATION … REFRESH VERSION "
            "(for default: ALTER DATABASE … REFRESH COLLATION VERSION)"
        )


def _value_problems(relation: Relation) -> list[str]:
    key, name = relation.key, relation.name
    problems = []
    unique = relation.unique()
    if not unique:
        repeated = relation.run(
            sql.SQL("SELECT {}, count(*) FROM {} GROUP BY {} HAVING count(*) > 1 LIMIT 3").format(
                relation.key_texts, relation.rows, relation.key_columns
            )
        ).fetchall()
        if repeated:
            told = ", ".join(f"{shown(k)} ({n} times)" for k, n in repeated)
            problems.append(f"the key {key} of {name!r} is not unique, as in {told}: add columns")
    nullable = [c for c in key if relation.known[c].nullable]
    if nullable and relation.any_null(*nullable):
        problems.append(f"the key {key} of {name!r} is NULL in some row: name other columns")
    if not unique:
        size = sql.SQL(" + ").join(
            sql.SQL("octet_length({}::text)").format(sql.Identifier(c)) for c in key
        )
        if relation.run(
            sql.SQL("SELECT 1 FROM {} WHERE {} > {} LIMIT 1").format(
                relation.rows, size, sql.Literal(KEY_BYTES)
            )
        ).fetchone():
            problems.append(
                f"the key {key} of {name!r} is longer than {KEY_BYTES} bytes in some row: "
                "name shorter columns"
            )
    return problems
