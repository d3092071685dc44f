"""What the rungs share: the generation on trial, the systems compared, the queries, the answers.

A rung is a function from a ``Climb`` to what it found, made a Prefect task by ``rung``. It reads,
and never writes: the record is written once, at the end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial, wraps

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from qafila.connecting.settings import PostgresConnection
from qafila.core.judged import Answer, JudgedQuery
from qafila.core.ladder.climb import Climbed
from qafila.core.ladder.options import LadderOptions
from qafila.core.ladder.rungs import Finding, Rung
from qafila.core.phases import Phase
from qafila.core.workload import Workload
from qafila.errors import Refused
from tasks.artifact_tables import show_markdown
from tasks.connections import connection
from tasks.ledger import Connection, Generation, open_ledger, read_workload, require_generation
from tasks.opening import open_store
from tasks.search_service import SearchService
from tasks.stores.port import VectorStore
from tasks.validating.asking import OpenArm, ask_all, read_judged_queries
from tasks.validating.known_items import make_known_items
from tasks.validating.probes import Probes, embed_sample
from tasks.validating.wording import finding_page


class Climb:
    """One climb of one generation. Not a dataclass: Prefect would look through its queries.

    In a rehearsal the generation is a scratch copy of ``original``, which the ledger knows, and
    ``seen_as`` may spoil the store on purpose; ``dearer`` multiplies the price of the candidate's
    machine.
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


def rung(kind: Rung, doing: str) -> Callable[[Callable[[Climb], Climbed]], Task[[Climb], Climbed]]:
    """Make a task of a rung's function: named, timed, never cached, with its own artifact."""

    def as_task(measure: Callable[[Climb], Climbed]) -> Task[[Climb], Climbed]:
        @task(
            name=f"rung {kind.number} {kind.value}",
            task_run_name=f"{kind.number} {kind.value}: {doing} of g{{climb.generation.number}}",
            cache_policy=NO_CACHE,
        )
        @wraps(measure)
        def climb_rung(climb: Climb) -> Climbed:
            begun = time.perf_counter()
            found = measure(climb)
            if isinstance(found, Finding):
                found = replace(found, seconds=time.perf_counter() - begun)
            if TaskRunContext.get() is not None:
                show_markdown(key=kind.artifact, markdown=finding_page(found), description=doing)
            return found

        return climb_rung

    return as_task


@task(task_run_name="find what is on trial of {name}", cache_policy=NO_CACHE)
def start_climb(name: str, options: LadderOptions) -> Climb:
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
