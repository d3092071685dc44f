"""Open bills of any format as one DuckDB relation ``line``. Prefect is not needed here.

``line`` has one row for each line of the bills, FOCUS-shaped, and these columns (a column that
the format lacks is NULL):

- ``amount`` DECIMAL(38, 20), with more places where ``keep_every_digit`` found them needed: what
  was billed (FOCUS BilledCost, CUR unblended cost, Azure cost in billing currency, OCI myCost);
  ``currency``: its ISO 4217 code, capitals;
- ``period_start`` DATE: first day of the billing period; ``category``: FOCUS ChargeCategory
  (Usage, Purchase, Tax, Credit, Adjustment); ``kind``: the vendor's own word for it;
  ``class``: Refund or Correction, else NULL;
- ``vendor``, ``issuer``, ``invoice``, ``account``, ``service`` ("not named" when empty),
  ``description``, ``meter``, ``usage_type``, ``operation``, ``region``, ``from_region``,
  ``to_region``, ``resource``, ``commitment``: text;
- ``quantity`` DECIMAL(38, 20) with ``unit``: what was consumed; ``list_cost``,
  ``contracted_cost``, ``effective_cost`` DECIMAL(38, 20): in ``currency``; ``unit_price``,
  ``priced_quantity``, ``priced_cost``: the first two should multiply to the third;
- ``charge_start``, ``charge_end`` TIMESTAMP in UTC; ``zone``: how the file named the zone;
- ``tags``: JSON text, NULL where there are none; ``line_id``: the vendor's id of the line;
- ``file``, ``format``: where the line comes from, the file by its number in ``OpenBill.files``;
  ``names_invoices``: whether that file has a
  column of invoice ids; ``decimals``, ``literal_nulls``, ``fingerprint``: for the checks.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb

from qafila.audit.bills.columns import DIGITS, PLACES, Columns, amount_type, quoted
from qafila.audit.bills.fetch import fetched
from qafila.audit.bills.file_check import ParquetFile, TextFile, look_at
from qafila.audit.bills.formats import recognise
from qafila.audit.bills.joined_text import LineEnds, drop_head_lines, evened
from qafila.audit.bills.line_columns import (
    LINE,
    amount_columns,
    currency_columns,
    expressions,
    names_invoices,
)
from qafila.audit.bills.numbers import has_decimal_comma
from qafila.errors import BadInput
from qafila.locked_duckdb import link_into, locked_duckdb
from qafila.sql import statement

_LARGE_BYTES = 64 << 20  # text beyond it is kept in a file, not in memory
_MEMORY = "1200MB"
_LONGEST_REASON = 400


@dataclass(frozen=True)
class Source:
    """Files of one shape: the same format and the same columns."""

    format: str
    files: tuple[str, ...]
    columns: Columns
    floating: bool
    names_invoices: bool


@dataclass(frozen=True)
class OpenBill:
    """Bills that can be queried: DuckDB with the relation ``line``, until the context ends.

    ``line_ends``: of each file whose lines end in two ways; ``head_lines``: how many lines were
    the names of the columns again and are left out; ``files``: what each file is called;
    ``folder``: where their links are.
    """

    connection: duckdb.DuckDBPyConnection
    name: str
    sources: tuple[Source, ...] = field(repr=False)
    load: Callable[[int], object] | None = field(default=None, repr=False)
    line_ends: Mapping[str, LineEnds] = field(default_factory=dict, repr=False)
    head_lines: int = 0
    files: tuple[str, ...] = ()
    folder: Path = Path()

    def keep_every_digit(self) -> int:
        """Make room for all decimals of what was billed; return how many are kept.

        Of the 38 digits that a sum has, those that the bill's size leaves free become decimals.
        To be asked once ``spend`` was made, which counts them; it is made again where needed.
        """
        (decimals,) = self.query("SELECT coalesce(max(decimals), 0) FROM spend")[0]
        if decimals <= PLACES or self.load is None:
            return PLACES
        needed, whole = self.rows("places")[0]
        room = DIGITS - len(str(int(whole or 0) + 1))  # rounding may have added one
        places = max(PLACES, min(int(needed), room))
        if places > PLACES:
            self.query("DROP TABLE spend")
            self.load(places)
            self.rows("spend")
        return places

    @property
    def formats(self) -> tuple[str, ...]:
        return tuple(sorted({s.format for s in self.sources}))

    @property
    def format(self) -> str:
        """Return the format; of several, all of them with a plus between."""
        return " + ".join(self.formats)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows.

        Raises:
            BadInput: a file cannot be read to its end, or its sums have more than 18 digits.
        """
        try:
            return self.connection.execute(sql, list(values)).fetchall()
        except duckdb.Error as error:
            raise _unreadable(self.name, error, self.files, self.folder) from error

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """Return all rows of a named statement of ``bills.sql``."""
        return self.query(statement("bills", name))


@contextmanager
def open_bill(paths: str | Path | Sequence[str | Path], *, s3: Any = None) -> Iterator[OpenBill]:
    """Open one bill, in one file or several, of any format; nothing is added up yet.

    Parquet is read in place, text is read once as text, because a sniffer that guesses a type
    rounds money. ``s3``: a boto3 client for paths like ``s3://bucket/key``; by default one of the
    usual chain.

    Raises:
        BadInput: names every file that cannot be read and every column that is missing.
    """
    with tempfile.TemporaryDirectory(prefix="qafila-bill-") as folder:
        room = Path(folder)
        given = [paths] if isinstance(paths, str | Path) else list(paths)
        files = fetched(given, room, s3)
        given_files = look_at([f.path for f in files], {f.path: f.url for f in files if f.url})
        looked = [
            replace(file, path=link_into(room, file.path, f"bill-{number}"))
            for number, file in enumerate(given_files)
        ]
        names = [f.name for f in files]
        size = sum(
            f.path.stat().st_size * (10 if f.compressed else 1)
            for f in looked
            if isinstance(f, TextFile)
        )
        database = "bill.duckdb" if size > _LARGE_BYTES else ""
        name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
        with locked_duckdb(room, database=database, memory=_MEMORY, threads=2) as connection:
            line_ends: dict[str, LineEnds] = {}

            def load(places: int) -> tuple[list[Source], int]:
                try:
                    return _load(connection, looked, names, places)
                except duckdb.InvalidInputException as error:
                    mixed = _even_out(looked, names, room)
                    if not mixed:
                        raise _unreadable(name, error, names, room) from error
                    line_ends.update(mixed)
                    return load(places)
                except duckdb.Error as error:
                    raise _unreadable(name, error, names, room) from error

            sources, head_lines = load(PLACES)
            yield OpenBill(
                connection,
                name,
                tuple(sources),
                load,
                line_ends,
                head_lines,
                tuple(names),
                room,
            )


def _even_out(
    looked: list[TextFile | ParquetFile], names: Sequence[str], room: Path
) -> dict[str, LineEnds]:
    """Put a copy in the place of each text file whose lines end in two ways; return which."""
    found: dict[str, LineEnds] = {}
    for number, file in enumerate(looked):
        copy = room / f"evened-{number}.csv"
        if isinstance(file, TextFile) and file.path != copy and (mixed := evened(file, copy)):
            looked[number], ends = mixed
            found[names[number]] = ends
    return found


def _load(
    connection: duckdb.DuckDBPyConnection,
    looked: Sequence[TextFile | ParquetFile],
    names: Sequence[str],
    places: int,
) -> tuple[list[Source], int]:
    """Create the relation, anew where it is there; return its sources and its head lines."""
    sources: list[Source] = []
    in_place: list[str] = []  # Parquet
    once: list[str] = []  # text
    problems: list[BadInput] = []
    groups: dict[tuple[Any, ...], tuple[str, list[int], dict[str, str], str]] = {}
    for number, file in enumerate(looked):
        types, reader = _described(connection, file)
        try:
            form = recognise(list(types), names[number])
        except BadInput as error:
            problems.append(error)
            continue
        key = (form, reader, tuple(sorted(types.items())))
        groups.setdefault(key, (form, [], types, reader))[1].append(number)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise BadInput(
            "these bills cannot be read:",
            [f"{e.what.splitlines()[0]} {'; '.join(e.problems)}" for e in problems],
            remedy=problems[0].remedy,
        )
    for form, numbers, types, reader in groups.values():
        paths = [str(looked[n].path) for n in numbers]
        raw = reader.replace("{files}", f"[{', '.join(map(_text, paths))}]")
        # Where commas part the columns, a comma in a number makes it one that cannot be read.
        separated = reader.startswith("read_csv") and "delim = ','" not in reader
        comma = separated and has_decimal_comma(
            connection, raw, Columns(types), amount_columns(form), names[numbers[0]]
        )
        typed = reader.startswith("read_parquet")
        columns = Columns(types, typed=typed, comma=comma, places=places)
        sources.append(
            Source(
                form,
                tuple(names[n] for n in numbers),
                columns,
                columns.is_floating(*amount_columns(form)),
                names_invoices(form, columns),
            )
        )
        select = _select(sources[-1], raw, dict(zip(paths, numbers, strict=True)))
        (once if reader.startswith("read_csv") else in_place).append(select)
    head_lines = 0
    if once:
        connection.execute(f"CREATE OR REPLACE TABLE text_line AS {' UNION ALL '.join(once)}")
        in_place.append("FROM text_line")
        texts = [s for s in sources if not s.columns.typed]
        head_lines = drop_head_lines(
            connection, {s.columns.find(*currency_columns(s.format)) or "" for s in texts}
        )
    connection.execute(f"CREATE OR REPLACE VIEW line AS {' UNION ALL '.join(in_place)}")
    return sources, head_lines


def _described(
    connection: duckdb.DuckDBPyConnection, file: TextFile | ParquetFile
) -> tuple[dict[str, str], str]:
    """Return a file's columns with their types, and the table function that reads it."""
    if isinstance(file, ParquetFile):
        rows = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [str(file.path)])
        types = {str(row[0]): str(row[1]) for row in rows.fetchall()}
        return types, "read_parquet({files}, filename = true, union_by_name = true)"
    spelled = ", ".join(f"{_text(c)}: 'VARCHAR'" for c in file.columns)
    packed = "gzip" if file.compressed else "none"
    return dict.fromkeys(file.columns, "VARCHAR"), (
        f"read_csv({{files}}, auto_detect = false, header = true, delim = {_text(file.delimiter)},"
        f" quote = '\"', escape = '\"', compression = '{packed}', filename = true,"
        f" max_line_size = 33554432, skip = {file.skip}, columns = {{{spelled}}})"
    )


def _select(source: Source, raw: str, numbers: Mapping[str, int]) -> str:
    made = expressions(source.format, source.columns)
    kinds = {**LINE, "amount": amount_type(source.columns.places)}
    cells = [f"CAST({made[name]} AS {kind}) AS {quoted(name)}" for name, kind in kinds.items()]
    file = str(next(iter(numbers.values())))
    if len(numbers) > 1:
        cases = " ".join(f"WHEN {_text(path)} THEN {n}" for path, n in numbers.items())
        file = f"CASE filename {cases} END"
    return (
        f"SELECT {', '.join(cells)}, {file} AS file, {_text(source.format)} AS format,"
        f" {source.names_invoices} AS names_invoices FROM {raw}"
    )


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _unreadable(name: str, error: duckdb.Error, files: Sequence[str], folder: Path) -> BadInput:
    """Return a DuckDB error as ours; it names the operator's files, not our links to them."""
    if isinstance(error, duckdb.OutOfRangeException):
        return BadInput(
            f"the bill {name} has an amount or a sum of more than 18 digits before the point.",
            remedy="correct that line and export the bill again.",
        )
    if "state machine" in str(error):
        return BadInput(
            f"the bill {name} cannot be read: a quotation mark stands where none may, or a line "
            "ends in CR alone.",
            remedy="export it again as CSV (RFC 4180, UTF-8) or Parquet.",
        )
    # What follows the place is the line itself: as long as it likes, and nobody else's business.
    told = str(error).split("Original Line")[0]
    link = re.escape(str(folder)) + r"/(?:bill|evened)-(\d+)(?:\.csv)?"
    told = re.sub(link, lambda found: files[int(found[1])], told)
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return BadInput(
        f"the bill {name} cannot be read: {'; '.join(lines[:3])[:_LONGEST_REASON]}",
        remedy="export it again as CSV (UTF-8) or Parquet.",
    )
