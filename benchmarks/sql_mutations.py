"""Changes to SQL files, one at a time: a condition, a comparison, a lock, a trigger's reach."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.mutation import Mutation

_CONDITION = re.compile(r"^(\s*)(WHERE|AND|OR) (.+)$", re.MULTILINE)
_INSTEAD = {"WHERE": "WHERE true", "AND": "AND true", "OR": "OR false"}
_SWAPS = (
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r" <= ", " < "),
    (r" < ", " > "),
    (r" <> ", " = "),
    (r"\+ 1\b", "+ 0"),
    (r"- 1\b", "- 0"),
    (r"\bgreatest\b", "least"),
    (r"(?<=ORDER BY )number\b(?! DESC)", "number DESC"),
    (r"\n\s*FOR UPDATE\b( SKIP LOCKED)?", ""),
    (r" SKIP LOCKED", ""),
    (r"\n\s*LIMIT 1\b", ""),
    (r"(?<== )clock_timestamp\(\)", "NULL"),
    (r"\b(\w+) = NULL\b", r"\1 = \1"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"\n    RAISE EXCEPTION[^;]+;", "\n    NULL;"),
    (r"\bBEFORE (DELETE) OR TRUNCATE\b", "BEFORE DELETE"),
    (r"\bBEFORE DELETE OR (TRUNCATE)\b", "BEFORE TRUNCATE"),
    (r"\bENABLE ALWAYS TRIGGER\b", "ENABLE TRIGGER"),
    (r"\bENABLE ALWAYS TRIGGER\b", "DISABLE TRIGGER"),
)


def sql_mutations(root: Path, path: str, names: Sequence[str] | None) -> Iterator[Mutation]:
    """Return the mutations of some named statements of a file, or of a whole file."""
    whole = (root / path).read_text(encoding="utf-8")
    for name in names or ("",):
        body = whole
        if name:
            body = whole.split(f"-- name: {name}\n", 1)[1].split("\n-- name: ", 1)[0]
        for what, changed in _changes(body):
            yield Mutation(path, name, what, whole.replace(body, changed, 1))


def _changes(body: str) -> Iterator[tuple[str, str]]:
    """Return what was changed, in words, and the body with that one change."""
    for match in _CONDITION.finditer(body):
        indent, word, text = match.groups()
        # What continues in the next line stays; so do brackets that close what began before.
        if text.count("(") > text.count(")") or text.endswith(("(", "(state = 'planned'")):
            continue
        closing = ")" * (text.count(")") - text.count("("))
        end = ";" if text.endswith(";") else " THEN" if text.endswith(" THEN") else ""
        kept = f"{indent}{_INSTEAD[word]}{closing}{end}"
        yield f"without: {word} {text}", body[: match.start()] + kept + body[match.end() :]
    for pattern, instead in _SWAPS:
        for match in re.finditer(pattern, body):
            line = body.rfind("\n", 0, match.start() + 1) + 1
            if body[line:].startswith("--"):
                continue
            changed = body[: match.start()] + match.expand(instead) + body[match.end() :]
            what = (
                f"{' '.join(match.group().split())} → {match.expand(instead).strip() or 'nothing'}"
            )
            yield f"{what} ({' '.join(body[line:].split(chr(10), 2)[0].split())})", changed
