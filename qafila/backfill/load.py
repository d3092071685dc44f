"""Load one shard: read, chunk, take vectors, write with the checkpoint, batch by batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qafila.backfill.claims import Shard, Spent, beat_shard
from qafila.chunking.chunks import Tokenizer, split
from qafila.chunking.tokens import tokenizer_of
from qafila.errors import StaleEpoch
from qafila.ledger.ledger import Connection, Generation
from qafila.sources.port import Source, SourceRow
from qafila.sql import statement
from qafila.stores.port import Checkpoint, Chunk, Vectors, VectorStore
from qafila.text.blanks import is_blank
from qafila.text.masking import mask_text
from qafila.workload.corpus import Chunking
from qafila.workload.fingerprint import text_digest
from qafila.workload.model import Workload

BEAT_SECONDS = 0.25  # the ledger hears of progress at most so often; the target's mark is the truth
NO_TEXT = "the row has no text"


@dataclass(frozen=True)
class Loaded:
    """What one worker did with one shard; ``rows`` counts only this claim's rows."""

    shard: int
    rows: int
    chunks: int
    dead_letters: int
    seconds: float
    resumed_at: int

    @classmethod
    def between(
        cls, first: Checkpoint, last: Checkpoint, dead_letters: int, seconds: float
    ) -> Loaded:
        """Return what a worker did that found ``first`` and left ``last``."""
        return cls(
            shard=last.shard,
            rows=last.rows - first.rows,
            chunks=last.chunks - first.chunks,
            dead_letters=dead_letters,
            seconds=seconds,
            resumed_at=first.rows,
        )

    def sentence(self) -> str:
        """Return one line: the shard, its rows, and how fast they were loaded."""
        rate = self.rows / self.seconds if self.seconds else 0.0
        resumed = f", resumed at {self.resumed_at}" if self.resumed_at else ""
        return f"shard {self.shard}: {self.rows} rows at {rate:.0f} rows/s{resumed}"


@dataclass(frozen=True)
class Vectored:
    """Chunks with their vectors, and those that have none: key, chunk number and the reason."""

    chunks: Sequence[Chunk]
    vectors: Vectors
    rejected: Sequence[tuple[Chunk, str]]
    spent: Spent


Vectorise = Callable[[Sequence[SourceRow], Sequence[Chunk]], Vectored]


def chunks_of(
    rows: Sequence[SourceRow], workload: Workload, failures: dict[str, str] | None = None
) -> list[Chunk]:
    """Return the chunks of some rows, in order; a row without text, or of blanks alone, has none.

    Nor has a row whose text cannot be split: ``failures`` then takes its reason, by its key, and
    the other rows go on. A row that is a chunk already keeps its place, when documents are taken
    whole.
    """
    failures = {} if failures is None else failures
    chunking = workload.corpus.chunking
    if chunking.method == "whole":
        return [_whole(row) for row in rows if not is_blank(row.text)]
    by_tokens = chunking.method == "tokens"
    tokenizer = tokenizer_of(workload.corpus.embedder) if by_tokens else None
    return [chunk for row in rows for chunk in _split(row, chunking, tokenizer, failures)]


def _whole(row: SourceRow) -> Chunk:
    text, piece = row.text, row.piece
    if piece is None:
        return Chunk(
            row.key_text, 0, 0, len(text), row.title, text, text_digest(text), row.acl, row.metadata
        )
    return Chunk(
        piece.source_key,
        piece.number,
        piece.start,
        piece.end,
        row.title,
        text,
        text_digest(text),
        row.acl,
        row.metadata,
    )


def _split(
    row: SourceRow, chunking: Chunking, tokenizer: Tokenizer | None, failures: dict[str, str]
) -> list[Chunk]:
    text, key = row.text, row.key_text
    if is_blank(text):
        return []
    try:
        spans = split(text, chunking, tokenizer)
    except Exception as error:  # noqa: BLE001 - one text that others wrote stops no shard
        failures[key] = mask_text(f"its text cannot be split: {type(error).__name__}: {error}")
        return []
    return [
        Chunk(
            key,
            span.number,
            span.start,
            span.end,
            row.title,
            part := text[span.start : span.end],
            text_digest(part),
            row.acl,
            row.metadata,
        )
        for span in spans
    ]


def without_text(
    rows: Sequence[SourceRow], chunks: Sequence[Chunk], workload: Workload
) -> list[Chunk]:
    """Return a chunk of nothing for each row that gives none, at the row's own place.

    It is what a dead letter says, and what a comparison looks for: a stated gap, never a silent
    one. ``chunks`` are those of the rows.
    """
    if workload.corpus.chunking.method == "whole":
        # each row by itself: other chunks of its document say nothing about it
        gaps = [row for row in rows if is_blank(row.text)]
    else:
        there = {chunk.source_key for chunk in chunks}
        gaps = [row for row in rows if row.key_text not in there]
    return [_whole(replace(row, text="", metadata={})) for row in gaps]


def made_of(rows: Sequence[SourceRow], workload: Workload, vectorise: Vectorise) -> Vectored:
    """Return all that becomes of some rows: of each a chunk with its vector, or one that is
    rejected with its reason; never neither.
    """
    failures = {row.key_text: mask_text(row.unreadable) for row in rows if row.unreadable}
    chunks = chunks_of(rows, workload, failures)
    made = vectorise(rows, chunks)
    gaps = [
        (chunk, failures.get(chunk.source_key, NO_TEXT))
        for chunk in without_text(rows, chunks, workload)
    ]
    return replace(made, rejected=[*gaps, *made.rejected]) if gaps else made


def load_claimed(
    ledger: Connection,
    workload: Workload,
    generation: Generation,
    shard: Shard,
    source: Source,
    store: VectorStore,
    vectorise: Vectorise,
    *,
    batch_rows: int,
    check: Callable[[], None],
) -> Loaded:
    """Load a claimed shard from its checkpoint to its end.

    Idempotent by (workload, generation, shard): rows and checkpoint commit together in the target,
    fenced by the claim's epoch, so a second pass starts where the first one ended. ``check`` is
    called between batches and may raise.

    Raises:
        StaleEpoch: another worker claimed the shard meanwhile; what it committed stays.
    """
    started = beaten = time.perf_counter()
    first = mark = store.claim(shard.number, shard.epoch)
    dead, spent = 0, Spent()
    if not mark.finished:
        for rows in source.read(mark.last_key or shard.low_key, shard.high_key, batch_rows):
            check()
            done = made_of(rows, workload, vectorise)
            _set_aside(ledger, generation, done.rejected)
            dead += len(done.rejected)
            mark = replace(
                mark,
                last_key=rows[-1].key,
                rows=mark.rows + len(rows),
                chunks=mark.chunks + len(done.chunks),
            )
            store.write(done.chunks, done.vectors, mark)
            spent = spent + done.spent
            if time.perf_counter() - beaten > BEAT_SECONDS:
                beat(ledger, generation, mark, spent)
                beaten, spent = time.perf_counter(), Spent()
        mark = replace(mark, last_key=mark.last_key or shard.low_key, finished=True)
        nothing = np.zeros((0, workload.corpus.embedder.dimensions), np.float32)
        store.write([], nothing, mark)
    beat(ledger, generation, mark, spent)
    return Loaded.between(first, mark, dead, time.perf_counter() - started)


def beat(ledger: Connection, generation: Generation, mark: Checkpoint, spent: Spent) -> None:
    """Note how far a shard is.

    Raises:
        StaleEpoch: another worker claimed it.
    """
    if not beat_shard(ledger, generation, mark, spent):
        raise StaleEpoch(f"shard {mark.shard} was claimed by another worker.")


def _set_aside(
    ledger: Connection, generation: Generation, rejected: Sequence[tuple[Chunk, str]]
) -> None:
    for chunk, reason in rejected:
        put_dead_letter(ledger, generation, chunk.source_key, chunk.number, reason)


def put_dead_letter(
    ledger: Connection, generation: Generation, source_key: str, number: int, reason: str
) -> None:
    """Set one chunk aside with its reason, before its batch commits; a second time is the same."""
    ledger.execute(
        statement("backfill", "put_dead_letter"),
        {
            "workload": generation.workload,
            "generation": generation.number,
            "source_key": source_key,
            "number": number,
            "reason": mask_text(reason),
        },
    )
