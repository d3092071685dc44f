"""Records out of JSON lines, CSV and Parquet, one at a time, each with its line."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_DELIMITERS = ",;\t|"
_ROWS = 1_000
_LONGEST_LINE = 1 << 26  # bytes; a longer one is not taken into memory
_FARTHEST_END = 1 << 30  # bytes; a line without an end by then is an archive that unfolds endlessly
_MOST_VALUES = 5_000_000  # of one line: each takes some hundred bytes in memory
_LONGEST_CELL = 1 << 26  # letters, at four bytes each; what is longer began with a stray quote


def _own_csv() -> ModuleType:
    """Return the standard library's CSV parser once more, with a limit of its own (in letters).

    A document may be longer than the 131 072 letters that ``csv`` allows a field by default, and
    ``csv.field_size_limit`` is one setting of the whole process: raised, it would be raised for
    everybody else's reader, in every thread, as long as one of ours is open. The parser is loaded
    a second time instead (PEP 489), and only that one is told.
    """
    spec = importlib.util.find_spec("_csv")
    if spec is None or spec.loader is None:
        raise ImportError("this Python has no _csv")
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    own.field_size_limit(_LONGEST_CELL)
    return own


_csv = _own_csv()
_MEMORY = "1GB"  # a bound only: a page of long texts may take hundreds of MB
_BATCH_BYTES = 1 << 28  # of texts that are in memory at a time
_BYTES_OF = {  # by type: the function that gives the bytes of one text
    "STRING": "strlen",
    "VARCHAR": "strlen",
    "BINARY": "octet_length",
    "BLOB": "octet_length",
}


@dataclass(frozen=True, slots=True)
class Record:
    """Fields of one record or, when it cannot be read, what is wrong with it.

    ``of_file``: what is wrong hides an unknown number of other records, or concerns all of them.
    """

    line: int
    fields: Mapping[str, Any] | None
    wrong: str = ""
    of_file: bool = False


def read_jsonl(path: Path) -> Iterator[Record]:
    """Yield one record a line; empty lines are passed over."""
    first = True
    for number, raw in _lines(path):
        if isinstance(raw, Record):
            yield raw
            continue
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            yield _not_utf8(number, error)
            continue
        if held := text.strip():
            if first and held in ("[", "{"):  # said once, and not again of each of its lines
                yield Record(
                    number,
                    None,
                    "begins one JSON document over several lines: write one object per line, as "
                    "jq -c does; nothing behind it was read",
                    of_file=True,
                )
                return
            yield _parsed(number, text.rstrip())
            first = False


def _parsed(line: int, text: str) -> Record:
    if len(text) > _MOST_VALUES and sum(map(text.count, ",[{")) > _MOST_VALUES:
        return Record(line, None, f"holds more than {_MOST_VALUES} values")
    if not text.lstrip().startswith("{"):
        return Record(line, None, "is not a JSON object: write one object per line")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return Record(
            line,
            None,
            f"is not valid JSON: {error.msg.removesuffix(' at')} at column {error.colno}",
        )
    except (ValueError, RecursionError) as error:
        return Record(line, None, f"is not valid JSON: {error}")
    return Record(line, value)


def _not_utf8(line: int, error: UnicodeDecodeError) -> Record:
    return Record(line, None, f"is not UTF-8 at its byte {error.start + 1}: save the file as UTF-8")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def read_csv(path: Path, key: str, fields: Sequence[str]) -> Iterator[Record]:
    """Yield one record a row, by the names of the first line; an empty cell is not there.

    The delimiter is the first of comma, semicolon, tab and bar with which the first line names the
    key. A file that is blank is the part of an export that had no rows, as in JSON lines. A row
    with a line in it that cannot be read is not given; where quotes are broken, nobody knows where
    the next row begins, so the file ends there.
    """
    if is_blank(path):
        return
    wrong: list[Record] = []
    lines = _texts(path, wrong)
    first, read = next(lines, ""), 0  # how many lines are read whole
    rows = _csv.reader(_again(first, lines), delimiter=_delimiter(first, key), strict=True)
    try:
        names: list[str] = next(rows, [])
        read = rows.line_num
        if wrong:  # the first line is none, so it names nothing
            yield from (replace(record, of_file=True) for record in wrong)
            return
        used = list(dict.fromkeys([key, *fields]))
        missing = [f for f in used if f not in names]
        twice = [f for f in used if names.count(f) > 1]
        if missing:
            told = ", ".join(repr(f) for f in missing)
            yield Record(
                1, None, f"has no column {told}; it has: {', '.join(names) or 'none'}", True
            )
            return
        if twice:
            told = ", ".join(repr(f) for f in twice)
            yield Record(1, None, f"names the column {told} more than once: name them apart", True)
            return
        for row in rows:
            read = rows.line_num
            if wrong:  # a line of this row, or what ends the file
                yield from wrong
                if any(record.of_file for record in wrong):
                    return
                wrong.clear()
            elif len(row) == len(names):
                yield Record(rows.line_num, {n: v for n, v in zip(names, row, strict=True) if v})
            elif row:
                yield Record(
                    rows.line_num, None, f"has {len(row)} fields, the first line names {len(names)}"
                )
    except _csv.Error as error:
        # the line that a quote was opened in, not the last of all that it took in
        yield Record(read + 1, None, f"is not valid CSV: {error}; nothing behind it was read", True)
    yield from wrong


def is_blank(path: Path) -> bool:
    """Say whether a file has nothing in it but line ends and spaces, packed or not."""
    return not any(
        isinstance(raw, Record) or raw.decode(errors="replace").strip() for _, raw in _lines(path)
    )


def _delimiter(first: str, key: str) -> str:
    for delimiter in _DELIMITERS:
        with contextlib.suppress(_csv.Error):  # the reading itself says what is wrong with it
            if key in next(_csv.reader([first], delimiter=delimiter), []):
                return delimiter
    return ","


def _again(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _texts(path: Path, wrong: list[Record]) -> Iterator[str]:
    """Yield lines of text; what is wrong with one goes to ``wrong``.

    A line that is not UTF-8 keeps its commas and quotes, so that the row ends where it ends.
    """
    for number, raw in _lines(path):
        if isinstance(raw, Record):  # where its quotes are is not known, so nor is the next row
            told = raw.wrong if raw.of_file else f"{raw.wrong}; nothing behind it was read"
            wrong.append(replace(raw, wrong=told, of_file=True))
            yield "\n"
            return
        try:
            yield raw.decode()
        except UnicodeDecodeError as error:
            wrong.append(_not_utf8(number, error))
            yield raw.decode(errors="replace")


def _lines(path: Path) -> Iterator[tuple[int, bytes | Record]]:
    number = 0
    try:
        with _opened(path) as file:
            while raw := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(raw) > _LONGEST_LINE:
                    yield number, Record(number, None, f"is longer than {_LONGEST_LINE} bytes")
                    if not _ends_soon(file, raw):
                        yield (
                            number,
                            Record(
                                number,
                                None,
                                f"is longer than {_FARTHEST_END} bytes; nothing behind it was read",
                                of_file=True,
                            ),
                        )
                        return
                    continue
                if number == 1:
                    for bom, encoding in _BOMS:
                        if raw.startswith(bom):
                            yield 1, Record(1, None, f"is {encoding}: save the file as UTF-8", True)
                            return
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                yield number, raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield number + 1, Record(number + 1, None, f"is cut off, or not valid gzip: {error}", True)


def _ends_soon(file: IO[bytes], begun: bytes) -> bool:
    """Read a line to its end, without keeping it, and say whether it ended near enough."""
    length, part = len(begun), begun
    while part and not part.endswith(b"\n"):
        if length > _FARTHEST_END:
            return False
        part = file.readline(_LONGEST_LINE)
        length += len(part)
    return True


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        zipped = probe.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")


def read_parquet(path: Path, paths: Sequence[str]) -> Iterator[Record]:
    """Yield one record a row with the columns that ``paths`` begin in; its line is its number."""
    import duckdb

    from qafila.locked_duckdb import link_into, locked_duckdb

    with tempfile.TemporaryDirectory(prefix="qafila-") as folder:
        link = link_into(Path(folder), path, "rows.parquet")
        with locked_duckdb(Path(folder), memory=_MEMORY) as connection:
            try:
                described = connection.execute(
                    "SELECT * FROM read_parquet(?) LIMIT 0", [str(link)]
                ).description
                names = [column[0] for column in described or ()]
                wanted = {p: p if p in names else p.split(".")[0] for p in paths}
                missing = [p for p, name in wanted.items() if name not in names]
                if missing:
                    told = ", ".join(repr(p) for p in missing)
                    yield Record(1, None, f"has no column {told}; it has: {', '.join(names)}", True)
                    return
                used = list(dict.fromkeys(wanted.values()))
                listed = ", ".join(map(_quoted, used))
                kinds = {column[0]: str(column[1]) for column in described or ()}
                texts = {name: kinds[name] for name in used if kinds[name] in _BYTES_OF}
                longest = _row_bytes(connection, link, texts)
                size, chosen = "0", listed
                if longest > _LONGEST_LINE:
                    size = " + ".join(f"coalesce({length}, 0)" for length in _lengths(texts))
                    chosen = ", ".join(
                        f"CASE WHEN {size} <= {_LONGEST_LINE} THEN {_quoted(name)} END"
                        for name in used
                    )
                rows = connection.execute(
                    f"SELECT {size}, {chosen} FROM read_parquet(?)", [str(link)]
                )
                number = 0
                at_once = max(1, min(_ROWS, _BATCH_BYTES // max(1, min(longest, _LONGEST_LINE))))
                while batch := rows.fetchmany(at_once):
                    for size_bytes, *row in batch:
                        number += 1
                        if size_bytes > _LONGEST_LINE:
                            yield Record(
                                number,
                                None,
                                f"has texts of {size_bytes} bytes, more than {_LONGEST_LINE}",
                            )
                        else:
                            yield Record(number, dict(zip(used, row, strict=True)))
            except duckdb.OutOfMemoryException:
                yield Record(
                    1,
                    None,
                    f"needs more than {_MEMORY} to be read: write it with smaller "
                    "pages and row groups",
                    of_file=True,
                )
            except duckdb.Error as error:
                told = str(error).splitlines()[0].replace(f"File '{link}' ", "")
                yield Record(1, None, f"is not readable Parquet: {told}", True)


def _row_bytes(connection: Any, file: Path, kinds: Mapping[str, str]) -> int:
    """Return a bound of the bytes of text in a row: a long text that repeats is packed once.

    ``kinds`` has the type of each column that is read and holds text.
    """
    if not kinds:
        return 0
    longest = ", ".join(f"max({length})" for length in _lengths(kinds))
    found = connection.execute(f"SELECT {longest} FROM read_parquet(?)", [str(file)]).fetchone()
    return sum(length or 0 for length in found or ())


def _lengths(kinds: Mapping[str, str]) -> list[str]:
    return [f"{_BYTES_OF[kind]}({_quoted(name)})" for name, kind in kinds.items()]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
