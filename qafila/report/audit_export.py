"""An audit's tables as files, Parquet and CSV, for whatever reads them next."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from qafila.audit.inventory.tables import ABOUT
from qafila.errors import BadInput
from qafila.locked_duckdb import locked_duckdb
from qafila.report.audit_facts import AuditFacts, Row
from qafila.whole_file import write_whole

RECORD = ".qafila-export.json"
# Columns whose numbers are no text.
_WHOLE = frozenset(
    {
        "size_bytes",
        "lines",
        "rows",
        "resources",
        "calls",
        "line",
        "column",
        "of",
        "count",
        "unmeasured",
    }
)
_REAL = frozenset({"confidence", "score", "coverage"})
_MONEY = frozenset({"amount", "before", "after"})
_DIGITS, _PLACES = 38, 20  # the most that DuckDB, Spark and Arrow's decimal128 (pandas) hold
_MEMORY = "1GB"
_TRUTH = frozenset({"found", "behind"})
_EXACT = frozenset({"quantity", "gigabytes"})  # our own digits, kept as text: never a formula
# What a spreadsheet may run: a sign, also after blanks or in full width, and what OWASP adds ("CSV
# Injection"): a tab or line break. Apostrophes before it count too, so that taking one away from
# whatever begins like this gives back every text as it was.
_FORMULA = "^''*([\\s]*[-=+@＝＋－＠]|[\\t\\r\\n])"


def ready_folder(folder: Path) -> None:
    """Make a folder for an export where it is missing, and see that it can be written to.

    Raises:
        BadInput: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refusal(folder, error) from error


def require_own_files(folder: Path) -> None:
    """Return when every file that an export would replace or delete is one that an export wrote.

    Raises:
        BadInput: one is not, or was changed since; names each. A link is not followed.
    """
    written = _written(folder)
    foreign = [
        file
        for name in ABOUT
        for file in _files(folder / name)
        if file.is_symlink() or (file.exists() and written.get(file.name) != _sha256(file))
    ]
    if foreign:
        raise BadInput(
            f"the audit cannot be exported to {folder}:",
            [f"{file} was not written by an export, or was changed since" for file in foreign],
            remedy="name another folder with --export; or, to replace these files: the same "
            "command with --force. Nothing was written.",
        )


def export_audit(facts: AuditFacts, folder: Path, *, force: bool = False) -> list[Path]:
    """Write every table with rows as TABLE.parquet and TABLE.csv; return the files.

    Files that an earlier export wrote are replaced; their digests are in RECORD beside them. Any
    other file under such a name is refused, unless ``force``.

    A table without rows has no file, also where an earlier export left one: the folder holds one
    audit, never a mixture.

    Raises:
        BadInput: the folder cannot be made or written to, holds a file of somebody else under one
            of these names, or a column of money needs more digits than a decimal has; nothing is
            written then.
    """
    if not force:
        require_own_files(folder)
    types = {name: _types(name, facts.rows(name)) for name in ABOUT}
    ready_folder(folder)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="qafila-export-") as room,
            locked_duckdb(Path(room), memory=_MEMORY) as connection,
        ):
            files = []
            for name in ABOUT:
                to = folder.absolute() / name
                if facts.rows(name):
                    files += _write(connection, Path(room), facts.rows(name), types[name], to)
                else:
                    for file in _files(to):
                        file.unlink(missing_ok=True)
            _record(folder, files)
            return files
    except (OSError, duckdb.IOException) as error:
        raise _refusal(folder, error) from error


def _written(folder: Path) -> dict[str, str]:
    """Return name and digest of each file that the last export wrote; none where it is not told."""
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in told["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _record(folder: Path, files: Sequence[Path]) -> None:
    told = {"written_by": "qafila report --export", "files": {f.name: _sha256(f) for f in files}}
    write_whole(folder / RECORD, json.dumps(told, indent=2) + "\n")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _refusal(folder: Path, error: Exception) -> BadInput:
    why = getattr(error, "strerror", None) or str(error).splitlines()[0]
    return BadInput(
        f"the audit cannot be exported to {folder}: {why}",
        remedy="name another folder with --export",
    )


def _files(to: Path) -> list[Path]:
    return [to.with_suffix(".parquet"), to.with_suffix(".csv")]


def _write(
    connection: duckdb.DuckDBPyConnection,
    room: Path,
    rows: Sequence[Row],
    types: Mapping[str, str],
    to: Path,
) -> list[Path]:
    """Write one table, first in our own folder.

    A column that is a mapping or a list becomes JSON text.
    In the CSV money has the digits that it has, and a text that a spreadsheet would run as a
    formula begins with an apostrophe.
    """
    columns = list(types)
    fields = ", ".join(f"{_quoted(c)}: 'VARCHAR'" for c in columns)
    typed = ", ".join(f"CAST({_quoted(c)} AS {types[c]}) AS {_quoted(c)}" for c in columns)
    files = _files(to)
    written, lines = room / "table", room / "rows.jsonl"
    with lines.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps({c: _plain(row.get(c)) for c in columns}) + "\n")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE exported AS SELECT * FROM "
        f"read_json(?, format = 'newline_delimited', columns = {{{fields}}}, "
        "maximum_object_size = 67108864)",
        [str(lines)],
    )
    harmless = ", ".join(_harmless(c, types[c]) for c in columns)
    for to_file, what, options in (
        (files[0], f"(SELECT {typed} FROM exported)", "FORMAT parquet"),
        (files[1], f"(SELECT {harmless} FROM exported)", "FORMAT csv, HEADER"),
    ):
        connection.execute(f"COPY {what} TO ? ({options})", [str(written)])
        part = to_file.with_name(f".{to_file.name}.part")
        shutil.copyfile(written, part)
        part.replace(to_file)
    return files


def _harmless(column: str, kind: str) -> str:
    name = _quoted(column)
    if kind != "VARCHAR" or column in _EXACT:
        return name
    formula = f"regexp_matches({name}, '{_FORMULA}')"
    return f"CASE WHEN {formula} THEN chr(39) || {name} ELSE {name} END AS {name}"


def _plain(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False, default=str)


def _types(table: str, rows: Sequence[Row]) -> dict[str, str]:
    """Return the Parquet type of each column of a table, in its order."""
    columns = dict.fromkeys(key for row in rows for key in row)
    return {
        c: _money_type(table, c, [row[c] for row in rows if row.get(c) is not None])
        if c in _MONEY
        else _type(c)
        for c in columns
    }


def _type(column: str) -> str:
    if column in _WHOLE:
        return "BIGINT"
    if column in _REAL:
        return "DOUBLE"
    return "BOOLEAN" if column in _TRUTH else "VARCHAR"


def _money_type(table: str, column: str, amounts: Sequence[str]) -> str:
    """Return a decimal that holds every amount to its last digit.

    It has 38 digits, 20 of them behind the point: more where an amount has more, fewer where one
    needs their room before the point.

    Raises:
        BadInput: the longest before and the longest behind the point are more than 38 together.
    """
    parts = [f"{Decimal(amount):f}".lstrip("-").partition(".") for amount in amounts]
    whole = max((len(before.lstrip("0")) for before, _, _ in parts), default=0)
    decimals = max((len(behind.rstrip("0")) for _, _, behind in parts), default=0)
    if whole + decimals > _DIGITS:
        raise BadInput(
            f"the audit cannot be exported: {column} of {table} needs {whole} digits before the "
            f"point and {decimals} behind it, and a decimal in Parquet has {_DIGITS}",
            remedy="export the bill with fewer decimals and audit again; the page needs no export",
        )
    return f"DECIMAL({_DIGITS}, {max(decimals, min(_PLACES, _DIGITS - whole))})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
