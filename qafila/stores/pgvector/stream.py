"""A COPY stream out of a pgvector table, read ahead by a thread and cut into batches on the way.

Rows stay bytes. Only what has to be known is looked at: the last key of a batch, and the rows that
cannot be copied, which the source marks by a vector of NULL and a reason in place of the title.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

import psycopg

from qafila.sources.port import Key
from qafila.stores.pgvector.copy import COLUMNS, HEADER, TRAILER
from qafila.stores.port import Checkpoint, Rejected

_PIECE_BYTES = 112_000  # what is gathered before it is sent on
_PIECES_AHEAD = 32
_VECTOR_LENGTH, _NULL = 2, 0xFF  # first byte of the first field's length word, and what NULL has
Row = bytes | bytearray | memoryview

int4_at = struct.Struct(">i").unpack_from


@dataclass
class Passed:
    """What went through one batch; filled while it runs."""

    rows: int = 0
    chunks: int = 0
    last_key: Key | None = None
    rejected: list[Rejected] = field(default_factory=list)
    finished: bool = False

    def moved(self, mark: Checkpoint, low: Key | None) -> Checkpoint:
        """Return the checkpoint behind this batch of a shard that begins after ``low``."""
        return replace(
            mark,
            last_key=self.last_key or mark.last_key or low,
            rows=mark.rows + self.rows,
            chunks=mark.chunks + self.chunks,
            finished=self.finished,
        )


@dataclass
class _Piece:
    """Some rows, ready to be sent on; ``last_key`` is set on the last piece of a batch."""

    data: bytes = b""
    rows: int = 0
    chunks: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    last_key: Key | None = None
    finished: bool = False


class Reading:
    """A stream that a thread of its own reads ahead, so that neither server waits for the other.

    It reads no further than a few megabytes.
    """

    def __init__(self, rows: Iterator[Row], key_of: Callable[[Row], Key], batch_rows: int) -> None:
        self._rows, self._key_of, self._batch_rows = rows, key_of, batch_rows
        self._ahead: Queue[_Piece | BaseException] = Queue(_PIECES_AHEAD)
        self._stopped = Event()
        self._exhausted = False
        self._thread = Thread(target=self._read, name="copy-out", daemon=True)
        self._thread.start()

    def batch(self, passed: Passed) -> Iterator[bytes]:
        """Yield the next batch as a COPY stream of its own, and say what was in it.

        Rows of one key stay together, so there may be a few more than ``batch_rows``.
        """
        yield HEADER
        while True:
            piece = self._ahead.get()
            if isinstance(piece, BaseException):
                raise piece
            passed.rows += piece.rows
            passed.chunks += piece.chunks
            passed.rejected += piece.rejected
            passed.last_key = piece.last_key
            passed.finished = piece.finished
            yield piece.data
            if piece.last_key is not None or piece.finished:
                break
        yield TRAILER

    def stop(self) -> bool:
        """Read no further; say whether the end was reached. The connection is free afterwards."""
        self._stopped.set()
        self._thread.join()
        return self._exhausted

    def _read(self) -> None:
        try:
            for piece in _pieces(self._rows, self._key_of, self._batch_rows):
                self._exhausted = piece.finished
                self._put(piece)
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where the batch is written
            with suppress(Stopped):
                self._put(error)

    def _put(self, what: _Piece | BaseException) -> None:
        while not self._stopped.is_set():
            with suppress(Full):
                return self._ahead.put(what, timeout=0.1)
        raise Stopped


class Stopped(Exception):
    """Whoever wanted the rows wants no more."""


def _pieces(rows: Iterator[Row], key_of: Callable[[Row], Key], batch_rows: int) -> Iterator[_Piece]:
    """Cut rows into pieces, and pieces into batches at a change of key."""
    piece, gathered = _Piece(), list[Row]()
    size = in_batch = 0
    last: Row | None = None
    for row in rows:
        if in_batch >= batch_rows and last is not None and key_of(last) != key_of(row):
            yield _closed(piece, gathered, last_key=key_of(last))
            piece, gathered, size, in_batch = _Piece(), [], 0, 0
        elif size > _PIECE_BYTES:
            yield _closed(piece, gathered)
            piece, gathered, size = _Piece(), [], 0
        last = row
        in_batch += 1
        piece.rows += 1
        if row[_VECTOR_LENGTH] == _NULL:
            piece.rejected.append(_rejected(row))
        else:
            gathered.append(row)
            size += len(row)
    yield _closed(piece, gathered, last_key=None if last is None else key_of(last), finished=True)


def _closed(
    piece: _Piece, gathered: list[Row], *, last_key: Key | None = None, finished: bool = False
) -> _Piece:
    return replace(
        piece, data=b"".join(gathered), chunks=len(gathered), last_key=last_key, finished=finished
    )


def rows_of(copy: psycopg.Copy, connection: psycopg.Connection[Any]) -> Iterator[Row]:
    """Yield every row of a COPY stream, without its header and trailer.

    What has arrived already is taken from libpq at once: asking psycopg for each row costs more
    than all else that is done with it here.
    """
    take = connection.pgconn.get_copy_data
    first = bytes(copy.read())[len(HEADER) :]
    if len(first) > len(TRAILER):
        yield first
    ended = first == TRAILER
    while not ended:
        row = copy.read()
        if not row:
            return
        while (size := len(row)) > len(TRAILER):
            yield row
            size, row = take(1)
            if size <= 0:
                break
        if size < 0:
            raise _failure(connection)
        ended = 0 < size <= len(TRAILER)
    copy.read()  # the end, with its result


def _failure(connection: psycopg.Connection[Any]) -> psycopg.Error:
    """Return what ended a copy too early; the connection is free for the next statement."""
    error: psycopg.Error = psycopg.OperationalError("the source ended its copy early")
    while (result := connection.pgconn.get_result()) is not None:
        if result.status == psycopg.pq.ExecStatus.FATAL_ERROR:
            error = psycopg.errors.error_from_result(result, connection.info.encoding)
    return error


def _rejected(row: Row) -> Rejected:
    fields = fields_of(row)
    number = fields["chunk_number"]
    return Rejected(
        text_of(fields["source_key"]),
        0 if number is None else int4_at(number)[0],
        text_of(fields["title"]),
    )


def fields_of(row: Row) -> dict[str, bytes | None]:
    at, values = 2, list[bytes | None]()
    for _ in COLUMNS:
        (length,) = int4_at(row, at)
        at += 4
        values.append(None if length < 0 else bytes(row[at : at + length]))
        at += max(0, length)
    return dict(zip(COLUMNS, values, strict=True))


def text_of(value: bytes | None) -> str:
    return "" if value is None else value.decode()
