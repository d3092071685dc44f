"""Text files that were joined by hand: their lines end in two ways, their head line comes again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from gzip import GzipFile
from pathlib import Path
from typing import BinaryIO, cast

import duckdb

from qafila.audit.bills.file_check import TextFile

_PIECE = 1 << 20


@dataclass(frozen=True)
class LineEnds:
    """How many lines of a file end in CR LF, and how many in LF alone; its cells do not count."""

    crlf: int
    lf: int


def evened(file: TextFile, to: Path) -> tuple[TextFile, LineEnds] | None:
    """Write a copy of a file whose lines all end in LF; None: they all end alike already.

    DuckDB's strict reader takes the first line's end for the whole file and refuses another; its
    lenient one takes both, but also a quotation mark that was never closed, and then money is
    missing. So the copy is read, as strictly. What stands in quotation marks stays as it is.
    """
    crlf = lf = 0
    outside, held = True, b""
    opened = GzipFile(file.path) if file.compressed else file.path.open("rb")
    with cast(BinaryIO, opened) as source, to.open("wb") as copy:
        while True:
            read = source.read(_PIECE)
            piece = held + read
            # the LF of a CR at the end may be the next byte
            held = b"\r" if read and piece.endswith(b"\r") else b""
            parts = piece.removesuffix(held).split(b'"')
            for number, part in enumerate(parts):
                if number:
                    outside = not outside
                if outside:
                    both = part.count(b"\r\n")
                    crlf += both
                    lf += part.count(b"\n") - both
                    if both:
                        parts[number] = part.replace(b"\r\n", b"\n")
            copy.write(b'"'.join(parts))
            if not read:
                break
    if not crlf or not lf:
        to.unlink()
        return None
    return replace(file, path=to, compressed=False), LineEnds(crlf, lf)


def drop_head_lines(connection: duckdb.DuckDBPyConnection, currencies: set[str]) -> int:
    """Take the lines that are the names of the columns again out of the text; return how many.

    ``currencies``: the names of the column of the currency. A line is one where that name stands
    for a currency, with neither an amount nor a date.
    """
    names = [name.upper() for name in currencies]
    (dropped,) = connection.execute(
        "DELETE FROM text_line"
        " WHERE list_contains(?, currency) AND amount IS NULL AND period_start IS NULL",
        [names],
    ).fetchone() or (0,)
    return int(dropped)
