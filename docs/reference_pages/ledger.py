"""The tables of the schema files, and ledger.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.reference_pages.markdown import cell, grid

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Table:
    """One table of a schema file: its comment, and each column's definition."""

    name: str
    comment: str
    columns: tuple[tuple[str, str], ...]
    constraints: tuple[str, ...]


def tables(schema: str) -> list[Table]:
    """Return the tables that the numbered files of a schema make."""
    found = []
    for file in sorted((ROOT / "qafila" / "sql" / schema).glob("*.sql")):
        pattern = re.compile(
            r"((?:^--[^\n]*\n)*)^CREATE TABLE (?:IF NOT EXISTS )?([\w.]+) \(\n(.*?)^\);",
            re.MULTILINE | re.DOTALL,
        )
        for comment, name, body in pattern.findall(file.read_text()):
            words = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
            columns, constraints = [], []
            for part in _parts(body):
                first, _, rest = part.partition(" ")
                if first.isupper():
                    constraints.append(part)
                else:
                    columns.append((first, rest))
            found.append(Table(name, words, tuple(columns), tuple(constraints)))
    return found


def _parts(body: str) -> Iterator[str]:
    """Yield the comma-separated parts of a CREATE TABLE, whatever brackets hold."""
    depth, part = 0, ""
    for letter in body:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield " ".join(part.split())
            part = ""
        else:
            part += letter
    yield " ".join(part.split())


def ledger_page() -> str:
    """Return docs/reference/ledger.md."""
    parts = [
        "# The ledger and the target's own tables",
        "",
        "All tables are in the schema `qafila`. Files under `qafila/sql/` are applied in order, "
        "each once, under an advisory lock; an applied file that was edited afterwards is refused. "
        "`qafila.schema_file` remembers name and digest of each.",
        "",
        "Read them with any PostgreSQL client. Do not write to them: phases move by the table of "
        "[phases](phases.md) only, and `evidence` refuses every update and delete.",
    ]
    for schema, title in (
        ("ledger", "In the ledger"),
        ("target", "In the target, beside the data"),
    ):
        parts += ["", f"## {title}"]
        for table in tables(schema):
            parts += ["", f"### {table.name}"]
            comment = re.sub(
                r"^The ledger: .*?changes\. ?|^Beside the data: .*?changes\. ?", "", table.comment
            )
            if comment:
                parts += ["", comment]
            rows = [[f"`{name}`", f"`{cell(what)}`"] for name, what in table.columns]
            parts += ["", grid(["column", "definition"], rows)]
            if table.constraints:
                parts += ["", *(f"- `{cell(c)}`" for c in table.constraints)]
    parts += [
        "",
        "Besides these, each pgvector generation is a table `qafila.chunk_<workload>_g<number>` "
        "(in Qdrant, a collection of that name, and one more that ends in `_checkpoint`).",
    ]
    return "\n".join(parts)
