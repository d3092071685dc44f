"""What the rungs share: the generation on trial, the systems compared, the queries, the answers.

A rung is climbed by a ``Check``: a function from a ``Climb`` to what it found, declared by
``check``. It reads, and never writes: the record is written once, at the end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial

from qafila.connections.settings import PostgresConnection
from qafila.endpoints import open_store
from qafila.errors import Refused
from qafila.ledger.connections import connection
from qafila.ledger.ledger import (
    Connection,
    Generation,
    open_ledger,
    read_workload,
    require_generation,
)
from qafila.stores.port import VectorStore
from qafila.validation.judged import Answer, JudgedQuery
from qafila.validation.known_items import make_known_items
from qafila.validation.model import Finding, Rung
from qafila.validation.options import LadderOptions
from qafila.validation.outcome import Climbed
from qafila.validation.probes import Probes, embed_sample
from qafila.validation.questions import OpenArm, ask_all, read_judged_queries
from qafila.validation.search_service import SearchService
from qafila.workload.model import Workload
from qafila.workload.phases import Phase


class Climb:
    """One climb of one generation. Not a dataclass: Prefect would look through its queries.

    In a rehearsal the generation is a scratch copy of ``original``, which the ledger knows, and
    ``seen_as`` may spoil the store on purpose; ``dearer`` multiplies the price of the candidate's
    machine. ``run_id`` is the flow run that what is paid is entered under.
    """

    def __init__(
        self,
        workload: Workload,
        generation: Generation,
        options: LadderOptions,
        queries: Sequence[JudgedQuery],
        baseline: OpenArm,
        candidate: OpenArm,
        *,
        original: Generation | None = None,
        seen_as: Callable[[VectorStore], VectorStore] | None = None,
        dearer: float = 1.0,
        run_id: str | None = None,
    ) -> None:
        self.workload = workload
        self.generation = generation
        self.options = options
        self.queries = queries
        self.baseline = baseline
        self.candidate = candidate
        self.original = original or generation
        self._seen_as = seen_as
        self.dearer = dearer
        self.run_id = run_id

    @contextmanager
    def store(self, ledger: Connection) -> Iterator[VectorStore]:
        """Open the generation that is climbed; every rung reads rows and searches through this."""
        with open_store(ledger, self.workload, self.generation) as store:
            yield store if self._seen_as is None else self._seen_as(store)

    @cached_property
    def answers(self) -> Mapping[str, Sequence[Answer]]:
        """Return what every system answered to every query; asked once, when first needed."""
        return ask_all(
            self.baseline, self.candidate, self.queries, concurrency=self.options.concurrency
        )

    @cached_property
    def probes(self) -> Probes:
        """Return a sample of the queries with their vectors; embedded once, when first needed."""
        return embed_sample(self.workload, self.original, self.queries, self.options)


class Check:
    """What climbs one rung: which it is, what is done there, and the function that measures.

    Not a dataclass either: Prefect would look through the ladder of a rehearsal.
    """

    def __init__(self, rung: Rung, doing: str, measure: Callable[[Climb], Climbed]) -> None:
        self.rung = rung
        self.doing = doing
        self.measure = measure

    def __call__(self, climb: Climb) -> Climbed:
        """Return what was found, with the seconds that it took."""
        begun = time.perf_counter()
        found = self.measure(climb)
        if isinstance(found, Finding):
            found = replace(found, seconds=time.perf_counter() - begun)
        return found


def check(rung: Rung, doing: str) -> Callable[[Callable[[Climb], Climbed]], Check]:
    """Declare that a function climbs a rung; ``doing`` says in a few words what it does there."""
    return partial(Check, rung, doing)


def begin_climb(name: str, options: LadderOptions, *, run_id: str | None = None) -> Climb:
    """Return the climb of the generation to validate; its services must be up and serve it.

    Raises:
        BadInput: the judged queries cannot be read.
        Refused: it is in another phase, or the candidate serves another generation.
        Unavailable: a service does not answer.
    """
    with open_ledger() as ledger:
        generation = require_generation(ledger, name, Phase.BACKFILLED, Phase.VALIDATED)
        workload, _ = read_workload(ledger, name)
        queries = read_queries(ledger, workload, options.max_queries, options.seed)
    service = workload.service
    with SearchService(service.baseline.url) as baseline:
        baseline.generation()
    with SearchService(service.candidate.url) as candidate:
        serving = candidate.generation()
    if serving is not None and serving != generation.number:
        raise Refused(
            f"the candidate at {service.candidate.url} serves generation {serving}, "
            f"generation {generation.number} is to be validated.",
            kept="everything; nothing was measured.",
            remedy=f"qafila run embedding-backfill {name}",
        )
    return Climb(
        workload,
        generation,
        options,
        queries,
        partial(SearchService, service.baseline.url),
        partial(SearchService, service.candidate.url),
        run_id=run_id,
    )


def read_queries(
    ledger: Connection, workload: Workload, at_most: int | None, seed: int
) -> list[JudgedQuery]:
    """Return all judged queries, or a seeded sample of them, in a stable order.

    Where nobody has judged any, they are made from the corpus.
    """
    if workload.judged_table is None:
        queries = make_known_items(ledger, workload)
    else:
        block, table = workload.judged_table
        with connection(ledger, block, PostgresConnection).connect() as source:
            queries = read_judged_queries(source, table)
    if at_most is None or len(queries) <= at_most:
        return queries
    return sorted(random.Random(seed).sample(queries, at_most), key=lambda q: q.query_id)
