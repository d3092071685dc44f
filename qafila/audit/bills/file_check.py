"""Look at a bill's file before it is read: is it there, whole, and text or Parquet?"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from qafila.errors import BadInput

_GZIP, _PARQUET, _ZIP = b"\x1f\x8b", b"PAR1", b"PK\x03\x04"
_DELIMITERS = ",;\t|"
_LONGEST_NAME = 10_000  # of a column; beyond it a quote was never closed
_PIECE = 1 << 20
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True)
class TextFile:
    """A CSV file: its columns as written, its delimiter, and whether it is compressed.

    ``skip``: lines before the columns: blank ones, and the ``sep=;`` that a spreadsheet writes.
    """

    path: Path
    columns: tuple[str, ...]
    delimiter: str
    compressed: bool
    skip: int = 0


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file; its columns and their types are asked of DuckDB."""

    path: Path


def look_at(
    paths: list[Path], shown: Mapping[Path, str] | None = None
) -> list[TextFile | ParquetFile]:
    """Return each file with what is needed to read it; ``shown``: what to call it, if not its path.

    A gzip file is unpacked once to its end, because a cut one would otherwise be a smaller bill.

    Raises:
        BadInput: names every file that is missing, a folder, empty, cut or not a bill at all.
    """
    seen: list[TextFile | ParquetFile] = []
    problems: list[str] = []
    for path in paths:
        try:
            seen.append(_look(path))
        except _Unusable as error:
            problems.append(str(error).replace(str(path), (shown or {}).get(path, str(path))))
    if problems:
        if len(problems) == 1:
            raise BadInput(f"{problems[0]}.", remedy=_REMEDY)
        raise BadInput("these bills cannot be read:", problems, remedy=_REMEDY)
    return seen


_REMEDY = "give the path of a FOCUS, AWS, Azure or OCI bill: CSV, gzip or Parquet."


class _Unusable(Exception):
    """One file that is no bill; the text says why."""


def _look(path: Path) -> TextFile | ParquetFile:
    if path.is_dir():
        raise _Unusable(f"{path} is a folder; name the files in it, such as {path}/*.parquet")
    if not path.is_file():
        raise _Unusable(f"there is no bill at {path}")
    try:
        with path.open("rb") as file:
            return _look_into(path, file)
    except PermissionError as error:
        raise _Unusable(f"we may not read {path}") from error


def _look_into(path: Path, file: BinaryIO) -> TextFile | ParquetFile:
    start = file.read(4)
    if not start:
        raise _Unusable(f"{path} is empty: it has no lines")
    if start == _PARQUET:
        file.seek(-4, io.SEEK_END)
        if file.tell() < 8 or file.read(4) != _PARQUET:
            raise _Unusable(f"{path} is cut: the end of the Parquet file is missing")
        return ParquetFile(path)
    if start == _ZIP:
        raise _Unusable(f"{path} is a zip archive or a spreadsheet; unpack it to CSV")
    file.seek(0)
    if start.startswith(_GZIP):
        head = _unpacked(path, file)
        return _text(path, head, compressed=True)
    return _text(path, file.read(_LONGEST_HEADER), compressed=False)


def _unpacked(path: Path, file: BinaryIO) -> bytes:
    """Return the beginning, after all of the file has been unpacked once."""
    head = b""
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            while piece := unpacked.read(_PIECE):
                if len(head) < _LONGEST_HEADER:
                    head += piece
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _Unusable(f"{path} is cut or damaged: the gzip stream ends before its end") from error
    if not head:
        raise _Unusable(f"{path} is empty: it has no lines")
    return head


def _text(path: Path, head: bytes, *, compressed: bool) -> TextFile:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise _Unusable(f"{path} is UTF-16; save it as UTF-8")
    if b"\x00" in head:
        raise _Unusable(f"{path} is neither text nor Parquet")
    # A header that a piece of the file's middle was cut from is still a header.
    text = head.decode("utf-8-sig", errors="replace")
    if not text.strip():
        raise _Unusable(f"{path} is empty: it has no lines")
    lines = text.splitlines()
    skip = next(n for n, line in enumerate(lines) if line.strip())
    if lines[skip].startswith("sep=") and len(lines) > skip + 1:
        skip += 1
    first = lines[skip]
    if first.count("\ufffd"):
        raise _Unusable(f"{path} is neither UTF-8 text nor Parquet")
    if b"\r" in head and b"\n" not in head:
        raise _Unusable(f"{path} ends its lines with CR alone; save it with LF or CR LF")
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        columns = next(csv.reader(io.StringIO("\n".join(lines[skip:])), delimiter=delimiter))
    except csv.Error as error:
        raise _Unusable(f"{path} has a first line that is no CSV: {error}") from error
    if max(map(len, columns), default=0) > _LONGEST_NAME:
        raise _Unusable(
            f"{path} has a first line that is no CSV: a name of more than {_LONGEST_NAME} letters"
        )
    twice = sorted(name for name, count in Counter(columns).items() if count > 1)
    if twice:
        raise _Unusable(f"{path} has a column twice: {', '.join(twice)}")
    return TextFile(path, tuple(c.strip() for c in columns), delimiter, compressed, skip)
