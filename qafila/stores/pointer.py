"""What the target says serves, whichever store it is: a pointer row, or Qdrant's aliases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from qafila.connections.settings import PostgresConnection, QdrantConnection
from qafila.ledger.connections import connection
from qafila.ledger.ledger import Connection, ledger_identity
from qafila.stores import pointer_row as alias
from qafila.stores.pointer_row import Alias
from qafila.stores.qdrant import alias as qdrant_alias
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload


@dataclass(frozen=True)
class Pointer:
    """The pointer of one workload; ``end_trial`` and ``forget_previous`` take a generation."""

    read: Callable[[], Alias | None]
    end_trial: Callable[[int], None]
    forget_previous: Callable[[int], None]


@contextmanager
def open_pointer(ledger: Connection, workload: Workload) -> Iterator[Pointer]:
    """Open the pointer in the workload's target.

    Raises:
        Refused: the target's connection was never recorded.
        Unavailable: the target does not answer.
    """
    target, name = workload.corpus.target, workload.name
    ours = ledger_identity(ledger)
    if isinstance(target, PgvectorTarget):
        with connection(ledger, target.block, PostgresConnection).connect() as database:
            yield Pointer(
                lambda: alias.read_alias(database, name),
                lambda number: alias.end_trial(database, name, number, ledger=ours),
                lambda number: alias.forget_previous(database, name, number, ledger=ours),
            )
        return
    client = connection(ledger, target.block, QdrantConnection).client()
    try:
        yield Pointer(
            lambda: qdrant_alias.read_alias(client, name),
            lambda number: qdrant_alias.end_trial(client, name, number),
            lambda number: qdrant_alias.forget_previous(client, name, number),
        )
    finally:
        client.close()
