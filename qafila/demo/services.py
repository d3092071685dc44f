"""The demo's two services: keyword search (the baseline) and hybrid search (the candidate).

Run one as a process of its own:

    python -m qafila.demo.services baseline --port 18081
    python -m qafila.demo.services candidate --port 18082 --workload aws-docs-search

``GET /search?q=TEXT&k=10`` answers ``{"results": [{"id", "score"}, …]}`` and says in the header
``x-qafila-results`` how many there are. ``GET /health`` says what is served. The candidate also
takes ``mode=vector|keyword|hybrid``, follows the pointer row of its workload, and answers 503 as
long as that names no generation. With ``--breakable``, ``POST /_demo/break`` with
``{"errors": 0.2, "empty": 0.1, "slow_ms": 50, "tenant": "client-007"}`` makes it bad on purpose,
for all or for one tenant (``x-tenant-id``); ``{}`` mends it.
"""

from __future__ import annotations

import argparse
import queue
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, Protocol, TypeVar

import anyio.to_thread
import psycopg
import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from qafila.embedders.wordllama import WordLlamaEmbedder
from qafila.errors import Refused, Unavailable
from qafila.search.table import (
    Found,
    Searchable,
    place_name,
    prepare_connection,
    search_hybrid,
    search_keywords,
    search_vectors,
    stored_generation,
)
from qafila.settings import stack_state
from qafila.stores.pointer_row import read_alias

THREADS = 8
ALIAS_SECONDS = 0.2  # how old what we know of the pointer row may be
RESULTS_HEADER = "x-qafila-results"
TENANT_HEADER = "x-tenant-id"

OPERATIONS = Searchable(
    table=("operation",), key="operation_id", acl="readers", shares=("operation_lexeme",)
)

Mode = Literal["keyword", "vector", "hybrid"]

T = TypeVar("T")


class Faults(BaseModel):
    """What the candidate does wrong on purpose."""

    model_config = ConfigDict(extra="forbid")

    errors: float = Field(0.0, ge=0, le=1, description="Share of answers that are a 500.")
    empty: float = Field(
        0.0, ge=0, le=1, description="Share of answers without results, given without a search."
    )
    slow_ms: float = Field(0.0, ge=0, le=10_000, description="Milliseconds added to each answer.")
    tenant: str | None = Field(None, description="Only this one meets them; None: everybody.")

    def met_by(self, tenant: str | None) -> Faults:
        """Return the faults that a tenant meets: these, or none."""
        return self if self.tenant in (None, tenant) else Faults()


class Question(BaseModel):
    """A search request as it comes in."""

    q: str = Field(min_length=1, max_length=2000, pattern="^[^\\x00]*$")
    k: int = Field(10, ge=1, le=100)
    mode: Mode | None = None


class Service(Protocol):
    """What answers questions; raises ``Unavailable`` while it cannot."""

    arm: str

    def search(self, question: Question) -> Sequence[Found]: ...

    def health(self) -> dict[str, object]: ...


class Connections:
    """A few connections, opened when needed, the last used first; a broken one is replaced."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], size: int = THREADS) -> None:
        self._connect = connect
        self._idle: queue.LifoQueue[psycopg.Connection[Any] | None] = queue.LifoQueue()
        for _ in range(size):
            self._idle.put(None)

    def ask(self, question: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Put a question that only reads on one connection.

        A connection that was cut off while it lay idle (the server was restarted) is replaced and
        the question put once more: nobody who asks is to notice.

        Raises:
            Unavailable: the database does not answer, or has not what we look for.
        """
        connection = self._idle.get()
        try:
            lay_idle = connection is not None and not connection.closed
            if connection is None or connection.closed:
                connection = self._connect()
            try:
                return question(connection)
            except psycopg.OperationalError:
                if not (lay_idle and connection.closed):
                    raise
                connection = self._connect()
                return question(connection)
        except (psycopg.OperationalError, psycopg.errors.UndefinedTable) as error:
            if connection is not None:
                connection.close()
            raise Unavailable(f"the database: {str(error).strip().splitlines()[0]}") from error
        finally:
            self._idle.put(connection)


class Baseline:
    """Keyword search over the source table: PostgreSQL full-text search at its best."""

    arm = "baseline"

    def __init__(self, url: str) -> None:
        self._connections = Connections(
            lambda: psycopg.connect(
                url,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=5,
                options="-c jit=off",
            )
        )

    def search(self, question: Question) -> Sequence[Found]:
        return self._connections.ask(
            lambda connection: search_keywords(connection, OPERATIONS, question.q, question.k)
        )

    def health(self) -> dict[str, object]:
        self._connections.ask(
            lambda connection: connection.execute("SELECT FROM operation LIMIT 1")
        )
        return {"status": "ok", "arm": self.arm}


class Candidate:
    """Hybrid search over the generation that the pointer row names."""

    arm = "candidate"

    def __init__(
        self,
        url: str,
        workload: str,
        embedder: WordLlamaEmbedder,
        ef_search: int,
    ) -> None:
        self._workload = workload
        self._embedder = embedder

        def connect() -> psycopg.Connection[Any]:
            connection = psycopg.connect(
                url, autocommit=True, prepare_threshold=None, connect_timeout=5
            )
            prepare_connection(connection, ef_search=ef_search)
            return connection

        self._connections = Connections(connect)
        self._lock = threading.Lock()
        self._known: tuple[float, int | None, Searchable | None] = (float("-inf"), None, None)

    def search(self, question: Question) -> Sequence[Found]:
        return self._connections.ask(lambda connection: self._search(connection, question))

    def _search(self, connection: psycopg.Connection[Any], question: Question) -> Sequence[Found]:
        _, where = self._serving(connection)
        mode = question.mode or ("vector" if where.full_text == "none" else "hybrid")
        if mode == "keyword":
            return search_keywords(connection, where, question.q, question.k)
        vector = self._embedder.embed([question.q])[0]
        if not vector.any():  # the model knows no word of it
            return (
                []
                if mode == "vector"
                else search_keywords(connection, where, question.q, question.k)
            )
        if mode == "vector":
            return search_vectors(connection, where, vector, question.k)
        return search_hybrid(connection, where, question.q, vector, question.k)

    def health(self) -> dict[str, object]:
        generation, _ = self._connections.ask(self._serving)
        return {"status": "ok", "arm": self.arm, "generation": generation}

    def _serving(self, connection: psycopg.Connection[Any]) -> tuple[int, Searchable]:
        """Return the generation on trial, else the one that serves, and how to search its table.

        Raises:
            Unavailable: there is neither, or it has no table.
        """
        with self._lock:
            read_at, generation, where = self._known
            if time.monotonic() - read_at > ALIAS_SECONDS:
                alias = read_alias(connection, self._workload)
                generation = None if alias is None else alias.trial or alias.generation
                where = None
                if generation is not None:
                    where = stored_generation(connection, place_name(self._workload, generation))
                self._known = (time.monotonic(), generation, where)
        if generation is None or where is None:
            raise Unavailable(f"no generation of {self._workload} serves or is on trial yet")
        return generation, where


def application(service: Service, *, breakable: bool = False) -> Starlette:
    """Return the HTTP application around a service."""
    faults = Faults()

    def search(request: Request) -> Response:
        try:
            question = Question.model_validate(dict(request.query_params))
        except ValidationError as error:
            return JSONResponse({"error": problems_of(error)}, 400)
        wrong = faults.met_by(request.headers.get(TENANT_HEADER))
        if wrong.slow_ms:
            time.sleep(wrong.slow_ms / 1000)
        if random.random() < wrong.errors:
            return JSONResponse({"error": "broken on purpose"}, 500)
        if random.random() < wrong.empty:
            return JSONResponse({"results": []}, headers={RESULTS_HEADER: "0"})
        try:
            found = service.search(question)
        except Unavailable as error:
            return JSONResponse({"error": error.what}, 503)
        except Refused as error:
            return JSONResponse({"error": error.what}, 400)
        results = [{"id": f.source_key, "score": f.score} for f in found]
        return JSONResponse({"results": results}, headers={RESULTS_HEADER: str(len(results))})

    def health(_: Request) -> Response:
        try:
            return JSONResponse({**service.health(), "faults": faults.model_dump()})
        except Unavailable as error:
            return JSONResponse(
                {"status": "unavailable", "arm": service.arm, "error": error.what}, 503
            )

    async def break_it(request: Request) -> Response:
        nonlocal faults
        try:
            faults = Faults.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": problems_of(error)}, 400)
        return JSONResponse(faults.model_dump())

    routes = [Route("/search", search), Route("/health", health)]
    if breakable:
        routes.append(Route("/_demo/break", break_it, methods=["POST"]))
    return Starlette(routes=routes, lifespan=warmed_up(service))


def warmed_up(service: Service) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan in which the first user does not pay for the model's first use."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        await run_in_threadpool(_warm_up, service)
        yield

    return lifespan


def _warm_up(service: Service) -> None:
    try:
        service.search(Question(q="list the buckets of an account"))
    except (Unavailable, Refused):
        return  # nothing to serve yet, and /health says so; or no keyword search


def problems_of(error: ValidationError) -> list[str]:
    """Return what is wrong with a request, a sentence a field."""
    return [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve one arm on loopback until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m qafila.demo.services", description=__doc__)
    parser.add_argument("arm", choices=["baseline", "candidate"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", help="address; default: the embedded stack's")
    parser.add_argument("--workload", default="aws-docs-search", help="only candidate")
    parser.add_argument("--dimensions", type=int, default=256, help="only candidate")
    parser.add_argument("--ef-search", type=int, default=100, help="only candidate")
    parser.add_argument("--breakable", action="store_true", help="serve POST /_demo/break")
    given = parser.parse_args(arguments)
    which = "source_url" if given.arm == "baseline" else "target_url"
    url = given.database or stack_state().get("postgres", {}).get(which)
    if not url:
        parser.error("no database: start the embedded stack with qafila up, or give --database")
    service = open_service(given.arm, url, given.workload, given.dimensions, given.ef_search)
    serve(application(service, breakable=given.breakable), given.port)


def open_service(
    arm: str, url: str, workload: str, dimensions: int = 256, ef_search: int = 100
) -> Service:
    """Return one arm over its database; ``workload`` and what follows are for the candidate."""
    if arm == "baseline":
        return Baseline(url)
    return Candidate(url, workload, WordLlamaEmbedder(dimensions), ef_search)


def serve(app: Starlette, port: int) -> None:
    """Serve on loopback until told to stop."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_level="warning",
        # longer than a proxy keeps its idle connections busy, so that we never close first
        timeout_keep_alive=300,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
