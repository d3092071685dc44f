"""Records out of JSON lines, CSV and Parquet, one at a time, each with its line."""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import json
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any, cast

_BOMS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))
_DELIMITERS = ",;\t|"
_ROWS = 1_000
_LONGEST_LINE = 1 << 26  # bytes; a longer one is no line, but an archive that unfolds without end
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
    "STRING": "strlen", "VARCHAR": "strlen", "BINARY": "octet_length", "BLOB": "octet_length",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """Fields of one record or, when it cannot be read, what is wrong with it."""

    line: int
    fields: Mapping[str, Any] | None
    wrong: str = ""


def read_jsonl(path: Path) -> Iterator[Record]:
    """Yield one record a line; empty lines are passed over."""
    first = True
    for number, text in _lines(path):
        if isinstance(text, Record):
            yield text
        elif held := text.strip():
            if first and held in ("[", "{"):  # said once, and not again of each of its lines
                yield Record(
                    number, None,
                    "begins one JSON document over several lines: write one object a line, as "
                    "jq -c does; nothing behind it was read",
                )  # fmt: skip
                return
            yield _parsed(number, text)
            first = False


def _parsed(line: int, text: str) -> Record:
    if len(text) > _MOST_VALUES and sum(map(text.count, ",[{")) > _MOST_VALUES:
        return Record(line, None, f"holds more than {_MOST_VALUES} values")
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        return Record(line, None, f"is no JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Record(line, None, f"is no JSON: {error}")
    if not isinstance(value, dict):
        return Record(line, None, "is no JSON object: one object a line is needed")
    return Record(line, value)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def read_csv(path: Path, key: str, fields: Sequence[str]) -> Iterator[Record]:
    """Yield one record a row, by the names of the first line; an empty cell is not there.

    The delimiter is the first of comma, semicolon, tab and bar with which the first line names the
    key. A file that is blank is the part of an export that had no rows, as in JSON lines.
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
            yield from wrong
            return
        used = list(dict.fromkeys([key, *fields]))
        missing = [f for f in used if f not in names]
        twice = [f for f in used if names.count(f) > 1]
        if missing:
            told = ", ".join(repr(f) for f in missing)
            yield Record(1, None, f"has no column {told}; it has: {', '.join(names) or 'none'}")
            return
        if twice:
            told = ", ".join(repr(f) for f in twice)
            yield Record(1, None, f"names the column {told} more than once: name them apart")
            return
        for row in rows:
            read = rows.line_num
            yield from wrong
            wrong.clear()
            if len(row) == len(names):
                yield Record(rows.line_num, {n: v for n, v in zip(names, row, strict=True) if v})
            elif row:
                yield Record(
                    rows.line_num, None, f"has {len(row)} fields, the first line names {len(names)}"
                )
    except _csv.Error as error:
        # the line that a quote was opened in, not the last of all that it took in
        yield Record(read + 1, None, f"is no CSV: {error}; nothing behind it was read")
    yield from wrong


def is_blank(path: Path) -> bool:
    """Say whether a file has nothing in it but line ends and spaces, packed or not."""
    return not any(isinstance(text, Record) or text.strip() for _, text in _lines(path))


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
    """Yield lines of text; one that is none goes to ``wrong`` and is empty."""
    for _, text in _lines(path):
        if isinstance(text, Record):
            wrong.append(text)
            yield "\n"
        else:
            yield text


def _lines(path: Path) -> Iterator[tuple[int, str | Record]]:
    number = 0
    try:
        with _opened(path) as file:
            while raw := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(raw) > _LONGEST_LINE:
                    yield number, Record(
                        number, None,
                        f"is longer than {_LONGEST_LINE} bytes; nothing behind it was read",
                    )  # fmt: skip
                    return
                if number == 1:
                    for bom, encoding in _BOMS:
                        if raw.startswith(bom):
                            yield 1, Record(1, None, f"is {encoding}: save the file as UTF-8")
                            return
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    yield number, raw.decode()
                except UnicodeDecodeError as error:
                    yield number, Record(
                        number, None,
                        f"is not UTF-8 at its byte {error.start + 1}: save the file as UTF-8",
                    )  # fmt: skip
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        yield number + 1, Record(number + 1, None, f"is cut off or no gzip: {error}")


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        zipped = probe.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path)) if zipped else path.open("rb")


def read_parquet(path: Path, paths: Sequence[str]) -> Iterator[Record]:
    """Yield one record a row with the columns that ``paths`` begin in; its line is its number."""
    import duckdb

    from tasks.locked_duckdb import link_into, locked_duckdb

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
                    yield Record(1, None, f"has no column {told}; it has: {', '.join(names)}")
                    return
                used = list(dict.fromkeys(wanted.values()))
                listed = ", ".join('"' + name.replace('"', '""') + '"' for name in used)
                kinds = {column[0]: str(column[1]) for column in described or ()}
                texts = {name: kinds[name] for name in used if kinds[name] in _BYTES_OF}
                longest = _row_bytes(connection, link, texts)
                if longest > _LONGEST_LINE:
                    yield Record(
                        1,
                        None,
                        f"has a row with texts of {longest} bytes, more than {_LONGEST_LINE}",
                    )
                    return
                rows = connection.execute(f"SELECT {listed} FROM read_parquet(?)", [str(link)])
                number = 0
                at_once = max(1, min(_ROWS, _BATCH_BYTES // max(1, longest)))
                while batch := rows.fetchmany(at_once):
                    for row in batch:
                        number += 1
                        yield Record(number, dict(zip(used, row, strict=True)))
            except duckdb.OutOfMemoryException:
                yield Record(
                    1, None,
                    f"needs more than {_MEMORY} to be read: write it with smaller "
                    "pages and row groups",
                )  # fmt: skip
            except duckdb.Error as error:
                told = str(error).splitlines()[0].replace(f"File '{link}' ", "")
                yield Record(1, None, f"is no readable Parquet: {told}")


def _row_bytes(connection: Any, file: Path, kinds: Mapping[str, str]) -> int:
    """Return a bound of the bytes of text in a row: a long text that repeats is packed once.

    ``kinds`` has the type of each column that is read and holds text.
    """
    if not kinds:
        return 0
    quoted = {'"' + name.replace('"', '""') + '"': kind for name, kind in kinds.items()}
    longest = ", ".join(f"max({_BYTES_OF[kind]}({name}))" for name, kind in quoted.items())
    found = connection.execute(f"SELECT {longest} FROM read_parquet(?)", [str(file)]).fetchone()
    return sum(length or 0 for length in found or ())
