"""What stands in the way of a generation table, each with its remedy; pgvector's own limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg

from qafila.sql import statement
from qafila.workload.corpus import PgvectorTarget

OLDEST = (0, 8, 4)
MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000}  # of HNSW; a page must hold an element
MOST_STORED = 16_000


def installed_version(connection: psycopg.Connection[Any]) -> str | None:
    """Return the version of the extension in this database; None where it is not installed."""
    row = connection.execute(statement("pgvector", "extension_version")).fetchone()
    return None if row is None else str(row[0])


def is_too_old(version: str) -> bool:
    """Return whether this version is from before the one that keeps its index entries."""
    return tuple(int(p) for p in re.findall(r"\d+", version)[:3]) < OLDEST


def problems_of(
    connection: psycopg.Connection[Any], settings: PgvectorTarget, dimensions: int
) -> list[str]:
    """Return everything that stands in the way of a table of this layout."""
    version = installed_version(connection)
    if version is None:
        return ["pgvector is not installed in the target: run CREATE EXTENSION vector there"]
    if is_too_old(version):
        return [
            f"pgvector {version} loses index entries under vacuum and parallel builds: "
            "update to 0.8.4 or newer, then run ALTER EXTENSION vector UPDATE in the target"
        ]
    return [
        *problems_of_role(connection),
        *problems_of_settings(settings, dimensions),
        *_problems_of_full_text(connection, settings.full_text),
    ]


def problems_of_role(connection: psycopg.Connection[Any], *, tables: bool = True) -> list[str]:
    """Return what the role may not do in the target, with the statement that permits it.

    Without ``tables`` only the schema is needed, once.
    """
    found = connection.execute(statement("pgvector", "may_create")).fetchone()
    assert found is not None
    role, database, there, may = found
    if may or (there and not tables):
        return []
    where = "SCHEMA qafila" if there else f"DATABASE {database}"
    return [
        f"role {role} may not create {'tables' if there else 'a schema'} in the target: "
        f"run GRANT CREATE ON {where} TO {role} there, as its owner"
    ]


def problems_of_settings(settings: PgvectorTarget, dimensions: int) -> Iterator[str]:
    """Yield what pgvector refuses whatever the server: dimensions and index parameters."""
    kind = settings.vector_type
    if settings.index == "none":
        if dimensions > MOST_STORED:
            yield f"{kind} holds {MOST_STORED} dimensions, not {dimensions}"
        return
    if dimensions > MOST_DIMENSIONS[kind]:
        other = (
            "; halfvec takes 4000: set corpus.target.vector_type"
            if kind == "vector" and dimensions <= MOST_DIMENSIONS["halfvec"]
            else "; set corpus.target.index to none, or take shorter vectors"
        )
        most = MOST_DIMENSIONS[kind]
        yield f"HNSW on {kind} takes {most} dimensions, not {dimensions}{other}"
    if settings.ef_construction < 2 * settings.m:
        yield (
            f"ef_construction {settings.ef_construction} is less than twice m "
            f"({settings.m}), which pgvector refuses: raise it to {2 * settings.m}"
        )


def _problems_of_full_text(connection: psycopg.Connection[Any], wanted: str) -> Iterator[str]:
    known = connection.execute(
        "SELECT cfgname FROM pg_ts_config WHERE cfgname = %s", [wanted]
    ).fetchone()
    if wanted != "none" and known is None:
        yield (
            f"the target has no text search configuration {wanted!r}: "
            "set corpus.target.full_text to simple or none"
        )
