"""A scratch copy of a generation: filled through the stores' ports, broken, mended, dropped.

It is a generation of its own number beside the real ones, unknown to the ledger: no service reads
it and nothing promotes it. A copy that a killed process left behind is dropped at the next start of
a validation of the workload, of whichever generation, with or without a rehearsal.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from qafila.endpoints import Reach, open_store
from qafila.errors import Refused
from qafila.ledger.ledger import Connection, Generation, generation_of, newest_generation
from qafila.ledger.ownership import SCRATCH_FROM
from qafila.stores.port import Chunk, SyncMark, Vectors, VectorStore
from qafila.workload.corpus import PgvectorTarget
from qafila.workload.model import Workload

BEYOND = SCRATCH_FROM  # added to the number of the generation that is copied
KEPT = 4_000  # documents remembered for planting; more would only cost memory
_BATCH = 1_000


@dataclass(frozen=True)
class Document:
    """All chunks of one document with their vectors, of shape (chunks, dimensions)."""

    key: str
    chunks: tuple[Chunk, ...]
    vectors: Vectors


class Scratch:
    """A whole copy. ``documents`` are some of it, by chance; ``run`` are some that stand together.

    The caller owns the store.
    """

    def __init__(
        self, workload: Workload, generation: Generation, store: VectorStore, reach: Reach
    ) -> None:
        self.workload = workload
        self.generation = generation
        self.store = store
        self.reach = reach
        self.documents: list[Document] = []
        self.run: list[Document] = []
        self.count = 0
        self._mark = SyncMark(0)

    def fill(self, original: VectorStore, seed: int) -> None:
        """Copy every chunk and build the index; remember a sample of the documents."""
        self.store.drop()
        self.store.prepare()
        mark = self.store.claim(0, 1)
        chance = random.Random(seed)
        for number, (chunks, vectors) in enumerate(original.scan(_BATCH)):
            mark = replace(mark, rows=mark.rows + len(chunks), chunks=mark.chunks + len(chunks))
            self.store.write(chunks, vectors, mark)
            whole = _documents(chunks, vectors)[1:-1]  # those at the edges may go on elsewhere
            for document in whole:
                self.count += 1
                if len(self.documents) < KEPT:
                    self.documents.append(document)
                elif (place := chance.randrange(self.count)) < KEPT:
                    self.documents[place] = document
            if chance.randrange(number + 1) == 0:
                self.run = whole
        nothing = np.zeros((0, self._dimensions), np.float32)
        self.store.write([], nothing, replace(mark, finished=True))
        self.store.build_index()
        self._mark = self.store.claim_sync(1)
        chance.shuffle(self.documents)

    @property
    def _dimensions(self) -> int:
        return self.workload.corpus.embedder.dimensions

    def some(self, share: float, *, at_least: int = 1) -> list[Document]:
        """Return so many documents by chance; fewer when fewer are remembered."""
        return self.documents[: max(at_least, round(share * self.count))]

    def neighbours(self, share: float) -> list[Document]:
        """Return so many documents that stand beside each other in the order of keys."""
        return self.run[: max(1, round(share * self.count))]

    @contextmanager
    def with_rows(self, before: Sequence[Document], after: Sequence[Document]) -> Iterator[None]:
        """Put documents in the place of others for the block, then put the others back."""
        self._put([d.key for d in before], after)
        try:
            yield
        finally:
            self._put([d.key for d in before], before)

    def _put(self, keys: Sequence[str], documents: Sequence[Document]) -> None:
        chunks = [c for d in documents for c in d.chunks]
        vectors = (
            np.concatenate([d.vectors for d in documents])
            if chunks
            else np.zeros((0, self._dimensions), np.float32)
        )
        self.store.replace(keys, chunks, vectors, self._mark)


def _documents(chunks: Sequence[Chunk], vectors: Vectors) -> list[Document]:
    """Return the documents of a batch that is in the order of its keys."""
    found: list[Document] = []
    start = 0
    for end in range(1, len(chunks) + 1):
        if end == len(chunks) or chunks[end].source_key != chunks[start].source_key:
            key = chunks[start].source_key
            found.append(Document(key, tuple(chunks[start:end]), vectors[start:end].copy()))
            start = end
    return found


@contextmanager
def scratch_copy(
    ledger: Connection, workload: Workload, generation: Generation, reach: Reach, seed: int
) -> Iterator[Scratch]:
    """Make a scratch copy, and drop it at the end; before, drop what was left of others.

    Raises:
        Refused: another rehearsal of this workload is going on.
    """
    with _alone(ledger, workload.name) as alone, ExitStack() as stack:
        if not alone:
            raise Refused(
                f"another rehearsal of {workload.name} is going on.",
                kept="everything; nothing was copied.",
                remedy="wait until it has ended, then start this one again",
            )
        _drop_left(ledger, workload, reach)
        original = stack.enter_context(open_store(ledger, workload, generation, reach))
        store = stack.enter_context(_open_copy(ledger, workload, generation, reach))
        scratch = Scratch(_apart(workload), _copy_of(generation), store, reach)
        try:
            scratch.fill(original, seed)
            yield scratch
        finally:
            store.drop()


def drop_leftovers(ledger: Connection, workload: Workload, reach: Reach) -> list[int]:
    """Drop the copies that killed rehearsals left behind; return whose, by generation.

    None while a rehearsal of this workload is going on: its copy is no leftover.
    """
    with _alone(ledger, workload.name) as alone:
        return _drop_left(ledger, workload, reach) if alone else []


def _drop_left(ledger: Connection, workload: Workload, reach: Reach) -> list[int]:
    newest, dropped = newest_generation(ledger, workload.name), []
    for number in range(1, newest.number + 1 if newest else 1):
        generation = generation_of(ledger, workload.name, number)
        with _open_copy(ledger, workload, generation, reach) as store:
            if store.removal():
                store.drop()
                dropped.append(number)
    return dropped


@contextmanager
def _alone(ledger: Connection, name: str) -> Iterator[bool]:
    """Hold the right to rehearse for the block; it ends with the ledger's session at the latest."""
    row = ledger.execute(
        "SELECT pg_try_advisory_lock(hashtext('rehearsal'), hashtext(%s))", [name]
    ).fetchone()
    alone = row is not None and bool(row[0])
    try:
        yield alone
    finally:
        if alone:
            ledger.execute("SELECT pg_advisory_unlock(hashtext('rehearsal'), hashtext(%s))", [name])


def _copy_of(generation: Generation) -> Generation:
    return replace(generation, number=generation.number + BEYOND)


def _open_copy(
    ledger: Connection, workload: Workload, generation: Generation, reach: Reach
) -> AbstractContextManager[VectorStore]:
    return open_store(ledger, _apart(workload), _copy_of(generation), reach)


def _apart(workload: Workload) -> Workload:
    """Return the workload with a table of its own, where it lives in a column of the user's."""
    target = workload.corpus.target
    if not isinstance(target, PgvectorTarget) or target.column is None:
        return workload
    corpus = workload.corpus.model_copy(
        update={"target": target.model_copy(update={"column": None})}
    )
    return workload.model_copy(update={"corpus": corpus})
