"""Searches in this process over one generation: what a rehearsal climbs in place of services."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import psycopg

from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach, open_store
from qafila.ledger.ledger import Generation, open_ledger
from qafila.search.table import (
    Found,
    generation_table,
    place_name,
    prepare_connection,
    search_hybrid,
    search_keywords,
    search_vectors,
)
from qafila.stores.port import Hit, Vectors, VectorStore
from qafila.validation.judged import Answer
from qafila.validation.questions import Arm
from qafila.workload.corpus import EVERYBODY, PgvectorTarget
from qafila.workload.model import Workload

Search = Callable[[str, int, str | None], Sequence[str]]


class Questions:
    """The vectors of questions, each embedded once; for many threads."""

    def __init__(self, embed: Callable[[Sequence[str]], Vectors]) -> None:
        self._embed = embed
        self._known: dict[str, Vectors] = {}
        self._lock = threading.Lock()

    def learn(self, texts: Sequence[str]) -> None:
        """Embed questions together, which is cheaper than one by one."""
        new = [t for t in dict.fromkeys(texts) if t not in self._known]
        if new:
            self._known |= dict(zip(new, self._embed(new), strict=True))

    def __getitem__(self, text: str) -> Vectors:
        if text not in self._known:
            with self._lock:
                self.learn([text])
        return self._known[text]


class InProcess:
    """An arm that searches itself; for one thread. ``stretch`` makes every answer take longer."""

    def __init__(self, search: Search, stretch: float = 1.0) -> None:
        self._search = search
        self._stretch = stretch

    def ask(self, text: str, k: int, mode: str | None = None) -> Answer:
        """Ask one question, timed; what cannot be answered is an answer without a ranking."""
        begun = time.perf_counter()
        try:
            found = tuple(self._search(text, k, mode))
        except psycopg.Error:
            return Answer(None, (time.perf_counter() - begun) * 1000)
        if self._stretch > 1:
            time.sleep((time.perf_counter() - begun) * (self._stretch - 1))
        return Answer(found, (time.perf_counter() - begun) * 1000)


@contextmanager
def arm_over(
    workload: Workload,
    generation: Generation,
    reach: Reach,
    vectors: Questions,
    stretch: float = 1.0,
) -> Iterator[Arm]:
    """Open an arm over a generation: hybrid where the target has lexemes, vectors elsewhere."""
    target = workload.corpus.target
    with ExitStack() as stack:
        if isinstance(target, PgvectorTarget):
            connection = stack.enter_context(connect_postgres(**reach.target))
            prepare_connection(connection, ef_search=target.ef_search)
            yield InProcess(_search_in(connection, workload, generation, target, vectors), stretch)
            return
        ledger = stack.enter_context(open_ledger())
        store = stack.enter_context(open_store(ledger, workload, generation, reach))
        yield InProcess(_search_by(store, vectors), stretch)


def _search_in(
    connection: psycopg.Connection,
    workload: Workload,
    generation: Generation,
    target: PgvectorTarget,
    vectors: Questions,
) -> Search:
    where = generation_table(
        place_name(workload.name, generation.number),
        full_text=target.full_text,
        vector_type=target.vector_type,
    )

    def search(text: str, k: int, mode: str | None) -> list[str]:
        vector = vectors[text]
        found: Sequence[Found]
        if mode == "vector" or target.full_text == "none":
            found = search_vectors(connection, where, vector, k) if vector.any() else []
        elif mode == "keyword" or not vector.any():
            found = search_keywords(connection, where, text, k)
        else:
            found = search_hybrid(connection, where, text, vector, k)
        return [f.source_key for f in found]

    return search


def _search_by(store: VectorStore, vectors: Questions) -> Search:
    def search(text: str, k: int, mode: str | None) -> list[str]:
        vector = vectors[text]
        hits: Sequence[Hit] = store.search(vector, 3 * k, [EVERYBODY]) if vector.any() else []
        return list(dict.fromkeys(h.source_key for h in hits))[:k]

    return search
