"""Keyword, vector and hybrid search over a table with lexemes and, where there are some, vectors.

Services and the ladder share these, so that what is measured is what serves. Every function takes
an autocommit connection of the caller's own; nothing here needs Prefect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import Vector
from pgvector.psycopg import register_vector
from psycopg import sql

from qafila.connections.local_settings import set_local
from qafila.errors import Refused, Unavailable
from qafila.sql import statement
from qafila.statistics.rank_fusion import score_fusion
from qafila.stores.port import Place
from qafila.workload.corpus import EVERYBODY

RANKING = 12  # lexemes that rank; more rank no better
COMMON = 0.3  # a lexeme in this share of all rows says nothing
DEPTH = 50  # of each list that is fused; 30 gives .004 less nDCG@10, 100 some .003 more
HANDFUL = 10  # rows: a lexeme in no more of them is not too common, whatever its share
FEW = 1000  # rows that are ranked in any case: a bound by share starves searches of small tables

Connection = psycopg.Connection[Any]
Vectors = NDArray[np.float32]

# What makes a search look at every row. All of it is said: where somebody has switched sequential
# scans off for the whole database, switching index scans off as well would leave the choice open.
EXACT = {
    "enable_indexscan": "off",
    "enable_indexonlyscan": "off",
    "enable_bitmapscan": "off",
    "enable_seqscan": "on",
    "enable_sort": "on",
    "jit": "off",
}


@dataclass(frozen=True)
class Found:
    """One document of an answer; what ``score`` means depends on the search."""

    source_key: str
    score: float


@dataclass(frozen=True)
class Selection:
    """How many rows a keyword search ranks: those with one of so many of the rarest lexemes.

    ``rows`` bounds the sum of these lexemes' shares, so that a question of common words costs no
    more than others; the rarest lexeme selects in any case, and so do all that together select no
    more than ``FEW`` rows.
    """

    words: int
    rows: float


# Measured on the 17 422 documents and 1 337 queries of the demo, ranked by ts_rank alone: as good
# as selecting by all twelve ranking words (nDCG@10 .609 against .607) with a third of the rows,
# 1 700 in the mean.
THOROUGH = Selection(words=4, rows=inf)
# As good again (.610) with 610 rows in the mean and 960 at the 95th percentile, not 4 300.
FRUGAL = Selection(words=RANKING, rows=0.06)


@dataclass(frozen=True)
class Searchable:
    """A table to search in: its key, its readers and where the shares of its lexemes are.

    ``full_text`` is the configuration its lexemes were made by, "none" when it has none.
    """

    table: tuple[str, ...]
    key: str
    acl: str
    shares: tuple[str, ...]
    full_text: str = "english"
    vector_type: str = "vector"

    def parts(self) -> dict[str, sql.Composable]:
        """Return the identifiers that the statements have gaps for."""
        return {
            "table": sql.Identifier(*self.table),
            "name": sql.Literal(sql.Identifier(*self.table).as_string()),
            "key": sql.Identifier(self.key),
            "acl": sql.Identifier(self.acl),
            "shares": sql.Identifier(*self.shares),
            "config": sql.Literal(self.full_text),
            "type": sql.Identifier(self.vector_type),
        }


def generation_table(
    place_name: str, *, full_text: str = "english", vector_type: str = "vector"
) -> Searchable:
    """Return how to search the generation whose table has this name (``Place.name``)."""
    return Searchable(
        table=("qafila", place_name),
        key="source_key",
        acl="acl",
        shares=("qafila", f"{place_name}_lexeme_share"),
        full_text=full_text,
        vector_type=vector_type,
    )


def stored_generation(connection: Connection, place_name: str) -> Searchable:
    """Return how to search a generation as its table was made, whatever the workload says by now.

    Raises:
        Unavailable: there is no such table.
    """
    table = sql.Identifier("qafila", place_name).as_string()
    row = connection.execute(
        statement("search", "describe_generation"), {"table": table}
    ).fetchone()
    if row is None:
        raise Unavailable(f"there is no table {table} to search in.", remedy="qafila status")
    return generation_table(place_name, full_text=row[1] or "none", vector_type=row[0])


def place_name(workload: str, generation: int) -> str:
    """Return the name of a generation's table."""
    return Place(workload, generation, fingerprint="", dimensions=0).name


def write_lexeme_shares(connection: Connection, where: Searchable) -> None:
    """Count in how many rows each lexeme occurs. Idempotent: a filled table stays as it is.

    Belongs after the load of a generation; keyword and hybrid search need it.
    """
    query = sql.SQL("SELECT lexemes FROM {}").format(sql.Identifier(*where.table))
    parts = {**where.parts(), "query": sql.Literal(query.as_string(connection))}
    with connection.transaction():
        for name in ("create_lexeme_shares", "fill_lexeme_shares", "analyze_lexeme_shares"):
            connection.execute(sql.SQL(statement("search", name)).format(**parts))


def drop_lexeme_shares(connection: Connection, where: Searchable) -> None:
    """Delete the shares of a generation that is being dropped."""
    connection.execute(sql.SQL(statement("search", "drop_lexeme_shares")).format(**where.parts()))


def prepare_connection(connection: Connection, *, ef_search: int) -> None:
    """Make a connection of our own fit for vector search, for as long as it lives."""
    register_vector(connection)
    settings = {
        "hnsw.ef_search": str(ef_search),
        "hnsw.iterative_scan": "relaxed_order",
        "jit": "off",
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


def search_keywords(
    connection: Connection,
    where: Searchable,
    text: str,
    k: int,
    groups: Sequence[str] = (EVERYBODY,),
    *,
    selection: Selection = THOROUGH,
) -> list[Found]:
    """Return the k best documents by the rarest words of the text.

    Raises:
        Refused: the table has no lexemes.
    """
    rows = _ask(
        connection,
        _compose(_with_lexemes(where), "keyword_terms", "keyword_search"),
        {**_keyword_values(text, groups, selection), "k": _chunks(k)},
    )
    return _documents(rows, k)


def search_vectors(
    connection: Connection,
    where: Searchable,
    vector: Vectors,
    k: int,
    groups: Sequence[str] = (EVERYBODY,),
) -> list[Found]:
    """Return the k documents with the nearest chunks, by the index."""
    rows = _ask(
        connection,
        _compose(where, "vector_search"),
        {"vector": Vector(vector), "groups": list(groups), "k": _chunks(k)},
    )
    return _documents(sorted(rows, key=lambda row: -row[1]), k)


def search_vectors_exact(
    connection: Connection,
    where: Searchable,
    vector: Vectors,
    k: int,
    groups: Sequence[str] = (EVERYBODY,),
) -> list[Found]:
    """Return the k documents with the nearest chunks, by looking at every chunk."""
    with connection.transaction():
        set_local(connection, EXACT)
        return search_vectors(connection, where, vector, k, groups)


def search_hybrid(
    connection: Connection,
    where: Searchable,
    text: str,
    vector: Vectors,
    k: int,
    groups: Sequence[str] = (EVERYBODY,),
    *,
    selection: Selection = FRUGAL,
) -> list[Found]:
    """Return the k best documents of the keyword list and the vector list, fused by score.

    Raises:
        Refused: the table has no lexemes.
    """
    rows = _ask(
        connection,
        _compose(_with_lexemes(where), "keyword_terms", "both_searches"),
        {
            **_keyword_values(text, groups, selection),
            "vector": Vector(vector),
            "k": _chunks(k),
        },
    )
    lists: dict[str, dict[str, float]] = {"keyword": {}, "vector": {}}
    for which, key, score in rows:  # of a document the best chunk counts
        lists[which][key] = max(float(score), lists[which].get(key, float(score)))
    fused = score_fusion(lists["keyword"], lists["vector"])
    return [Found(key, score) for key, score in fused[:k]]


def _with_lexemes(where: Searchable) -> Searchable:
    if where.full_text == "none":
        raise Refused(
            f"{where.table[-1]} has no lexemes (corpus.target.full_text is none), so there is no "
            "keyword and no hybrid search in it.",
            remedy="search it by vector, or set full_text and fill a new generation.",
        )
    return where


def _ask(connection: Connection, query: bytes, values: dict[str, object]) -> list[Any]:
    """Run a search that is planned anew each time, whatever the connection prepares.

    A prepared plan outlives the setting it was made under (index scans switched off for an exact
    search), and knows nothing of how much the groups may see.
    """
    return connection.execute(query, values, prepare=False).fetchall()


@lru_cache(maxsize=64)
def _compose(where: Searchable, *names: str) -> bytes:
    """Return a statement ready to send: composing it takes as long as a cheap search."""
    text = "\n".join(statement("search", name) for name in names)
    return sql.SQL(text).format(**where.parts()).as_bytes()


def _keyword_values(text: str, groups: Sequence[str], selection: Selection) -> dict[str, object]:
    return {
        "text": text,
        "common": COMMON,
        "words": selection.words,
        "rows": selection.rows,
        "ranking": RANKING,
        "few": FEW,
        "handful": HANDFUL,
        "groups": list(groups),
    }


def _chunks(k: int) -> int:
    """Return how many chunks to ask for, so that k documents remain when some have several."""
    return max(DEPTH, k)


def _documents(rows: Sequence[tuple[str, float]], k: int) -> list[Found]:
    """Keep the best chunk of each document."""
    best: dict[str, float] = {}
    for key, score in rows:
        best.setdefault(key, float(score))
    return [Found(key, score) for key, score in list(best.items())[:k]]
