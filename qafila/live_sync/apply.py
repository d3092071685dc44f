"""Apply changes to one generation: by state, not by event.

For each key in a window the row is read as it is now, chunked, embedded, and put in the place of
all that the target holds of it. That is right however often it is done and whatever came before,
so that a page that was applied before a crash may be applied again. The mark commits with the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import psycopg

from qafila.backfill.load import Vectored, Vectorise, made_of
from qafila.backfill.vectors import open_vectorise
from qafila.connections.postgres import connect_postgres
from qafila.endpoints import Reach, open_source, open_store, reach_of
from qafila.errors import Refused
from qafila.ledger.ledger import Connection, Generation
from qafila.live_sync.capture import Capture, require_installed
from qafila.live_sync.feeds import Held, holding_feed, list_owed
from qafila.live_sync.outbox import Change, Life, Position, keys_of, resume
from qafila.live_sync.outbox_reader import Lag, Outbox
from qafila.sources.port import Source
from qafila.stores.port import Chunk, SyncMark, Vectors, VectorStore
from qafila.workload.fingerprint import key_text
from qafila.workload.model import Workload

PAGE_CHANGES = 5_000  # of a window at once: what a crash makes us apply again, at most
BATCH_DOCUMENTS = 200
_SCAN_CHUNKS = 1_000
_UNFIT = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)


@dataclass(frozen=True)
class Applied:
    """What was done: changes read, documents replaced (or removed), chunks written or set aside."""

    changes: int = 0
    documents: int = 0
    chunks: int = 0
    rejected: int = 0

    def __add__(self, other: Applied) -> Applied:
        return Applied(
            self.changes + other.changes,
            self.documents + other.documents,
            self.chunks + other.chunks,
            self.rejected + other.rejected,
        )


class Applier:
    """Applies the outbox to one generation, fenced by the epoch of its feed."""

    def __init__(
        self,
        ledger: Connection,
        workload: Workload,
        outbox: Outbox,
        source: Source,
        store: VectorStore,
        vectorise: Vectorise,
        held: Held,
        *,
        pruned_before: int = 0,
        page_changes: int = PAGE_CHANGES,
        batch_documents: int = BATCH_DOCUMENTS,
    ) -> None:
        self._ledger, self._workload, self._outbox = ledger, workload, outbox
        self._source, self._store, self._vectorise = source, store, vectorise
        self._held = held
        self._page, self._batch = page_changes, batch_documents
        now, line = outbox.moment()
        self.position, self.note = resume(store.claim_sync(held.epoch).position, held.start, line)
        if self.note:
            outbox.require_line(now)
        elif self.position.seen.xmin < pruned_before:
            raise Refused(
                "the target has gone back to before changes that are pruned from the outbox: it "
                "was restored, or emptied by hand.",
                kept="it as it is; nothing is applied.",
                remedy=f"qafila run embedding-backfill {workload.name} --set reload=true",
            )

    def step(self, tell: Callable[[Applied], None] = lambda _: None) -> Applied:
        """Finish the window that is open, if one is; then apply all that is committed by now.

        ``tell`` hears after each page what this call has applied so far.

        Raises:
            StaleEpoch: another process applies to this generation by now.
        """
        applied = Applied()
        if self.position.window is not None:
            applied = self._window(applied, tell)
        return self._window(applied, tell)

    def lag(self) -> Lag:
        """Return what is committed and not applied."""
        return self._outbox.lag(self.position)

    def _window(self, applied: Applied, tell: Callable[[Applied], None]) -> Applied:
        position = self.position
        fresh = position.window is None
        if fresh:
            position = position.opened(self._outbox.moment()[0])
        while True:
            changes = self._outbox.read(position, self._page)
            if fresh and not changes:
                return applied  # nothing is due: the mark need not move
            if fresh:
                self._outbox.settle()
                fresh = False
            after = position.past(changes, self._page)
            applied += self._apply(changes, after)
            self.position = position = after
            tell(applied)
            if position.window is None:
                return applied

    def _apply(self, changes: Sequence[Change], after: Position) -> Applied:
        """Apply one page; the mark moves with its last documents."""
        keys = [key_text(key) for key in keys_of(changes)]
        if any(change.key is None for change in changes):  # TRUNCATE: whatever is gone is gone
            for gone in self._gone():
                self._replace(gone, self.position)
        done = Applied(changes=len(changes))
        for start in range(0, max(1, len(keys)), self._batch):
            last = start + self._batch >= len(keys)
            mark = after if last else self.position
            done += self._replace(keys[start : start + self._batch], mark)
        self._held.move(
            self._ledger,
            after,
            changes=done.changes,
            documents=done.documents,
            chunks=done.chunks,
            rejected=done.rejected,
        )
        return done

    def _replace(self, keys: Sequence[str], position: Position) -> Applied:
        self._held.check()
        rows = self._source.fetch(keys) if keys else []
        made = made_of(rows, self._workload, self._vectorise)
        made = self._write(keys, made, SyncMark(self._held.epoch, str(position)))
        return Applied(0, len(keys), len(made.chunks), len(made.rejected))

    def _write(self, keys: Sequence[str], made: Vectored, mark: SyncMark) -> Vectored:
        """Write documents; when the store cannot take them, find the one and set it aside.

        A chunk that is rejected is in no way served: neither its new text nor the former one.
        """
        self._held.set_aside(self._ledger, keys, made.rejected)
        try:
            self._store.replace(keys, made.chunks, made.vectors, mark)
            return made
        except _UNFIT as error:
            if not made.chunks:
                raise
            if len(keys) == 1:
                why = f"the store does not take it: {str(error).strip().splitlines()[0]}"
                refused = [*made.rejected, *[(chunk, why) for chunk in made.chunks]]
                return self._write(keys, replace(_part(made, set()), rejected=refused), mark)
        # the mark moves with the last part only
        before, half = replace(mark, position=str(self.position)), len(keys) // 2
        parts = [(keys[:half], before), (keys[half:], mark)]
        written = [self._write(part, _part(made, set(part)), upto) for part, upto in parts]
        return replace(
            made,
            chunks=[chunk for one in written for chunk in one.chunks],
            rejected=[pair for one in written for pair in one.rejected],
        )

    def _gone(self) -> Iterator[list[str]]:
        """Yield, in batches, the documents of the target that the source does not have now."""
        for chunks, _ in self._store.scan(_SCAN_CHUNKS):
            keys = list(dict.fromkeys(c.source_key for c in chunks))
            there = {row.key_text for row in self._source.fetch(keys)}
            if gone := [key for key in keys if key not in there]:
                yield gone


def _part(made: Vectored, keys: set[str]) -> Vectored:
    """Return what was made of these documents."""
    mine = [n for n, chunk in enumerate(made.chunks) if chunk.source_key in keys]
    chunks: list[Chunk] = [made.chunks[n] for n in mine]
    vectors: Vectors = made.vectors[mine] if mine else np.zeros_like(made.vectors[:0])
    rejected = [(chunk, why) for chunk, why in made.rejected if chunk.source_key in keys]
    return Vectored(chunks, vectors, rejected, made.spent)


@contextmanager
def open_applier(
    ledger: Connection,
    capture: Capture,
    meaning: Workload,
    generation: Generation,
    *,
    pruned_before: int = 0,
    reach: Reach | None = None,
    wait: Callable[[float], None] = time.sleep,
    run_id: str | None = None,
) -> Iterator[Applier]:
    """Become the one applier of a generation, with everything open that it needs.

    Raises:
        FedElsewhere: another process is, and is alive.
        Refused: the capture is broken, or the generation is not loaded or was never captured.
    """
    reach = reach or reach_of(ledger, meaning)
    assert reach.source is not None
    with (
        connect_postgres(**reach.source) as database,
        open_source(ledger, meaning, reach) as source,
        open_store(ledger, meaning, generation, reach) as store,
        open_vectorise(meaning, generation, reach, wait=wait, run_id=run_id) as vectorise,
        holding_feed(ledger, generation, run_id) as held,
    ):
        require_installed(database, capture)
        outbox = Outbox(database, capture)
        applier = Applier(
            ledger, meaning, outbox, source, store, vectorise, held, pruned_before=pruned_before
        )
        # only now: emptying a generation takes its phase back first and its mark afterwards, so
        # that whoever still reads "loaded" here has a mark that will be gone
        require_loaded(ledger, generation)
        yield applier


def require_loaded(ledger: Connection, generation: Generation) -> None:
    """Return when every shard is loaded, so that no loader can write behind us.

    Raises:
        Refused: it is not, or the generation has ended.
    """
    owed = {one.number: one for one in list_owed(ledger, generation.workload)}
    if owed[generation.number].life is not Life.FED:
        raise Refused(
            f"generation {generation.number} of {generation.workload} is not fed: "
            + (
                "it has ended."
                if owed[generation.number].life is Life.FORGOTTEN
                else "it is still being loaded."
            ),
            kept="the outbox keeps what it needs.",
            remedy=f"qafila live-sync status {generation.workload}",
        )
