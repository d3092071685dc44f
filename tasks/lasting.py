"""Steps of a backfill that outlast an outage, and say in pg_stat_activity what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from prefect import get_run_logger

from qafila.backfill.patience import outlast
from qafila.endpoints import open_source, open_store
from qafila.errors import QafilaError, Unavailable
from qafila.ledger.ledger import Connection, Generation, open_ledger, read_workload
from qafila.session_name import working_on
from qafila.workload.corpus import QdrantSource, QdrantTarget
from qafila.workload.model import Workload

Answered = Callable[[], None]
T = TypeVar("T")


def lasting(
    generation: Generation, step: str, doing: Callable[[Answered], T], *, known: bool = True
) -> T:
    """Do a step of a backfill with the patience of a load; its sessions are named after it.

    Raises as ``outlast`` does.
    """

    def note(text: str) -> None:
        get_run_logger().warning(text)

    with working_on(step, workload=generation.workload, generation=generation.number):
        return outlast(generation.workload, step, doing, note, known=known)


@contextmanager
def ledger_once_all_answer(
    generation: Generation, answered: Answered
) -> Iterator[tuple[Connection, Workload]]:
    """Open the ledger, once source and target of the generation are seen to answer too."""
    with open_ledger() as ledger:
        workload, _ = read_workload(ledger, generation.workload)
        with (
            open_source(ledger, workload) as source,
            open_store(ledger, workload, generation) as store,
        ):
            if isinstance(workload.corpus.source, QdrantSource):
                _hear(source.shape)
            if isinstance(workload.corpus.target, QdrantTarget):
                _hear(store.removal)
            answered()
        yield ledger, workload


def _hear(ask: Callable[[], object]) -> None:
    """Ask a server that is only connected to when it is asked; a refusal is an answer too."""
    try:
        ask()
    except Unavailable:
        raise
    except QafilaError:
        return
