"""Judged queries, and what the systems under comparison answer to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any, Protocol

import psycopg
from psycopg import sql

from qafila.errors import BadInput
from qafila.sql import statement
from qafila.validation.judged import Answer, JudgedQuery, K
from qafila.validation.judgement_rows import collect_queries

SYSTEMS = ("baseline", "vector_only", "candidate")
CHALLENGERS = ("vector_only", "candidate")
_SHOWN = 200  # problems in one message
_WARM_UP = 5  # questions that each connection answers before its time counts
_STINT = 50  # queries over one connection


class Arm(Protocol):
    """What answers questions, for one thread: a service over HTTP, or a search in process."""

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        """Ask one question; what cannot be answered is an ``Answer`` without a ranking."""


OpenArm = Callable[[], AbstractContextManager[Arm]]
Asks = dict[str, Callable[[str], Answer]]  # of each system
Answers = dict[str, Answer]


def read_judged_queries(source: psycopg.Connection[Any], table: str) -> list[JudgedQuery]:
    """Return the judged queries of a table, ordered by id.

    Columns ``class`` and ``language`` are read where there are some. A query that nobody has judged
    is a row without ``relevant`` and ``grade``.

    Raises:
        BadInput: the table or one of its four columns is missing, it is empty, or rows of it cannot
            be used; names every problem.
    """
    what = f"the judged queries in {table} cannot be read:"
    name = sql.Identifier(*table.split("."))
    try:
        head = source.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(name))
        known = {column.name for column in head.description or ()}
        optional = {
            c: sql.Identifier(c) if c in known else sql.SQL("NULL") for c in ("class", "language")
        }
        query = sql.SQL(statement("validation", "judged_queries"))
        rows = source.execute(query.format(table=name, **optional)).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
        raise BadInput(
            what,
            [f"{str(error).splitlines()[0]}; {table} needs query_id, text, relevant, grade"],
        ) from error
    if not rows:
        raise BadInput(
            what,
            [f"{table} is empty"],
            remedy="judge some queries, or set queries.judged.kind to generated",
        )
    queries, problems = collect_queries(rows)
    if problems:
        more = len(problems) - _SHOWN
        shown = problems[:_SHOWN] + ([f"… and {more} more"] if more > 0 else [])
        raise BadInput(what, shown, remedy=f"correct these rows of {table}, then run it again")
    return queries


def ask_all(
    baseline: OpenArm, candidate: OpenArm, queries: Sequence[JudgedQuery], *, concurrency: int
) -> dict[str, list[Answer]]:
    """Ask every query of all three systems.

    A closed loop of ``concurrency`` users: the times are service times under whatever other load
    there is, not a capacity. Baseline and candidate are asked in pairs, each of them first as often
    as the other, so that both meet the same load. The candidate's vectors alone come in a round
    of their own afterwards: asked in between, they would warm the caches for the candidate's next
    answer and for nobody else's.

    Each user asks over fresh connections every ``_STINT`` queries: one server process may be a few
    per cent slower than the next for as long as it lives.
    """

    def ask(queue: Sequence[int], rounds: Callable[[Arm, Arm], Asks]) -> dict[int, Answers]:
        found: dict[int, Answers] = {}
        for start in range(0, len(queue), _STINT):
            with ExitStack() as stack:
                asks = rounds(stack.enter_context(baseline()), stack.enter_context(candidate()))
                for query in queries[:_WARM_UP]:
                    for answer in asks.values():
                        answer(query.text)
                for turn, number in enumerate(queue[start : start + _STINT]):
                    order = list(asks) if turn % 2 else list(asks)[::-1]
                    found[number] = {s: asks[s](queries[number].text) for s in order}
        return found

    def pair(old: Arm, new: Arm) -> Asks:
        return {"baseline": partial(old.ask, k=K), "candidate": partial(new.ask, k=K)}

    def alone(_: Arm, new: Arm) -> Asks:
        return {"vector_only": partial(new.ask, k=K, mode="vector")}

    merged: dict[int, Answers] = {n: {} for n in range(len(queries))}
    queues = [range(first, len(queries), concurrency) for first in range(concurrency)]
    with ThreadPoolExecutor(concurrency, thread_name_prefix="ask") as pool:
        for rounds in (pair, alone):
            for part in pool.map(partial(ask, rounds=rounds), queues):
                for number, answers in part.items():
                    merged[number] |= answers
    return {s: [merged[n][s] for n in range(len(queries))] for s in SYSTEMS}
