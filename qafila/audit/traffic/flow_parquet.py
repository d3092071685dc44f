"""Read VPC flow logs that were delivered as Parquet, in batches."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from qafila.audit.traffic.files import CutShort
from qafila.locked_duckdb import link_into, locked_duckdb

_MAGIC = b"PAR1"
_GZIP = b"\x1f\x8b"
_ROWS = 10_000  # of one batch
_MEMORY = "512MB"
_MOST_BYTES = 4 << 30  # of one file that was gzip once more; they go to the disk
_PIECE = 1 << 20


def is_parquet(path: Path) -> bool:
    """Tell whether a file is Parquet, or Parquet inside gzip; by its first bytes."""
    try:
        with path.open("rb") as raw:
            start = raw.read(4)
            if start[:2] != _GZIP:
                return start == _MAGIC
            raw.seek(0)
            return gzip.GzipFile(fileobj=raw).read(4) == _MAGIC
    except (OSError, EOFError, zlib.error):
        return False


@contextmanager
def opened_parquet(path: Path) -> Iterator[tuple[list[str], Iterator[Sequence[str]]]]:
    """Open a file; give its columns and its records, each value as the text format writes it.

    What has no value is "-". Columns may be compressed in any way that Parquet knows, gzip among
    them, and the whole file may be gzip once more.

    Raises:
        CutShort: it is damaged, or ends too early; also while records are taken.
    """
    with tempfile.TemporaryDirectory(prefix="qafila-flows-") as folder:
        try:
            file = _unpacked(path, Path(folder))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise CutShort(_said(error)) from error
        with locked_duckdb(Path(folder), memory=_MEMORY) as database:
            yield _opened(database, file)


def _opened(
    database: duckdb.DuckDBPyConnection, file: Path
) -> tuple[list[str], Iterator[Sequence[str]]]:
    try:
        described = database.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(file)])
        columns = [str(row[0]) for row in described.fetchall()]
        texts = ", ".join(f"coalesce(CAST({_quoted(c)} AS VARCHAR), '-')" for c in columns)
        records = database.execute(f"SELECT {texts} FROM read_parquet(?)", [str(file)])
    except duckdb.Error as error:
        raise CutShort(_said(error)) from error
    return columns, _batches(records)


def _batches(records: duckdb.DuckDBPyConnection) -> Iterator[Sequence[str]]:
    try:
        while batch := records.fetchmany(_ROWS):
            yield from batch
    except duckdb.Error as error:
        raise CutShort(_said(error)) from error


def _unpacked(path: Path, room: Path) -> Path:
    """Return a file with a plain name in our folder: unpacked, or a link to the file itself."""
    with path.open("rb") as raw:
        if raw.read(2) != _GZIP:
            return link_into(room, path, "flows.parquet")
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw) as packed, (room / "flows.parquet").open("wb") as plain:
            left = _MOST_BYTES
            while piece := packed.read(min(left, _PIECE)):
                plain.write(piece)
                left -= len(piece)
                if left == 0 and packed.read(1):
                    raise CutShort(f"it unpacks to more than {_MOST_BYTES >> 30} GiB")
    return room / "flows.parquet"


def _said(error: Exception) -> str:
    """Return the first line of what is wrong; it names no file of ours."""
    if isinstance(error, duckdb.Error):
        return "the Parquet file is damaged or ends too early"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
