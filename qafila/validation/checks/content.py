"""Rung 2: every stored row is what its source says, and has a vector that a model could make."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from qafila.backfill.load import chunks_of
from qafila.endpoints import open_source
from qafila.errors import BackfillHalted, Unavailable
from qafila.ledger.ledger import Connection, open_ledger
from qafila.sources.port import Source, SourceRow
from qafila.stores.port import Chunk, Vectors, VectorStore
from qafila.validation.checks.expected_vectors import remake
from qafila.validation.checks.judge_content import (
    FAULTS,
    MOST_NAMED,
    ContentCount,
    RowFault,
    compare_row,
    judge_content,
    vector_faults,
)
from qafila.validation.checks.shared_vectors import Shared, SharedVectors
from qafila.validation.model import Detail, Finding, Rung
from qafila.validation.outcome import Climbed
from qafila.validation.suite import Climb, check
from qafila.workload.model import Workload

BATCH_ROWS = 1_000
MOST_ASKED = 24  # vectors under several texts of which the model is asked
_ALIKE = 1e-2  # distance below which the model gives two texts one vector
_ROUNDS, _PAUSE_SECONDS = 5, 1.0  # for rows that live sync is about to write


@dataclass
class _Looked:
    """What was seen so far."""

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    named: list[RowFault] = field(default_factory=list)

    def say(self, faults: Iterator[RowFault] | Sequence[RowFault]) -> None:
        for fault in faults:
            self.counts[fault.fault] += 1
            if len(self.named) < MOST_NAMED:
                self.named.append(fault)


@dataclass(frozen=True)
class _Pairs:
    """Chunks that should be there beside those that are, of one length."""

    expected: Sequence[Chunk]
    stored: Sequence[Chunk]
    fingerprints: Sequence[str]
    vectors: Vectors


@check(Rung.CONTENT, "look at every row")
def compare_content(climb: Climb) -> Climbed:
    """Compare text, offsets, title, metadata, readers and fingerprint; look at every vector.

    A vector that stands under several texts is a fault unless the model gives it to both, which is
    asked of some of them: an embedder behind a network is paid for these texts.
    """
    looked, workload = _Looked(), climb.workload
    with (
        open_ledger() as ledger,
        open_source(ledger, workload) as source,
        climb.store(ledger) as store,
        SharedVectors(climb.options.seed) as sharing,
    ):
        for pairs in _read_ahead(source, store, workload):
            _compare(looked, pairs, climb)
            sharing.add(pairs.stored, pairs.vectors)
        if workload.corpus.live_sync:
            _settle(looked, source, store, climb)
        shared, total = _some(sharing.found(), climb.options.seed)
        cost = not_asked = ""
        if shared:
            try:
                cost = _ask(ledger, climb, store, shared, looked)
            except (BackfillHalted, Unavailable) as error:
                not_asked = str(error)
    count = ContentCount(
        looked.rows, looked.counts, looked.named, total, len(shared), cost, not_asked
    )
    return Finding(
        Rung.CONTENT,
        judge_content(count),
        compared="text, offsets, title, metadata, readers and fingerprint of every row with the "
        "source's; the length of every vector with 1",
        on=f"{looked.rows:,} rows",
        details=_details(looked),
        figures={
            "content": {
                "rows": looked.rows,
                "faults": {f: looked.counts[f] for f in FAULTS if looked.counts[f]},
                "shared_vectors": total,
                "shared_vectors_checked": len(shared),
            }
        },
    )


def _compare(looked: _Looked, pairs: _Pairs, climb: Climb) -> None:
    """Compare some rows with what is stored of them."""
    stored, fingerprints, vectors = pairs.stored, pairs.fingerprints, pairs.vectors
    looked.rows += len(stored)
    for wanted, found in zip(pairs.expected, stored, strict=True):
        looked.say(
            [
                RowFault(found.source_key, found.number, fault, told)
                for fault, told in compare_row(wanted, found)
            ]
        )
    mark = climb.generation.fingerprint
    looked.say(
        [
            RowFault(c.source_key, c.number, "fingerprint", f"{other}, the generation's is {mark}")
            for c, other in zip(stored, fingerprints, strict=True)
            if other != mark
        ]
    )
    for fault, places in vector_faults(vectors, climb.workload.corpus.embedder.dimensions).items():
        looked.say(
            [
                RowFault(stored[n].source_key, stored[n].number, fault, told)
                for n, told in places.items()
            ]
        )


def _read_ahead(source: Source, store: VectorStore, workload: Workload) -> Iterator[_Pairs]:
    """Yield all rows with what is stored of them; the next are read while these are compared."""
    batches = source.read(None, None, BATCH_ROWS)

    def following() -> _Pairs | None:
        rows = next(batches, None)
        return None if rows is None else _side_by_side(rows, store, workload)

    with ThreadPoolExecutor(1, thread_name_prefix="content") as other:
        coming = other.submit(following)
        while (pairs := coming.result()) is not None:
            coming = other.submit(following)
            yield pairs


def _side_by_side(rows: Sequence[SourceRow], store: VectorStore, workload: Workload) -> _Pairs:
    """Return the chunks of some rows beside those that are stored.

    A chunk that is not there is not compared: the rung of the keys says so.
    """
    chunks = chunks_of(rows, workload)
    held = store.stored(list(dict.fromkeys(c.source_key for c in chunks)))
    places = {(c.source_key, c.number): n for n, c in enumerate(held.chunks)}
    pairs = [
        (chunk, place)
        for chunk in chunks
        if (place := places.get((chunk.source_key, chunk.number))) is not None
    ]
    found = [place for _, place in pairs]
    return _Pairs(
        [chunk for chunk, _ in pairs],
        [held.chunks[n] for n in found],
        [held.fingerprints[n] for n in found],
        held.vectors[np.array(found, np.intp)],
    )


def _settle(looked: _Looked, source: Source, store: VectorStore, climb: Climb) -> None:
    """Look again at what differs while live sync writes; what stays different is a fault."""
    if not looked.named or len(looked.named) < sum(looked.counts.values()):
        return
    for _ in range(_ROUNDS):
        keys = sorted({fault.key for fault in looked.named})
        if not keys:
            return
        time.sleep(_PAUSE_SECONDS)
        again = _Looked()
        _compare(again, _side_by_side(source.fetch(keys), store, climb.workload), climb)
        looked.counts, looked.named = again.counts, again.named


def _some(found: Iterator[Shared], seed: int) -> tuple[list[Shared], int]:
    """Return a sample of what is found, and how many there are (reservoir, Vitter 1985)."""
    chance, kept, total = random.Random(seed), list[Shared](), 0
    for shared in found:
        total += 1
        if len(kept) < MOST_ASKED:
            kept.append(shared)
        elif (place := chance.randrange(total)) < MOST_ASKED:
            kept[place] = shared
    return kept, total


def _ask(
    ledger: Connection,
    climb: Climb,
    store: VectorStore,
    shared: Sequence[Shared],
    looked: _Looked,
) -> str:
    """Ask the model whether it gives two texts one vector, as they are stored; return the cost."""
    held = store.stored(sorted({key for s in shared for key, _ in s.places}))
    places = {(c.source_key, c.number): n for n, c in enumerate(held.chunks)}
    pairs = [
        (s, places[s.places[0]], places[s.places[1]])
        for s in shared
        if s.places[0] in places and s.places[1] in places
    ]
    chunks = [held.chunks[n] for _, one, other in pairs for n in (one, other)]
    made = remake(ledger, climb, chunks)
    for n, (sharing, one, other) in enumerate(pairs):
        if not np.array_equal(held.vectors[one], held.vectors[other]):
            continue  # two vectors met in one hash
        if not made.known[2 * n : 2 * n + 2].all():
            continue  # the model says nothing of one of them: then there should be no vector
        apart = float(np.linalg.norm(made.vectors[2 * n] - made.vectors[2 * n + 1]))
        if apart <= _ALIKE + made.spread:
            continue
        (key, number), (twin, chunk) = sharing.places
        looked.say(
            [
                RowFault(
                    key,
                    number,
                    "shared",
                    f"it is that of {twin} (chunk {chunk}) too, and "
                    f"stands {sharing.rows:,} times; the model puts them {apart:.2f} apart",
                )
            ]
        )
    return made.cost_words


def _details(looked: _Looked) -> list[Detail]:
    if not looked.named:
        return []
    total, caption = sum(looked.counts.values()), "What is wrong, row by row"
    if total > len(looked.named):
        caption += f": the first {len(looked.named)} of {total}"
    return [
        Detail(
            caption,
            [
                {"document": f.key, "chunk": f.number, "fault": f.fault, "what": f.told}
                for f in looked.named
            ],
        )
    ]
