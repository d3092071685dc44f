"""SQL for one column of a bill, whatever its type in the file. Builders of text, nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping

from qafila.audit.bills.formats import plain

# 18 digits before the point and 20 behind. What was billed gets more places where a file needs
# them, such as a tiny share of a cent that was written from a floating-point number.
PLACES = 20
DIGITS = 38
AMOUNT = f"DECIMAL({DIGITS}, {PLACES})"


class Columns:
    """The columns of one kind of file, found by any of their names; all methods return SQL.

    Literal ``NULL`` and the empty string both mean "not given". ``typed``: a Parquet file, whose
    text needs no trimming. ``comma``: numbers are written with a decimal comma and with points
    between thousands. ``places``: decimals that are kept of what was billed.
    """

    def __init__(
        self,
        types: Mapping[str, str],
        *,
        typed: bool = False,
        comma: bool = False,
        places: int = PLACES,
    ) -> None:
        self.types = dict(types)
        self.typed = typed
        self.comma = comma
        self.places = places
        self._by_plain = {plain(name): name for name in reversed(list(types))}

    def find(self, *names: str) -> str | None:
        """Return the file's own name for the first of these names that it has."""
        return next((self._by_plain[plain(n)] for n in names if plain(n) in self._by_plain), None)

    def starting(self, prefix: str) -> list[str]:
        """Return the columns whose name begins so, such as the tags of a legacy AWS report."""
        spelled = prefix.lower(), prefix.lower().replace("/", "_")  # resource_tags_user_name
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", prefix).lower().replace("/", "_")
        return [n for n in self.types if n.lower().startswith((*spelled, snake))]

    def text(self, *names: str, otherwise: str | None = None) -> str:
        """Return trimmed text of the first column given in the file; several: the first filled."""
        found = [self._text(n) for n in dict.fromkeys(self.find(name) for name in names) if n]
        parts = [*found, *([_literal(otherwise)] if otherwise is not None else [])]
        if not parts:
            return "NULL"
        return parts[0] if len(parts) == 1 else f"coalesce({', '.join(parts)})"

    def _text(self, column: str) -> str:
        name = quoted(column)
        if not self.types[column].startswith("VARCHAR"):
            return f"CAST({name} AS VARCHAR)"
        if self.typed:  # nothing to trim, and ten million rows to go
            return f"nullif(nullif({name}, ''), 'NULL')"
        return f"nullif(nullif(nullif(trim({name}), ''), 'NULL'), 'null')"

    def number(self, *names: str) -> str:
        """Return an exact decimal; NULL where the text is no number or there is no such column.

        A floating-point column is read by its shortest text, which is what the vendor wrote.
        """
        column = self.find(*names)
        if column is None:
            return "NULL"
        kind = self.types[column]
        if kind.startswith(
            (
                "DECIMAL",
                "TINYINT",
                "SMALLINT",
                "INTEGER",
                "BIGINT",
                "HUGEINT",
                "UTINYINT",
                "USMALLINT",
                "UINTEGER",
                "UBIGINT",
            )
        ):
            return f"TRY_CAST({quoted(column)} AS {AMOUNT})"
        text = self.digits(*names)
        return f"CASE WHEN NOT contains({text}, '_') THEN TRY_CAST({text} AS {AMOUNT}) END"

    def amount(self, *names: str) -> str:
        """Return what was billed, as :meth:`number` does, with all the places that are kept."""
        return self.number(*names).replace(AMOUNT, amount_type(self.places))

    def digits(self, *names: str) -> str:
        """Return a number as text with a decimal point."""
        text = self.text(*names)
        return f"replace(replace({text}, '.', ''), ',', '.')" if self.comma else text

    def decimals(self, *names: str) -> str:
        """Return how many decimals a number has, where that may be more than are usually kept."""
        column = self.find(*names)
        if column is None:
            return "0"
        kind = self.types[column]
        if kind.startswith("DECIMAL") and _scale(kind) <= PLACES:
            return "0"
        if not kind.startswith(("DECIMAL", "VARCHAR", "DOUBLE", "FLOAT")):
            return "0"
        text = f"lower({self.digits(*names)})"
        mantissa = f"rtrim(split_part(split_part({text}, 'e', 1), '.', 2), '0')"
        exponent = f"coalesce(TRY_CAST(split_part({text}, 'e', 2) AS INTEGER), 0)"
        return f"least(greatest(coalesce(length({mantissa}) - {exponent}, 0), 0), 999)"

    def is_floating(self, *names: str) -> bool:
        column = self.find(*names)
        return column is not None and self.types[column] in ("DOUBLE", "FLOAT")

    def day(self, *names: str, month_first: bool = False) -> str:
        """Return the date as written, whatever its zone. ``month_first``: Azure's 05/31/2026."""
        column = self.find(*names)
        if column is None:
            return "NULL"
        if not self.types[column].startswith("VARCHAR"):
            return f"CAST({quoted(column)} AS DATE)"
        text = self._text(column)
        iso = f"TRY_CAST(substr({text}, 1, 10) AS DATE)"
        return (
            f"coalesce({iso}, CAST(try_strptime({text}, '%m/%d/%Y') AS DATE))"
            if month_first
            else iso
        )

    def moment(self, *names: str, month_first: bool = False) -> str:
        """Return a time in UTC; without a zone it is taken as UTC already."""
        column = self.find(*names)
        if column is None:
            return "NULL"
        if not self.types[column].startswith("VARCHAR"):
            return f"CAST({quoted(column)} AS TIMESTAMP)"
        text = self._text(column)
        utc = f"CAST(TRY_CAST({text} AS TIMESTAMPTZ) AS TIMESTAMP)"
        return f"coalesce({utc}, try_strptime({text}, '%m/%d/%Y'))" if month_first else utc

    def zone(self, *names: str) -> str:
        """Return how a time names its zone: utc, offset, none; NULL where it is only a date."""
        column = self.find(*names)
        if column is None or not self.types[column].startswith("VARCHAR"):
            return "NULL"
        text = self._text(column)
        return (
            f"CASE WHEN coalesce(length({text}), 0) <= 10 THEN NULL "
            f"WHEN regexp_matches({text}, '(Z|UTC|[+]00:?00)$') THEN 'utc' "
            f"WHEN regexp_matches({text}, '[+-][0-9]{{2}}:?[0-9]{{2}}$') THEN 'offset' "
            f"ELSE 'none' END"
        )

    def tags(self, *names: str) -> str:
        """Return a column of tags as JSON text; NULL where there are none.

        A map becomes JSON; Azure's pairs get their braces; a list of keys and values, which
        Google Cloud writes, stays a list.
        """
        column = self.find(*names)
        if column is None:
            return "NULL"
        text = (
            self._text(column)
            if self.types[column].startswith("VARCHAR")
            else f"CAST(to_json({quoted(column)}) AS VARCHAR)"
        )
        return (
            f"CASE WHEN length({text}) < 8 AND replace({text}, ' ', '') IN ('{{}}', '[]') THEN NULL"
            f" WHEN {text}[1] IN ('{{', '[') THEN {text} ELSE '{{' || {text} || '}}' END"
        )

    def tags_of_columns(self, prefix: str) -> str:
        """Return tags that stand in one column each as JSON text; NULL where all are empty."""
        columns = self.starting(prefix)
        if not columns:
            return "NULL"
        pairs = ", ".join(f"{_literal(c[len(prefix) :])}, {self._text(c)}" for c in columns)
        merged = f"json_merge_patch('{{}}', json_object({pairs}))"
        return f"nullif(CAST({merged} AS VARCHAR), '{{}}')"

    def fingerprint(self) -> str:
        """Return a 64-bit hash of the whole line, whatever the order of the columns."""
        ordered = sorted(self.types, key=plain)
        return f"hash({', '.join(quoted(c) for c in ordered)})"

    def literal_nulls(self) -> str:
        """Return how many cells of a line hold the word NULL."""
        texts = [quoted(c) for c, kind in self.types.items() if kind == "VARCHAR"]
        return " + ".join(f"coalesce({t} = 'NULL', FALSE)::UTINYINT" for t in texts) or "0"


def amount_type(places: int) -> str:
    """Return the type of an amount with so many decimals."""
    return f"DECIMAL({DIGITS}, {places})"


def _scale(kind: str) -> int:
    return int(kind.rstrip(")").rpartition(",")[2])


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
